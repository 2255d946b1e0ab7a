"""What a batch is judged by: labels, votes, tones, mixtures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ser_tasks.errors import BadInput
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.examples import Examples, balanced_rows
from ser_tasks.training.fit import fit
from ser_tasks.training.losses import class_weights, make_targets, mix_up
from ser_tasks.training.options import FitOptions
from tests.training.kill_me import LABELS, OPTIONS, tones

CPU = torch.device("cpu")
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0], [-1.0, 3.0, 0.2], [0.0, 0.1, 0.2]])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Examples, Examples]:
    return tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def four(pair: tuple[Examples, Examples]) -> Examples:
    return Examples(pair[0].audio, [(0, 0), (1, 1), (2, 1), (3, 2)])


def loss_of(examples: Examples, options: FitOptions, tone: torch.Tensor | None = None) -> float:
    targets = make_targets(examples, class_weights(examples.targets, 3, options), options, CPU)
    rows = torch.arange(4)
    return targets.loss(LOGITS, tone, [(1.0, rows)], targets.whole(rows)).item()


def test_plain_labels_give_torchs_weighted_cross_entropy(four: Examples) -> None:
    weights = class_weights(four.targets, 3, FitOptions())
    assert weights.tolist() == pytest.approx([4 / 3, 2 / 3, 4 / 3])
    expected = nn.CrossEntropyLoss(weight=weights)(LOGITS, four.targets).item()
    assert loss_of(four, FitOptions()) == pytest.approx(expected)
    plain = FitOptions(class_weights=False, label_smoothing=0.1)
    assert loss_of(four, plain) == pytest.approx(nn.CrossEntropyLoss(label_smoothing=0.1)(LOGITS, four.targets).item())


def test_votes_take_their_share_of_the_target_and_a_clip_without_votes_keeps_its_label(four: Examples) -> None:
    votes = torch.tensor([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0], [0.2, 0.7, 0.1], [torch.nan] * 3])
    options = FitOptions(class_weights=False, soft_weight=0.5)
    hard = torch.eye(3)[four.targets]
    target = torch.where(votes.isnan(), hard, 0.5 * hard + 0.5 * votes)
    expected = nn.CrossEntropyLoss()(LOGITS, target).item()
    assert loss_of(replace(four, soft=votes), options) == pytest.approx(expected)


def test_the_tone_adds_its_weighted_squared_error_over_rated_clips(four: Examples) -> None:
    examples = replace(four, tone=torch.tensor([1.0, torch.nan, 3.0, torch.nan]))
    tone = torch.tensor([2.0, 100.0, 3.0, -7.0])
    assert loss_of(examples, FitOptions(tone_weight=0.3), tone) - loss_of(examples, FitOptions()) == pytest.approx(0.15)


def test_the_parts_of_a_batchs_pieces_add_up_to_its_loss(four: Examples) -> None:
    targets = make_targets(four, class_weights(four.targets, 3, FitOptions()), FitOptions(), CPU)
    whole = targets.whole(torch.arange(4))
    parts = [
        targets.loss(LOGITS[rows], None, [(1.0, rows)], whole).item()
        for rows in (torch.tensor([0]), torch.arange(1, 4))
    ]
    assert sum(parts) == pytest.approx(loss_of(four, FitOptions()))


def test_mixup_mixes_waveforms_and_targets_alike() -> None:
    torch.manual_seed(0)
    waveforms, lengths, rows = torch.eye(4), torch.tensor([1, 2, 3, 4]), torch.tensor([5, 6, 7, 8])
    mixed, longer, mix = mix_up(waveforms, lengths, rows, 0.4)
    (share, first), (rest, second) = mix
    assert share + rest == pytest.approx(1.0)
    assert first.tolist() == rows.tolist()
    assert sorted(second.tolist()) == rows.tolist()
    assert torch.allclose(mixed, share * waveforms + rest * waveforms[second - 5])  # all four are equally loud
    assert torch.equal(longer, torch.maximum(lengths, lengths[second - 5]))
    assert mix_up(waveforms, lengths, rows, 0.0)[0] is waveforms


def test_a_loud_clip_is_no_louder_in_a_mix_than_its_share_says() -> None:
    """Mixed as they were recorded, a clip 20 dB below the other would hardly be heard, and half the target."""
    torch.manual_seed(0)
    speech = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(1))
    speech[1, :8_000] = 0  # silence before it does not count
    quiet = speech * torch.tensor([[1.0], [0.1]])
    equal, _, ((share, _), (rest, second)) = mix_up(speech, torch.tensor([16_000] * 2), torch.arange(2), 5.0)
    while second.tolist() != [1, 0]:
        equal, _, ((share, _), (rest, second)) = mix_up(speech, torch.tensor([16_000] * 2), torch.arange(2), 5.0)
    torch.manual_seed(0)
    mixed, _, ((share, _), (rest, second)) = mix_up(quiet, torch.tensor([16_000] * 2), torch.arange(2), 5.0)
    while second.tolist() != [1, 0]:
        mixed, _, ((share, _), (rest, second)) = mix_up(quiet, torch.tensor([16_000] * 2), torch.arange(2), 5.0)
    other = mixed[0] - share * quiet[0]
    gain = float(other[9_000:].norm() / quiet[1, 9_000:].norm()) / rest
    assert gain == pytest.approx(10, rel=0.1)
    torch.testing.assert_close(mixed[0], equal[0], rtol=0, atol=0.2)
    silent = torch.stack([speech[0], torch.zeros(16_000)])
    assert bool(mix_up(silent, torch.tensor([16_000] * 2), torch.arange(2), 0.4)[0].isfinite().all())


def test_balanced_rows_bring_every_class_equally_often() -> None:
    targets = [0] * 50 + [1] * 7 + [2] * 13
    drawn = balanced_rows(targets, seed=1, epoch=2)
    counts = np.bincount([targets[row] for row in drawn])
    assert counts.tolist() == [24, 24, 24]
    assert set(np.bincount([row for row in drawn if targets[row] == 1])[50:57]) <= {3, 4}
    assert drawn == balanced_rows(targets, seed=1, epoch=2)
    assert drawn != balanced_rows(targets, seed=1, epoch=3)


@pytest.mark.parametrize(
    "change",
    [{"class_sampling": True}, {"mixup": 0.3}, {"label_smoothing": 0.1}, {"accumulate": 3}, {"soft_weight": 0.5}],
)
def test_a_network_learns_what_can_be_learnt_with_every_option(
    change: dict[str, float], pair: tuple[Examples, Examples]
) -> None:
    train, dev = (replace(part, soft=torch.eye(3)[part.targets]) for part in pair)
    model = build_model(ModelSpec("cnn", {"channels": [8, 8, 8, 8]}, LABELS))
    history = fit(model, train, dev, LABELS, replace(OPTIONS, epochs=24, **change))  # type: ignore[arg-type]
    assert max(metrics.dev_uar for metrics in history) > 0.8


@pytest.mark.parametrize("architecture", ["cnn", "wav2vec2"])
def test_a_second_head_learns_a_tone(architecture: str, pair: tuple[Examples, Examples]) -> None:
    train, dev = (replace(part, tone=part.targets.float()) for part in pair)
    shape = {"hidden_size": 16, "layers": 1, "heads": 2, "feed_forward_size": 16, "convolution_channels": 8}
    options = {"cnn": {"channels": [8, 8, 8, 8]}, "wav2vec2": {"encoder": {"random": shape}}}[architecture]
    model = build_model(ModelSpec(architecture, {**options, "tone": True}, LABELS))
    history = fit(model, train, dev, LABELS, replace(OPTIONS, epochs=24, tone_weight=1.0))
    errors = [metrics.dev_tone_error or 9.0 for metrics in history]
    assert min(errors[5:]) < 0.8 * errors[0]


def test_what_does_not_fit_is_refused(pair: tuple[Examples, Examples], tmp_path: Path) -> None:
    train, dev = pair
    model = build_model(ModelSpec("cnn", {"channels": [8, 8, 8, 8]}, LABELS))
    with pytest.raises(BadInput, match="no raters' votes"):
        fit(model, train, dev, LABELS, replace(OPTIONS, soft_weight=0.5))
    with pytest.raises(BadInput, match="no ratings of a tone"):
        fit(model, train, dev, LABELS, replace(OPTIONS, tone_weight=0.5))
    with pytest.raises(BadInput, match="the model has no head for a tone"):
        fit(model, replace(train, tone=torch.ones(24)), dev, LABELS, replace(OPTIONS, tone_weight=0.5))
    with pytest.raises(BadInput, match=r"votes of shape \(24, 2\), expected \(24, 3\)"):
        fit(model, replace(train, soft=torch.ones(24, 2)), dev, LABELS, OPTIONS)
    with pytest.raises(BadInput, match="accumulate 0: at least 1"):
        replace(OPTIONS, accumulate=0)
