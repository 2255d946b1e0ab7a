"""A model's temperature is in its weights: logits are divided by it, and nothing else of the model changes."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_tasks.builds.scaling import scale_model, scaled_head
from ser_tasks.evaluation.calibration import temperature_on_dev, with_temperature
from ser_tasks.inference.export import export_model
from ser_tasks.models.adapted import AdaptedHead, load_adapted, save_adapted
from ser_tasks.models.encoders import EncoderShape
from ser_tasks.models.files import ModelSpec, build_model, load_model, save_model

LABELS = ["angry", "happy", "neutral", "sad"]
TINY = {"random": vars(EncoderShape(16, 1, 2, 16, 8))}
SPECS = {
    "cnn": ModelSpec("cnn", {"channels": [4] * 4, "tone": True}, LABELS),
    "wav2vec2": ModelSpec("wav2vec2", {"encoder": TINY, "tone": True, "lora_rank": 2}, LABELS),
    "baseline": ModelSpec("baseline", {}, LABELS),
    "probe": ModelSpec("probe", {"encoder": TINY}, LABELS),
}


def overconfident(clips: int) -> Any:
    """Probabilities of dev clips that were made 2.5 times too sure, and their targets."""
    draw = np.random.default_rng(0)
    honest = draw.dirichlet(np.full(len(LABELS), 0.6), clips)
    target = np.array([draw.choice(len(LABELS), p=p) for p in honest])
    return with_temperature(honest, 1 / 2.5), target


def trained(name: str) -> Any:
    model: Any = build_model(SPECS[name]).eval()
    torch.manual_seed(1)
    for part in (model.classifier,) if name in ("cnn", "wav2vec2") else ():
        part.weight.data += torch.randn(part.weight.shape)
    if name in ("baseline", "probe"):
        features = len(model.linear.mean)
        model.linear.set(
            np.zeros(features), np.ones(features), np.random.default_rng(0).normal(size=(4, features)), np.arange(4.0)
        )
    return model


@pytest.mark.parametrize("name", SPECS)
def test_logits_are_divided_by_the_temperature_of_the_dev_clips_and_nothing_else_changes(
    name: str, tmp_path: Path
) -> None:
    model = trained(name)
    raw = deepcopy(model)
    spec = scale_model(model, SPECS[name], *overconfident(800))
    assert spec.temperature == pytest.approx(2.5, rel=0.1)
    assert spec.calibration == f"scaled by temperature {spec.temperature:.2f}, fitted on 800 dev clips"
    save_model(tmp_path, model, spec)
    loaded, found = load_model(tmp_path)
    assert (found.temperature, found.temperature_clips) == (spec.temperature, 800)
    own: Any = loaded
    clips = (
        0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(2)),
        torch.tensor([16_000, 9_000, 700]),
    )
    with torch.no_grad():
        torch.testing.assert_close(own(*clips) * spec.temperature, raw(*clips), rtol=1e-4, atol=1e-4)
        assert torch.equal(own(*clips).argmax(dim=1), raw(*clips).argmax(dim=1))
        assert torch.equal(own.embed(*clips), raw.embed(*clips))
        if name in ("cnn", "wav2vec2"):
            assert torch.equal(own.forward_with_tone(*clips)[1], raw.forward_with_tone(*clips)[1])


def test_without_dev_clips_a_model_stays_as_it_is_and_says_so() -> None:
    model = trained("cnn")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    spec = scale_model(model, SPECS["cnn"], np.zeros((0, 4)), np.zeros(0, np.int64))
    assert spec == SPECS["cnn"] and spec.calibration.startswith("not calibrated")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_leaving_out_labels_and_scaling_may_be_done_in_either_order() -> None:
    probabilities, _ = overconfident(50)
    first = with_temperature(probabilities, 1.7)[:, [0, 2]]
    second = with_temperature(probabilities[:, [0, 2]] / probabilities[:, [0, 2]].sum(axis=1, keepdims=True), 1.7)
    np.testing.assert_allclose(first / first.sum(axis=1, keepdims=True), second, atol=1e-9)


@pytest.mark.filterwarnings("ignore")  # exporters warn of their own parts
def test_an_exported_file_has_scaled_logits_and_its_json_says_so(tmp_path: Path) -> None:
    model = trained("cnn")
    raw = deepcopy(model)
    spec = scale_model(model, SPECS["cnn"], *overconfident(300))
    path = export_model(model, spec, tmp_path, "torchscript")
    about = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert about["temperature"] == spec.temperature
    assert about["calibration"] == f"{spec.calibration}; logits are divided by it already"
    clip = (0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(2)), torch.tensor([16_000]))
    with torch.no_grad():
        logits = torch.jit.load(path)(*clip)[0]  # type: ignore[no-untyped-call]  # torch gives it no annotation
        torch.testing.assert_close(logits * spec.temperature, raw(*clip), rtol=1e-4, atol=1e-3)


def test_the_head_for_adapted_embeddings_has_a_temperature_of_its_own(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    weight = draw.normal(size=(3, 6))
    standard = draw.normal(size=(900, 6))
    logits = standard @ weight.T
    target = np.array([draw.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    shy = AdaptedHead((weight / 3).astype(np.float32), np.zeros(3, np.float32))
    head = scaled_head(shy, standard, target)
    assert head.temperature is not None and head.temperature[0] == pytest.approx(1 / 3, rel=0.15)
    assert temperature_on_dev(head.probabilities(standard), target) == pytest.approx(1, abs=0.01)
    save_adapted(tmp_path, head)
    again = load_adapted(tmp_path)
    assert again is not None and again.calibration.startswith("scaled by temperature 0.3")
    assert shy.calibration.startswith("not calibrated")
