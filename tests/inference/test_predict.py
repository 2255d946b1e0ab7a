import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
import torch

from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.builds.predict_folder import predictions_table, timeline_table, write_predictions
from ser_tasks.errors import BadInput
from ser_tasks.inference.predict import (
    Windows,
    embed_packed,
    predict_and_embed_packed,
    predict_file,
    predict_folder,
    predict_folder_adapted,
    predict_packed,
    predict_waveform,
)
from ser_tasks.models.adapted import AdaptedHead
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


def test_probabilities_and_embeddings_come_from_one_pass(audio: PackedAudio) -> None:
    model, order = build_model(SPEC), [4, 0, 3]
    probabilities, embeddings = predict_and_embed_packed(model, audio, order, 3)
    np.testing.assert_allclose(probabilities, predict_packed(model, audio, order), atol=1e-6)
    np.testing.assert_allclose(embeddings, embed_packed(model, audio, order), atol=1e-6)


def test_recordings_of_one_kind_are_compared_with_each_other_and_too_few_are_refused(
    audio: PackedAudio, tmp_path: Path
) -> None:
    model = build_model(SPEC)
    bodies: dict[str, bytes] = {"broken.wav": b"no audio"}
    for i in range(12):
        body = io.BytesIO()
        soundfile.write(body, np.roll(audio.waveform(i % 5), 997 * i), 16_000, format="WAV", subtype="FLOAT")
        bodies[f"clip{i:02}.wav"] = body.getvalue()
    head = AdaptedHead(np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32), np.zeros(3, np.float32))
    rows = predict_folder_adapted(model, SPEC, head, list(bodies), bodies.__getitem__)
    assert rows[0]["error"] and "probabilities" not in rows[0]
    embeddings = []
    for name in list(bodies)[1:]:
        samples = soundfile.read(io.BytesIO(bodies[name]), dtype="float32")[0]
        with torch.inference_mode():
            embeddings.append(model.embed(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))[0].numpy())  # type: ignore[operator]
    values = np.array(embeddings, dtype=np.float64)
    spread = np.where(values.std(axis=0) > 1e-4, values.std(axis=0), 1.0)
    expected = head.probabilities((values - values.mean(axis=0)) / spread)
    found = np.array([list(row["probabilities"].values()) for row in rows[1:]])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert [row["label"] for row in rows[1:]] == [SPEC.labels[i] for i in found.argmax(axis=1)]
    assert not np.allclose(found, [list(predict_file(model, SPEC, bodies[n])["probabilities"].values())
                                   for n in list(bodies)[1:]], atol=0.05)  # fmt: skip
    with pytest.raises(BadInput, match="4 of 5 files can be used, and to compare each with all takes 10"):
        predict_folder_adapted(model, SPEC, head, list(bodies)[:5], bodies.__getitem__)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros((2, 100)), np.array([0.0, np.nan])])
def test_samples_that_say_nothing_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(BadInput, match="nothing to predict from"):
        predict_waveform(build_model(SPEC), SPEC, samples.astype(np.float32), 16_000)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (np.sin(np.cumsum(generator.normal(size=round(seconds * 16_000)))) * 0.3).astype(np.float32)


def as_file(samples: np.ndarray, rate: int = 16_000, name: str = "wav") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=name, subtype="PCM_16" if name == "flac" else "FLOAT")
    return out.getvalue()


def test_windows_cover_a_clip_to_its_end_and_no_window_is_superfluous() -> None:
    windows = Windows(2.0, 1.0)
    assert windows.spans(20, 10) == [(0, 20)]
    assert windows.spans(1, 10) == [(0, 1)]
    assert windows.spans(21, 10) == [(0, 20), (10, 21)]
    assert windows.spans(30, 10) == [(0, 20), (10, 30)]
    assert windows.spans(31, 10) == [(0, 20), (10, 30), (20, 31)]
    assert Windows(2.0, 2.0).spans(45, 10) == [(0, 20), (20, 40), (40, 45)]
    for window_s, hop_s in ((2.0, 3.0), (2.0, 0.0), (0.05, 0.05)):
        with pytest.raises(BadInput, match="hop <= window"):
            Windows(window_s, hop_s)


