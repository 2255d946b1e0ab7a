"""An exported model gives what the model gives, for clips and batches that it was not recorded with."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperConfig

from ser_tasks.errors import BadInput
from ser_tasks.inference.export import LONGEST, SHORTEST, check_inputs, export_model
from ser_tasks.models.baseline import Baseline
from ser_tasks.models.files import ModelSpec, build_model

LABELS = ["angry", "happy", "sad"]
TINY = {"random": {"hidden_size": 32, "layers": 2, "heads": 2, "feed_forward_size": 48, "convolution_channels": 16}}
SPECS = {
    "cnn": ModelSpec("cnn", {"channels": [8, 8, 8, 8], "tone": True}, LABELS, title="small", note="for a test"),
    "baseline": ModelSpec("baseline", {}, LABELS),
    "wav2vec2": ModelSpec(
        "wav2vec2", {"encoder": TINY, "layers": "weighted", "pooling": "attentive", "lora_rank": 2}, LABELS
    ),
}
BATCHES = [[400], [55_555], [400, 16_000], [24_001, 3_000, 24_000], [8_000] * 4, [33_333, 800, 12_000, 12_000, 16_000]]


def trained(name: str) -> Any:
    """A model whose weights are not those that it began with."""
    model = build_model(SPECS[name]).eval()
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    if isinstance(model, Baseline):
        linear, classes = model.linear, len(LABELS)
        features = model.embed(0.4 * torch.randn(20, 16_000).cumsum(1).sin(), torch.full((20,), 16_000)).numpy()
        linear.set(
            features.mean(0),
            features.std(0) + 0.05,
            np.random.default_rng(1).normal(size=(classes, 73)),
            np.zeros(classes),
        )
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = 0.1 * torch.randn(module.num_features)
    return model


def load(path: Path) -> Any:
    if path.suffix == ".onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda waveforms, lengths: [
            torch.from_numpy(value)
            for value in session.run(None, {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()})
        ]
    if path.suffix == ".pt":
        return torch.jit.load(path)
    return torch.export.load(path).module()


@pytest.mark.filterwarnings("ignore")  # exporters warn of their own parts
@pytest.mark.parametrize("format", ["onnx", "torchscript", "pt2"])
@pytest.mark.parametrize("name", SPECS)
def test_outputs_equal_the_models_for_any_length_and_batch(name: str, format: Any, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    model = trained(name)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    path = export_model(model, SPECS[name], tmp_path, format)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert name == "baseline" or any(parameter.requires_grad for parameter in model.parameters())

    description = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert description["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert description["outputs"]["logits"]["labels"] == LABELS
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([path.name, f"{path.name}.json"])
    run = load(path)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for lengths in BATCHES:
            waveforms = 0.4 * torch.randn(len(lengths), max(lengths), generator=generator).cumsum(1).sin()
            counted = torch.tensor(lengths)
            check_inputs(description, waveforms.numpy(), counted.numpy())
            found = run(waveforms, counted)
            expected = model.forward_with_tone(waveforms, counted) if name == "cnn" else [model(waveforms, counted)]
            assert len(found) == len(expected) == len(description["outputs"])
            for value, wanted in zip(found, expected, strict=True):
                torch.testing.assert_close(value, wanted, rtol=5e-6, atol=2e-5)  # 1e-4 is what is promised


@pytest.mark.filterwarnings("ignore")  # exporters warn of their own parts
def test_a_whisper_takes_the_longest_clip_that_its_file_promises(tmp_path: Path) -> None:
    config = WhisperConfig(
        d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=48, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=32, max_source_positions=600,
    )  # fmt: skip
    spec = ModelSpec(
        "probe", {"encoder": {"config": config.to_dict(), "normalise": False, "front_end": "speech"}}, LABELS
    )
    model = build_model(spec).eval()
    path = export_model(model, spec, tmp_path, "torchscript")
    longest = json.loads(path.with_name(f"{path.name}.json").read_text())["inputs"]["waveforms"]["samples"][1]
    waveforms, lengths = (
        0.1 * torch.randn(1, longest, generator=torch.Generator().manual_seed(0)),
        torch.tensor([longest]),
    )
    with torch.no_grad():
        torch.testing.assert_close(load(path)(waveforms, lengths)[0], model(waveforms, lengths), rtol=0, atol=1e-4)


def test_what_an_exported_model_does_not_take_is_named(tmp_path: Path) -> None:
    path = export_model(build_model(SPECS["cnn"]), SPECS["cnn"], tmp_path / "small.pt", "torchscript")
    assert path == tmp_path / "small.pt"
    description = json.loads((tmp_path / "small.pt.json").read_text())
    assert description["inputs"]["waveforms"]["samples"] == [SHORTEST, LONGEST]
    waveforms, lengths = np.zeros((2, 800), dtype=np.float32), np.array([800, 5])
    check_inputs(description, waveforms, lengths)
    for wrong, message in (
        ((waveforms.astype(np.float64), lengths), "waveforms: float64 with 2 dimensions: must be float32"),
        ((waveforms[0], lengths), "waveforms: float32 with 1 dimensions"),
        ((waveforms, lengths.astype(np.int32)), "lengths: int32"),
        ((waveforms[:, :300], lengths), "waveforms: 300 samples: must be 400 to 960000"),
        ((waveforms, lengths[:1]), "1 of them for 2 waveforms"),
        ((waveforms, np.array([801, 5])), "5 to 801: must be 1 to 800"),
        ((waveforms, np.array([800, 0])), "0 to 800: must be 1 to 800"),
        ((waveforms * np.nan, lengths), "NaN or infinite"),
    ):
        with pytest.raises(BadInput, match=message):
            check_inputs(description, *wrong)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="format 'pickle': known are onnx, torchscript, pt2"):
        export_model(build_model(SPECS["cnn"]), SPECS["cnn"], tmp_path, "pickle")  # type: ignore[arg-type]


def test_a_file_whose_outputs_are_others_is_not_kept(tmp_path: Path) -> None:
    model = build_model(SPECS["cnn"]).eval()
    # a function of the model's that no recording can hold: it looks at what it is given
    whole = model.forward_with_tone
    model.forward_with_tone = lambda waveforms, lengths: [value + len(waveforms) for value in whole(waveforms, lengths)]
    with pytest.raises(BadInput, match="outputs of the torchscript file differ by"):
        export_model(model, SPECS["cnn"], tmp_path, "torchscript")
    assert not list(tmp_path.iterdir())


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore")  # exporters warn of their own parts
@pytest.mark.parametrize("format", ["onnx", "torchscript", "pt2"])
@pytest.mark.parametrize("name", SPECS)
def test_outputs_equal_the_models_up_to_the_longest_clip_that_is_promised(
    name: str, format: Any, tmp_path: Path
) -> None:
    model = trained(name)
    run = load(export_model(model, SPECS[name], tmp_path, format))
    generator = torch.Generator().manual_seed(4)
    waveforms, lengths = 0.4 * torch.randn(2, LONGEST, generator=generator).cumsum(1).sin(), [LONGEST, LONGEST - 7_001]
    with torch.no_grad():
        found, wanted = (each(waveforms, torch.tensor(lengths)) for each in (run, model))
    assert torch.allclose(found[0], wanted, atol=1e-4)
