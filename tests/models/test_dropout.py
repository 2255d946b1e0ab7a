"""Dropout on a CPU: torch's, but for which random numbers it takes."""

import pytest
import torch
from torch import nn

from ser_tasks.models.dropout import QuickDropout
from ser_tasks.models.files import ModelSpec, build_model

SHAPE = {"hidden_size": 16, "layers": 2, "heads": 2, "feed_forward_size": 32, "convolution_channels": 8}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_elements_go_at_the_rate_and_the_others_grow_by_it(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    given = torch.ones(7, 333, 101, dtype=dtype, requires_grad=True)
    out = QuickDropout(p)(given)
    gone = (out == 0).float()
    assert out[out != 0].unique() == torch.tensor(1 / (1 - p)).to(dtype)
    noise = (p * (1 - p) / gone.numel()) ** 0.5
    assert gone.mean().item() == pytest.approx(p, abs=5 * noise)
    for step in (1, 2, 3, 4):  # four elements share a random number: no more alike for that
        together = gone.flatten()[:-step] * gone.flatten()[step:]
        assert together.mean().item() == pytest.approx(p * p, abs=5 * noise)
    out.sum().backward()
    assert torch.equal(given.grad, out)


def test_the_seed_decides_and_evaluation_changes_nothing() -> None:
    dropout, given = QuickDropout(0.3), torch.randn(5, 77)

    def seeded(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        out: torch.Tensor = dropout(given)
        return out

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))
    assert torch.equal(QuickDropout(0.0)(given), given)
    assert not QuickDropout(1.0)(given).any()
    assert torch.equal(dropout.eval()(given), given)


def test_every_dropout_of_an_encoder_is_quick() -> None:
    model = build_model(ModelSpec("wav2vec2", {"encoder": {"random": SHAPE}}, ["a", "b"]))
    dropouts = [module for module in model.encoder.modules() if isinstance(module, nn.Dropout)]
    assert dropouts
    assert all(isinstance(module, QuickDropout) for module in dropouts)
