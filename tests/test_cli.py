"""The published commands on the real RAVDESS and on broken input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from ser_tasks.audio.decode import decode
from ser_tasks.cli import app
from ser_tasks.corpora.demo import make_demo_corpora

SER = [sys.executable, "-c", "from ser_tasks.cli import main; main()"]


def ser(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*SER, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def ser_json(*arguments: str | Path) -> Any:
    return json.loads(ser(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def few_actors(ravdess: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the real RAVDESS's actors, so that the whole way takes seconds."""
    root = tmp_path_factory.mktemp("ravdess")
    for number in range(1, 13):
        shutil.copytree(ravdess / f"Actor_{number:02d}", root / f"Actor_{number:02d}", copy_function=shutil.copyfile)
    return root


@pytest.fixture(scope="module")
def data_root(few_actors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("data") / "root"
    ser("split", "--source_dir", few_actors, "--target_dir", target)
    return target


def test_inspect_counts_the_real_ravdess(ravdess: Path) -> None:
    report = ser_json("inspect", "--source_dir", ravdess)
    assert report["utterances"] == 1440
    assert report["speakers"] == 24
    assert report["emotions"]["neutral"] == 96
    assert report["rejected"] == []
    assert {"utterance_id": "03-01-08-01-02-02-01", "issue": "2 channels, averaged to mono"} in report["issues"]


def test_inspect_beside_a_data_root_or_a_corpus_says_what_to_expect(
    data_root: Path, few_actors: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for path in sorted(few_actors.glob("Actor_*/*.flac"))[::6]:
        samples = decode(path).samples
        loud = np.abs(samples) > 0.05 * np.abs(samples).max()
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        soundfile.write(other / path.parent.name / path.name, samples[loud], 16000)
    report = ser_json("inspect", "--source_dir", other, "--beside", data_root)
    assert report["beside"]["corpus"] == "ravdess" and report["beside"]["test"] == report["conditions"]
    assert report["beside"]["sentences"][0].startswith("Half of the training corpus is silence (5")
    again = ser_json("inspect", "--source_dir", other, "--beside", few_actors)
    assert again["beside"] == report["beside"]
    page = tmp_path / "page.html"
    said = ser("inspect", "--source_dir", other, "--beside", data_root, "--page", page).stdout
    assert "What to expect here of a model trained on ravdess" in said
    assert "Half of the training corpus is silence" in page.read_text()
    error = ser("inspect", "--source_dir", other, "--beside", tmp_path / "none", status=1).stderr
    assert "--beside" in error and "does not exist" in error


@pytest.mark.parametrize("model", ["baseline", "cnn", "wav2vec2"])
def test_train_test_and_predict(data_root: Path, few_actors: Path, tmp_path: Path, model: str) -> None:
    out = tmp_path / "model"
    options = [] if model == "baseline" else ["--epochs", "1"]
    ser("train", "--data_root", data_root, "--out_dir", out, "--model", model, *options)
    metrics = ser_json("test", "--data-root", data_root, "--ckpt-dir", out)
    assert 0 <= metrics["uar"]["low"] <= metrics["uar"]["value"] <= metrics["uar"]["high"] <= 1
    assert ("randomly initialised" in metrics["note"]) == (model == "wav2vec2")
    clip = few_actors / "Actor_01" / "03-01-05-01-01-01-01.flac"
    result = ser_json("predict_wav", "--wav_path", clip, "--ckpt_dir", out)
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert result["label"] in result["probabilities"]
    written = tmp_path / "clip.json"
    again = ser_json("predict-wav", "--wav-path", clip, "--ckpt-dir", out, "--device", "cpu", "--out", written)
    assert again == result
    assert json.loads(written.read_text())["predictions"][0]["probabilities"] == result["probabilities"]
    if model == "cnn":
        _predict_many(out, clip, result, tmp_path)
        _exported_file_agrees(out, clip, result, tmp_path)


def _predict_many(model: Path, clip: Path, alone: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    (folder / "deeper").mkdir(parents=True)
    shutil.copyfile(clip, folder / "deeper" / "clip.flac")
    samples, rate = soundfile.read(clip)
    soundfile.write(folder / "long.wav", list(samples) * 8, rate)
    (folder / "broken.wav").write_text("text")
    done = ser("predict", "--source_dir", folder, "--ckpt_dir", model, "--out", tmp_path / "labels.csv")
    assert "2 files labelled, 1 not" in done.stdout
    (folder / "long.wav").rename(tmp_path / "long.wav")
    printed = CliRunner().invoke(app, ["predict", "--source_dir", str(folder), "--ckpt_dir", str(model), "--json"])
    rows = {row["path"]: row for row in json.loads(printed.stdout)["predictions"]}
    assert rows["deeper/clip.flac"]["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
    assert rows["broken.wav"]["error"]
    assert "broken.wav cannot be decoded: it is a text" in done.stderr
    table = pd.read_csv(tmp_path / "labels.csv").set_index("path")
    label = alone["label"]
    assert table.loc["deeper/clip.flac", f"p_{label}"] == pytest.approx(alone["probabilities"][label], abs=1e-5)
    assert "it is a text" in table.loc["broken.wav", "error"]
    timeline = pd.read_csv(tmp_path / "labels.timeline.csv")
    assert set(timeline["path"]) == {"long.wav"}
    assert timeline["end_s"].max() == pytest.approx(8 * len(samples) / rate, abs=0.001)


def _exported_file_agrees(model: Path, clip: Path, alone: dict[str, Any], tmp_path: Path) -> None:
    ser("export", "--ckpt_dir", model, "--format", "onnx", "--out", tmp_path / "exported")
    session = onnxruntime.InferenceSession(tmp_path / "exported" / "model.onnx")
    about = json.loads((tmp_path / "exported" / "model.onnx.json").read_text())
    samples = decode(clip).samples[None]
    names = [each.name for each in session.get_inputs()]
    logits = session.run(None, dict(zip(names, (samples, np.array([samples.shape[1]])), strict=True)))[0][0]
    odds = np.exp(logits - logits.max())
    given = dict(zip(about["outputs"]["logits"]["labels"], odds / odds.sum(), strict=True))
    assert given == pytest.approx(alone["probabilities"], abs=1e-4)


def test_predict_refuses_an_unknown_format_before_any_work(tmp_path: Path) -> None:
    done = ser("predict", "--source_dir", tmp_path, "--ckpt_dir", tmp_path, "--out", tmp_path / "x.xlsx", status=1)
    assert ".json, .csv, .parquet" in done.stderr
    nowhere = CliRunner().invoke(app, ["predict", "--source_dir", str(tmp_path), "--ckpt_dir", str(tmp_path)])
    assert "--out FILE" in str(nowhere.exception)


def test_errors_are_one_line_that_says_the_way_out(tmp_path: Path) -> None:
    assert "does not exist" in ser("inspect", "--source_dir", tmp_path / "none", status=1).stderr
    assert "'ser split --source_dir" in ser("train", "--data_root", tmp_path, "--out_dir", "x", status=1).stderr
    bad = tmp_path / "bad.wav"
    bad.write_text("text")
    done = ser("predict_wav", "--wav_path", bad, "--ckpt_dir", tmp_path, status=1)
    assert "no model.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_command_leaves_no_half_result(tmp_path: Path) -> None:
    root = tmp_path / "AudioWAV"
    root.mkdir()
    for actor in (1001, 1002):
        soundfile.write(root / f"{actor}_DFA_SAD_XX.wav", [0.1] * 16000, 16000)
    done = ser("split", "--source_dir", tmp_path, "--target_dir", tmp_path / "t", status=1)
    assert "fault" in done.stderr or "critical" in done.stderr
    assert not (tmp_path / "t" / "split").exists()


@pytest.mark.prove
def test_a_second_head_learns_from_a_file_of_ratings_or_is_left_out(tmp_path: Path) -> None:
    corpus = make_demo_corpora(tmp_path, crema_d_actors=5, ravdess_actors=1, iemocap_sessions=1)["demo_crema_d"]
    config = yaml.safe_load((Path(__file__).parent / "configs" / "tiny.yaml").read_text())
    config["wav2vec2"]["fit"]["tone_weight"] = 0.2
    (tmp_path / "tone.yaml").write_text(yaml.safe_dump(config))
    data, out = tmp_path / "data", tmp_path / "model"
    ser("split", "--source_dir", corpus, "--target_dir", data, "--config", tmp_path / "tone.yaml", "--across", "none")
    command = ["train", "--data_root", data, "--out_dir", out, "--model", "wav2vec2"]
    assert "no second head" in ser(*command).stderr
    clip = sorted(corpus.rglob("1001_*.wav"))[0]
    assert "tone" not in ser_json("predict_wav", "--wav_path", clip, "--ckpt_dir", out)
    rated = tmp_path / "rudeness.csv"
    names = [path.stem for path in corpus.rglob("10*.wav")]
    rated.write_text(
        "\n".join(["utterance_id,annotator_id,trait,rating", *(f"{name},anna,rudeness,4" for name in names)])
    )
    ser(*command, "--ratings", rated)
    assert ser_json("predict_wav", "--wav_path", clip, "--ckpt_dir", out)["tone"] > 0
    assert "no second head" in ser(*command[:6], "cnn", "--ratings", rated, status=1).stderr


def test_help_has_examples() -> None:
    for command in ("inspect", "split", "train", "test", "predict_wav", "predict", "export", "config"):
        assert "Example:" in ser(command, "--help").stdout


def test_config_shows_every_value() -> None:
    shown = json.loads(ser("config", "demo", "--show").stdout)
    assert shown["cnn"]["fit"]["epochs"] >= 1
