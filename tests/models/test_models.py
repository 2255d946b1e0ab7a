"""What holds for every model: a clip's output is its own, a saved model is the same model."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ser_tasks.audio.logmel import LogMel, LogMelOptions
from ser_tasks.audio.padding import frame_mask
from ser_tasks.audio.voice import EXTRA_CHANNELS
from ser_tasks.config import CnnNetwork, Wav2Vec2Network
from ser_tasks.errors import BadInput
from ser_tasks.models.cnn import Cnn, CnnOptions
from ser_tasks.models.encoders import EncoderShape, load_encoder
from ser_tasks.models.files import ModelSpec, build_model, load_model, save_model
from ser_tasks.models.wav2vec2 import Wav2Vec2Options
from tests.audio.test_speech import voice

LABELS = ["angry", "happy", "sad"]
TINY = {"random": {"hidden_size": 32, "layers": 2, "heads": 2, "feed_forward_size": 48, "convolution_channels": 16}}
SPECS: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [8, 8, 8, 8], "tone": True},
    "wav2vec2": {"encoder": TINY, "layers": "weighted"},
    "probe": {"encoder": TINY, "layer": 1},
    "baseline": {"n_mels": 20},
}


def clips(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveforms[row, :length] = 0.1 * torch.randn(length, generator=generator).cumsum(0).sin()
    return waveforms, torch.tensor(lengths)


def built(architecture: str, encoder_folder: Path | None = None) -> tuple[nn.Module, ModelSpec]:
    spec = ModelSpec(architecture, SPECS[architecture], LABELS, title=architecture, note="for a test")
    model = build_model(spec, encoder_folder).eval()
    generator = np.random.default_rng(0)
    if architecture in ("probe", "baseline"):
        linear: Any = model.linear
        features = linear.mean.numel()
        linear.set(
            generator.normal(size=features),
            generator.uniform(0.5, 1, size=features),
            generator.normal(size=(len(LABELS), features)),
            generator.normal(size=len(LABELS)),
        )
    if architecture == "cnn":  # statistics as after training, not 0 and 1
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias)
                module.running_mean = torch.randn_like(module.bias) * 0.1
    return model, spec


@pytest.mark.parametrize("architecture", SPECS)
@torch.inference_mode()
def test_logits_do_not_depend_on_the_batch(architecture: str) -> None:
    model, _ = built(architecture)
    lengths = [24_000, 16_000, 16_000, 15_999, 12_345, 8_000, 3_000, 250]
    waveforms, counted = clips(lengths)
    waveforms = waveforms + 0.3 * (torch.arange(24_000) >= counted[:, None])  # padding need not be silent
    together = model(waveforms, counted)
    assert together.shape == (len(lengths), len(LABELS))
    assert together.dtype == torch.float32
    for row, length in enumerate(lengths):
        alone = model(waveforms[row : row + 1, :length], counted[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)
    assert float(together.std(dim=0).min()) > 1e-4  # and it does depend on the clip


@torch.inference_mode()
def test_the_tone_of_a_clip_does_not_depend_on_the_batch_and_needs_its_head() -> None:
    model: Any = built("cnn")[0]
    waveforms, lengths = clips([16_000, 9_000, 250])
    logits, tone = model.forward_with_tone(waveforms, lengths)
    assert tone.shape == (3,)
    assert torch.equal(logits, model(waveforms, lengths))
    for row, length in enumerate(lengths):
        alone = model.forward_with_tone(waveforms[row : row + 1, :length], lengths[row : row + 1])[1]
        torch.testing.assert_close(tone[row : row + 1], alone, rtol=0, atol=1e-4)
    with pytest.raises(BadInput, match="no head for a tone"):
        Cnn(CnnOptions(channels=(8, 8, 8, 8)), 3).forward_with_tone(waveforms, lengths)


def test_what_the_configuration_says_are_the_networks_own_options_and_defaults() -> None:
    for section, options in ((CnnNetwork(), CnnOptions()), (Wav2Vec2Network(), Wav2Vec2Options())):
        own = {field.name: getattr(options, field.name) for field in fields(options)}
        assert own.pop("tone") is False  # switched on by the weight of its loss
        assert section.model_dump() == own


def test_the_cnns_options_reach_its_augmentation() -> None:
    options = CnnOptions(
        time_masks=5,
        bin_masks=6,
        bin_mask_width=7,
        stretch=0.4,
        bin_shift=3,
        time_shift=0.2,
        noise=0.3,
        noise_snr_db=(5.0, 25.0),
        band=0.0,
    )
    model = build_model(ModelSpec("cnn", Cnn(options, 3).describe(), LABELS))
    assert isinstance(model, Cnn)
    assert model.options == options
    features, room = model.augment.options, model.augment_room.options
    assert (features.time_masks, features.bin_masks, features.bin_mask_width) == (5, 6, 7)
    assert (features.stretch, features.bin_shift) == (0.4, 3)
    assert (room.time_shift, room.noise, room.noise_snr_db, room.band) == (0.2, 0.3, (5.0, 25.0), 0.0)


@pytest.mark.parametrize("architecture", SPECS)
@torch.inference_mode()
def test_one_pass_gives_what_classifying_and_embedding_give(architecture: str) -> None:
    model: Any = built(architecture)[0]
    batch = clips([16_000, 9_000, 700])
    logits, embedding = model.forward_with_embedding(*batch)
    assert torch.equal(logits, model(*batch))
    assert torch.equal(embedding, model.embed(*batch))


@pytest.mark.parametrize("architecture", SPECS)
@torch.inference_mode()
def test_neither_level_nor_silence_around_speech_changes_what_a_model_says(architecture: str) -> None:
    model, _ = built(architecture)
    clip = voice(1.5)

    def probabilities(waveform: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(waveform[None], torch.tensor([len(waveform)]))
        return found.softmax(dim=1)

    said = probabilities(clip)
    for gain_db in (-30, -12, 6, 20):
        torch.testing.assert_close(probabilities(clip * 10 ** (gain_db / 20)), said, rtol=0, atol=1e-3)
    ends = torch.zeros(16_000)
    padded = probabilities(torch.cat([ends, clip, ends]))
    assert int(padded.argmax()) == int(said.argmax())
    # silence of another length is the same silence
    longer = probabilities(torch.cat([ends, ends, clip, ends, ends]))
    torch.testing.assert_close(longer, padded, rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["cnn", "baseline", "wav2vec2", "probe"])
@torch.inference_mode()
def test_a_model_that_was_saved_before_there_was_a_front_end_hears_what_it_heard(
    architecture: str, tmp_path: Path
) -> None:
    options = dict(SPECS[architecture])
    spec = ModelSpec(architecture, options | ({} if architecture == "probe" else {"front_end": "whole"}), LABELS)
    model: Any = build_model(spec).eval()
    if architecture == "probe":
        model.encoder.hear("whole")
    save_model(tmp_path, model, spec)
    described = json.loads((tmp_path / "model.json").read_text())
    described["options"].pop("front_end", None)
    described["options"].get("encoder", {}).pop("front_end", None)
    (tmp_path / "model.json").write_text(json.dumps(described))
    loaded: Any = load_model(tmp_path)[0]
    waveforms, lengths = clips([16_000, 9_000])
    assert torch.equal(loaded(waveforms, lengths), model(waveforms, lengths))
    quieter = loaded.embed(0.1 * waveforms, lengths)
    if architecture in ("cnn", "baseline"):  # silence counts, as it did
        features, _ = LogMel(LogMelOptions(n_mels=options.get("n_mels", 64)))(waveforms, lengths)
        heard, frames = loaded.voice(waveforms, lengths)
        power = heard[:, :, :-EXTRA_CHANNELS].transpose(1, 2).clamp(min=1e-8).log()
        expected = power * frame_mask(frames, power.shape[2])[:, None]
        torch.testing.assert_close(features[:, :, : expected.shape[2]], expected, rtol=0, atol=1e-5)
    if architecture == "baseline":
        assert float((quieter - loaded.embed(waveforms, lengths)).abs().max()) > 1


@pytest.mark.parametrize("architecture", SPECS)
@torch.inference_mode()
def test_a_saved_model_is_the_same_model(architecture: str, tmp_path: Path) -> None:
    model, spec = built(architecture)
    save_model(tmp_path, model, spec)
    loaded, found = load_model(tmp_path)
    assert (found.architecture, found.labels, found.title, found.note) == (
        architecture,
        LABELS,
        architecture,
        "for a test",
    )
    batch = clips([16_000, 9_000])
    assert torch.equal(model(*batch), loaded(*batch))
    assert torch.equal(model.embed(*batch), loaded.embed(*batch))  # type: ignore[operator]
    save_model(tmp_path / "again", loaded, found)
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_model_without_its_description_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, *built("baseline"))
    (tmp_path / "model.json").unlink()
    with pytest.raises(BadInput, match="saving it was cut off"):
        load_model(tmp_path)


def test_saving_over_a_model_that_is_cut_off_leaves_no_model(tmp_path: Path) -> None:
    model, spec = built("baseline")
    save_model(tmp_path, model, spec)
    model.register_buffer("unstorable", torch.zeros(1).to_sparse())
    with pytest.raises(Exception):  # noqa: B017 - whatever it is that stops the writing
        save_model(tmp_path, model, spec)
    with pytest.raises(BadInput):
        load_model(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "of another model"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, damage: str) -> None:
    save_model(tmp_path, *built("cnn"))
    weights = tmp_path / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        save_model(tmp_path / "other", *built("baseline"))
        weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        load_model(tmp_path)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(BadInput, match="'chanels'"):
        build_model(ModelSpec("cnn", {"chanels": [1, 2, 3, 4]}, LABELS))
    with pytest.raises(BadInput, match="'transformer'"):
        build_model(ModelSpec("transformer", {}, LABELS))


def test_the_seed_decides_the_fresh_weights_and_nothing_else_does() -> None:
    spec = ModelSpec("cnn", SPECS["cnn"], LABELS)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_model(spec, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_model(spec, seed=5).state_dict()
    other = build_model(spec, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_default_cnn_has_four_convolutional_layers_and_about_400_thousand_weights() -> None:
    model = Cnn(CnnOptions(), 8)
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 4
    assert 350_000 < sum(parameter.numel() for parameter in model.parameters()) < 450_000


def test_a_probe_refuses_weights_of_another_shape() -> None:
    model, _ = built("probe")
    linear: Any = model.linear
    with pytest.raises(BadInput, match=r"weight is \(1, 64\), expected \(3, 64\)"):
        linear.set(np.zeros(64), np.ones(64), np.zeros((1, 64)), np.zeros(3))


def test_the_frozen_parts_get_no_gradient() -> None:
    model, _ = built("wav2vec2")
    model.train()(*clips([8_000, 6_000])).sum().backward()
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert not any("feature_extractor" in name for name in with_gradient)
    assert "classifier.weight" in with_gradient
    assert any("encoder.layers.0" in name for name in with_gradient)
    probe, _ = built("probe")
    assert not any(parameter.requires_grad for parameter in probe.parameters())


def test_an_encoder_folder_goes_into_the_model_and_is_not_needed_again(tmp_path: Path) -> None:
    encoder: Any = load_encoder(random=EncoderShape(32, 2, 2, 48, 16, seed=3))
    encoder.model.save_pretrained(tmp_path / "encoder")
    model, spec = built("probe", tmp_path / "encoder")
    save_model(tmp_path / "model", model, spec)
    for path in (tmp_path / "encoder").iterdir():
        path.unlink()
    loaded, _ = load_model(tmp_path / "model")
    batch = clips([8_000, 7_000])
    assert torch.equal(loaded(*batch), model(*batch))
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert described["options"]["encoder"]["config"]["hidden_size"] == 32
