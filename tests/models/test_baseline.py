"""The baseline learns from its clips as other microphones would have heard them, and no one feature rules it."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch

from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.builds.train_linear import fit_baseline
from ser_tasks.models.baseline import LIMIT, Baseline
from ser_tasks.models.files import ModelSpec, build_model, load_model, save_model

RATE = 16_000


def clip(formant: float, seed: int) -> np.ndarray:
    """A voice of about 150 Hz whose harmonics near one frequency are strong; half of the clips are much quieter."""
    draw = np.random.default_rng(seed)
    time = np.arange(RATE) / RATE
    pitch = 150 * draw.uniform(0.9, 1.1)
    harmonics = pitch * np.arange(1, 40)
    strength = np.exp(-(((harmonics - formant) / 400) ** 2)) + 0.05
    voiced = sum(s * np.sin(2 * np.pi * hz * time) for s, hz in zip(strength, harmonics, strict=True))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * draw.uniform(3, 5) * time)
    return np.asarray(0.02 * syllables * voiced + 1e-4 * draw.standard_normal(RATE), dtype=np.float32)


def corpus(folder: Path) -> tuple[PackedAudio, np.ndarray]:
    """Sixty clips of two classes."""
    targets = np.arange(60) % 2
    clips = ((f"{i:02d}", (32767 * clip(700 + 900 * int(t), i)).astype(np.int16)) for i, t in enumerate(targets))
    write_packed(folder, clips)
    return PackedAudio.open(folder), targets


def fitted(audio: PackedAudio, targets: np.ndarray, seed: int = 0) -> tuple[Baseline, list[np.ndarray]]:
    model = build_model(ModelSpec("baseline", {}, ["low", "high"]))
    assert isinstance(model, Baseline)
    sides = [list(range(40)), list(range(40, 60))]
    return model, fit_baseline(model, audio, sides, [targets[side] for side in sides], seed)


def test_it_knows_its_classes_through_a_telephone_and_in_noise(tmp_path: Path) -> None:
    audio, targets = corpus(tmp_path)
    model, embeddings = fitted(audio, targets)
    assert [len(each) for each in embeddings] == [40, 20]  # of the clips as they are
    waveforms = np.stack([audio.waveform(i) for i in range(40, 60)])
    telephone = scipy.signal.butter(8, [300, 3_400], "bandpass", fs=RATE, output="sos")
    noise = np.random.default_rng(1).standard_normal(waveforms.shape) * np.sqrt(np.square(waveforms).mean() / 100)
    for heard in (waveforms, scipy.signal.sosfilt(telephone, waveforms), waveforms + noise):
        given = torch.from_numpy(np.asarray(heard, dtype=np.float32)), torch.full((20,), RATE)
        assert (model(*given).argmax(dim=1).numpy() == targets[40:]).mean() >= 0.9


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_copies(tmp_path: Path) -> None:
    audio, targets = corpus(tmp_path)
    once, again, other = (fitted(audio, targets, seed)[0].linear.weight for seed in (3, 3, 4))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_copies_stand_behind_the_clip_as_it_is_and_draw_from_torchs_generator() -> None:
    model = Baseline(2)
    waveforms = torch.from_numpy(np.stack([clip(700, i) for i in range(4)]))
    lengths = torch.full((4,), RATE)
    torch.manual_seed(0)
    found = model.embed_changed(waveforms, lengths, 2)
    assert found.shape == (4, 3, model.linear.mean.numel())
    assert torch.equal(found[:, 0], model.embed(waveforms, lengths))
    assert not torch.equal(found[:, 1], found[:, 2])
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("away", [10.0, 1e6])
def test_a_feature_far_from_all_that_was_learnt_counts_as_the_limit(away: float) -> None:
    model = Baseline(2)
    n = model.linear.mean.numel()
    model.linear.set(np.zeros(n), np.ones(n), np.ones((2, n)), np.zeros(2))
    features = torch.zeros(1, n)
    features[0, 3] = away
    assert model.linear(features)[0, 0] == pytest.approx(LIMIT)


def test_a_baseline_that_was_saved_before_there_was_a_limit_has_none(tmp_path: Path) -> None:
    spec = ModelSpec("baseline", {"limit": None}, ["low", "high"])
    save_model(tmp_path, build_model(spec), spec)
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace('"limit": null', '"n_mels": 64').replace('"n_mels": 64,\n', "", 1))
    model, found = load_model(tmp_path)
    assert isinstance(model, Baseline)
    assert (found.options["limit"], model.linear.limit) == (None, None)