def test_long_audio_has_a_timeline_and_its_mean_weighted_by_duration() -> None:
    model = build_model(SPEC)
    samples = speech(5.5)
    result = predict_waveform(model, SPEC, samples, 16_000, Windows(2.0, 2.0))
    assert [(part["start_s"], part["end_s"]) for part in result["timeline"]] == [(0.0, 2.0), (2.0, 4.0), (4.0, 5.5)]
    assert result["duration_s"] == 5.5
    expected = np.zeros(3)
    for part in result["timeline"]:
        piece = samples[round(16_000 * part["start_s"]) : round(16_000 * part["end_s"])]
        alone = predict_waveform(model, SPEC, piece, 16_000)
        assert alone["timeline"] == []
        assert part["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
        assert part["label"] == alone["label"]
        expected += len(piece) * np.array(list(part["probabilities"].values()))
    np.testing.assert_allclose(list(result["probabilities"].values()), expected / len(samples), atol=1e-6)
    assert result["label"] == SPEC.labels[int(expected.argmax())]


def test_a_second_heads_tone_is_in_every_result(tmp_path: Path) -> None:
    spec = ModelSpec("cnn", {"channels": [8, 8, 8, 8], "tone": True}, SPEC.labels)
    model: Any = build_model(spec)
    short, long = speech(1.0), speech(2.5, 1)
    logits, tone = model.eval().forward_with_tone(torch.from_numpy(short)[None], torch.tensor([len(short)]))
    alone = predict_waveform(model, spec, short, 16_000)
    assert alone["tone"] == pytest.approx(tone.item(), abs=1e-5)
    assert list(alone["probabilities"].values()) == pytest.approx(logits.softmax(1)[0].tolist(), abs=1e-5)
    bodies = {"short.wav": as_file(short), "long.wav": as_file(long), "bad.wav": b"x"}
    rows = predict_folder(model, spec, bodies, bodies.__getitem__, Windows(2.0, 2.0))
    parts = [part["tone"] for part in rows[1]["timeline"]]
    assert rows[1]["tone"] == pytest.approx((2.0 * parts[0] + 0.5 * parts[1]) / 2.5, abs=1e-6)
    written = write_predictions(rows, spec.labels, tmp_path / "out.csv", {})
    table, timeline = (pd.read_csv(each) for each in written)
    assert table["tone"].tolist()[:2] == pytest.approx([alone["tone"], rows[1]["tone"]], abs=1e-3)
    assert table["tone"].isna().tolist() == [False, False, True]
    assert timeline["tone"].tolist() == pytest.approx(parts, abs=1e-6)
    assert "tone" not in predict_waveform(build_model(SPEC), SPEC, short, 16_000)


def test_one_bad_file_stops_no_other_and_is_listed() -> None:
    model = build_model(SPEC)
    bodies = {
        "a.wav": as_file(speech(1.0)),
        "broken.wav": b"RIFF nothing",
        "b.flac": as_file(speech(0.7, 1), name="flac"),
        "empty.wav": b"",
        "long.wav": as_file(speech(2.5, 2)),
        "nan.wav": as_file(np.full(800, np.nan, dtype=np.float32)),
        "fast.wav": as_file(soxr.resample(speech(1.0), 16_000, 44_100), 44_100),
    }

    def read(name: str) -> bytes:
        if name == "gone.wav":
            raise FileNotFoundError(f"no such file: {name}")
        return bodies[name]

    names = [*bodies, "gone.wav"]
    rows = predict_folder(model, SPEC, names, read, Windows(1.0, 1.0), chunk=3)
    assert [row["path"] for row in rows] == names
    assert {row["path"] for row in rows if row["error"]} == {"broken.wav", "empty.wav", "nan.wav", "gone.wav"}
    for row in rows:
        if row["error"]:
            assert row["path"] in row["error"]
            assert "label" not in row
        else:
            alone = predict_file(model, SPEC, bodies[row["path"]], Windows(1.0, 1.0))
            assert row["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-4)
            assert len(row["timeline"]) == len(alone["timeline"])
    fast = next(row for row in rows if row["path"] == "fast.wav")
    assert fast["probabilities"] == pytest.approx(rows[0]["probabilities"], abs=1e-2)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
def test_predictions_are_read_back_from_every_format(suffix: str, tmp_path: Path) -> None:
    bodies = {"ü, a.wav": as_file(speech(1.0)), "bad.wav": b"x", "long.wav": as_file(speech(2.5))}
    rows = predict_folder(build_model(SPEC), SPEC, bodies, bodies.__getitem__, Windows(1.0, 1.0))
    path = tmp_path / "new" / f"out{suffix}"
    written = write_predictions(rows, SPEC.labels, path, {"model": "small"})
    if suffix == ".json":
        assert written == [path]
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found == {"model": "small", "predictions": rows}
        return
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    assert written == [path, path.with_name(f"out.timeline{suffix}")]
    table, timeline = (read(each) for each in written)
    assert table["path"].tolist() == list(bodies)
    assert table["label"].tolist()[::2] == [rows[0]["label"], rows[2]["label"]]
    assert table["error"].fillna("").astype(bool).tolist() == [False, True, False]
    assert table.loc[1, [f"p_{label}" for label in SPEC.labels]].isna().all()
    assert table["duration_s"].tolist()[::2] == [1.0, 2.5]
    np.testing.assert_allclose(table.loc[2, "p_sad"], rows[2]["probabilities"]["sad"])
    assert timeline["path"].unique().tolist() == ["long.wav"]
    assert timeline["end_s"].tolist() == [1.0, 2.0, 2.5]
    assert list(predictions_table([], SPEC.labels).columns) == list(table.columns)
    assert list(timeline_table([], SPEC.labels).columns) == list(timeline.columns)


def test_predictions_of_an_unknown_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.json, \.csv, \.parquet"):
        write_predictions([], SPEC.labels, tmp_path / "out.xlsx", {})
