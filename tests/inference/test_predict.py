from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.errors import BadInput
from ser_tasks.inference.predict import embed_packed, predict_file, predict_packed, predict_waveform
from ser_tasks.models.encoders import EncoderShape, load_encoder
from ser_tasks.models.files import ModelSpec, build_model

SPEC = ModelSpec("cnn", {"channels": [8, 8, 8, 8]}, ["angry", "happy", "sad"])


@pytest.fixture
def audio(tmp_path: Path) -> PackedAudio:
    generator = np.random.default_rng(0)
    lengths = (9_000, 30_000, 12_000, 5_000, 30_000)
    noise = [np.sin(np.cumsum(generator.normal(size=length))) * 0.3 for length in lengths]
    write_packed(tmp_path, [(f"clip{i}", (samples * 32767).astype(np.int16)) for i, samples in enumerate(noise)])
    return PackedAudio.open(tmp_path)


@pytest.mark.parametrize("batch_seconds", [1.0, 3.0, 100.0])
def test_probabilities_come_in_the_order_asked_for_whatever_the_batches(
    audio: PackedAudio, batch_seconds: float
) -> None:
    model = build_model(SPEC)
    order = [4, 0, 3, 1, 2, 0]
    probabilities = predict_packed(model, audio, order, "cpu", batch_seconds)
    assert probabilities.shape == (6, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    for row, i in enumerate(order):
        alone = predict_waveform(model, SPEC, audio.waveform(i), 16_000)
        np.testing.assert_allclose(probabilities[row], list(alone["probabilities"].values()), atol=1e-4)
        assert alone["label"] == SPEC.labels[int(probabilities[row].argmax())]


def test_embeddings_are_means_then_deviations_in_the_order_asked_for(audio: PackedAudio) -> None:
    encoder = load_encoder(random=EncoderShape(32, 1, 2, 48, 16))
    embeddings = embed_packed(encoder, audio, [2, 0, 1])
    assert embeddings.shape == (3, 64)
    assert embeddings.dtype == np.float32
    assert (embeddings[:, 32:] > 0).all()
    np.testing.assert_allclose(embeddings[1], embed_packed(encoder, audio, [0])[0], atol=1e-4)
    assert embed_packed(build_model(SPEC), audio, [0]).shape == (1, 16)


def test_a_file_gives_what_its_samples_give(audio: PackedAudio, tmp_path: Path) -> None:
    model = build_model(SPEC)
    samples = soxr.resample(audio.waveform(1), 16_000, 48_000)
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.stack([samples, samples], axis=1), 48_000, subtype="FLOAT")
    expected: Any = predict_waveform(model, SPEC, samples, 48_000)["probabilities"]
    for source in (path, path.read_bytes()):
        found = predict_file(model, SPEC, source)["probabilities"]
        assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros((2, 100)), np.array([0.0, np.nan])])
def test_samples_that_say_nothing_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(BadInput, match="nothing to predict from"):
        predict_waveform(build_model(SPEC), SPEC, samples.astype(np.float32), 16_000)
