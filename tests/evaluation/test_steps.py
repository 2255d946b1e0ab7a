"""The steps `evaluate` and `compare` on stored predictions: what is in their files, and that it is right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from ser_tasks.builds import compare, evaluate
from ser_tasks.corpora.entry import Entry, Reading
from ser_tasks.data.manifest import assemble, write_manifest
from ser_tasks.errors import BadInput
from tests.report.studies import _put

LABELS = ["angry", "neutral", "sad"]
VOTES = json.dumps({"voice": {"counts": {"angry": 3, "neutral": 6, "sad": 1}, "responses": 10}})


def predictions(folder: Path, seed: int, skill: float, *, corpus: str = "c", taint: str = "") -> Path:
    folder.mkdir()
    draw = np.random.default_rng(seed)
    rows = []
    for role, speakers in (("dev", range(4)), ("test", range(4, 12))):
        for speaker in speakers:
            for clip in range(12):
                logits = draw.normal(0, 1, 3)
                logits[clip % 3] += skill
                odds = np.exp(logits) / np.exp(logits).sum()
                rows.append([f"{speaker:02}-{clip:02}", corpus, f"s{speaker:02}", role, LABELS[clip % 3], *odds])
    columns = ["utterance_id", "corpus", "speaker_id", "role", "target", *(f"p_{label}" for label in LABELS)]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "predictions.parquet")
    _put(folder / "protocol.json", {"description": "by speaker", "taint": taint})
    return folder


def model(folder: Path, title: str, note: str = "") -> Path:
    folder.mkdir()
    _put(folder / "model.json", {"title": title, "note": note})
    return folder


def scanned(folder: Path, stored: Path, facts_of: Any) -> Path:
    folder.mkdir()
    frame = pd.read_parquet(stored / "predictions.parquet")
    entries = [
        Entry(path=f"{name}.wav", utterance_id=name, speaker_id=speaker, emotion=target, emotion_raw=target,
              sex="female" if int(speaker[1:]) % 2 else "male", age=25, votes=VOTES)
        for name, speaker, target in zip(frame["utterance_id"], frame["speaker_id"], frame["target"], strict=True)
    ]  # fmt: skip
    reading = Reading("CC0", "none")
    reading.entries += entries
    manifest = assemble("c", reading, {entry.path: facts_of(i) for i, entry in enumerate(entries)})
    write_manifest(manifest, folder / "manifest.parquet")
    return folder


@pytest.fixture
def facts_of() -> Any:
    from ser_tasks.audio.measure import Facts

    return lambda i: Facts(f"{i:064}", 1000, 16000, 1, "WAV/PCM_16", 1.5 + i % 3, 0.5, -30.0, 0.0, 0.0, 0.1, ())


PARAMS = {
    "model": "cnn", "corpus": "c", "relation": "within", "labels": LABELS, "label_map": {}, "resamples": 300, "seed": 0,
}  # fmt: skip


def test_everything_of_a_model_on_a_corpus_is_in_its_file(tmp_path: Path, facts_of: Any) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5)
    inputs = {"predictions": stored, "model": model(tmp_path / "m", "CNN")}
    inputs |= {"manifest": scanned(tmp_path / "s", stored, facts_of)}
    out = tmp_path / "out"
    out.mkdir()
    evaluate.build(inputs, PARAMS, out)
    found = json.loads((out / "metrics.json").read_text())
    frame = pd.read_parquet(stored / "predictions.parquet").query("role == 'test'")
    chosen = [LABELS[i] for i in frame[[f"p_{label}" for label in LABELS]].to_numpy().argmax(axis=1)]
    for name, score in (("recall", recall_score), ("precision", precision_score), ("f1", f1_score)):
        expected = score(frame["target"], chosen, labels=LABELS, average=None)
        assert [row[name]["value"] for row in found["classes"]] == pytest.approx(list(expected))
        assert all(row[name]["low"] <= row[name]["value"] <= row[name]["high"] for row in found["classes"])
    assert found["uar"]["value"] == pytest.approx(recall_score(frame["target"], chosen, average="macro"))
    assert (found["clips"], found["speakers"], found["chance_uar"]) == (96, 8, pytest.approx(1 / 3))
    assert found["calibration"]["fitted_on"] == "48 dev clips"
    assert found["people"]["human_uar"]["value"] == pytest.approx(1 / 3, abs=0.01)
    assert found["people"]["votes"] == 960
    assert [row["by"] for row in found["slices"]] == ["sex"]  # durations go with the class here: no common class
    assert found["across"] is None


def test_another_corpus_shows_its_maps_its_shift_and_its_variants(tmp_path: Path, facts_of: Any) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5)
    frame = pd.read_parquet(stored / "predictions.parquet").query("role == 'test'")
    frame.assign(variant="calm as neutral").iloc[:60].to_parquet(stored / "variants.parquet")
    rows = tmp_path / "rows"
    rows.mkdir()
    pd.DataFrame({"role": "train", "label": ["angry"] * 3 + ["sad"]}).to_parquet(rows / "rows.parquet")
    spectra = tmp_path / "spectra"
    spectra.mkdir()
    _put(spectra / "spectra.json", {"trained": "t", "spectra": {"t": [0.0, 0.0], "c": [3.0, -3.0]}})
    scan = scanned(tmp_path / "s", stored, facts_of)
    inputs = {"predictions": stored, "dev": stored, "model": model(tmp_path / "m", "CNN"), "manifest": scan}
    inputs |= {"trained": scan, "rows": rows, "spectra": spectra}
    out = tmp_path / "out"
    out.mkdir()
    evaluate.build(inputs, PARAMS | {"relation": "across", "label_map": {"calm": "neutral"}}, out)
    found = json.loads((out / "metrics.json").read_text())
    assert found["label_map"] == {"calm": "neutral"}
    assert found["across"]["prior_shift"]["total_variation"] == pytest.approx((0.75 - 1 / 3 + 1 / 3 + 1 / 3 - 0.25) / 2)
    assert found["across"]["domain_shift"]["spectrum"]["rms_difference_db"] == pytest.approx(3.0)
    assert found["across"]["domain_shift"]["rms_db"]["ks_distance"] == 0
    assert [(row["name"], row["clips"]) for row in found["variants"]] == [("calm as neutral", 60)]


def test_a_better_model_is_called_so_and_a_random_one_gets_no_verdict(tmp_path: Path) -> None:
    inputs = {
        "predictions/bad": predictions(tmp_path / "a", 1, 0.2), "model/bad": model(tmp_path / "ma", "Bad"),
        "predictions/good": predictions(tmp_path / "b", 2, 4.0), "model/good": model(tmp_path / "mb", "Good"),
        "predictions/odd": predictions(tmp_path / "d", 3, 0.2), "model/odd": model(tmp_path / "md", "Odd", "random"),
    }  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    compare.build(inputs, {"corpus": "c", "labels": LABELS, "resamples": 500, "seed": 0}, out)
    pairs = {(p["first"], p["second"]): p for p in json.loads((out / "difference.json").read_text())["pairs"]}
    assert pairs["bad", "good"]["verdict"] == "Good is better"
    assert pairs["bad", "good"]["uar_difference"]["low"] > 0
    assert pairs["good", "odd"]["verdict"] == "no verdict: one of them is random"
    assert all(p["bootstrap_p_holm"] >= p["p_bootstrap"] for p in pairs.values())


def test_other_clips_are_not_compared(tmp_path: Path) -> None:
    one, other = predictions(tmp_path / "a", 1, 1.0), predictions(tmp_path / "b", 2, 1.0)
    frame = pd.read_parquet(other / "predictions.parquet")
    frame.iloc[:-1].to_parquet(other / "predictions.parquet")
    inputs = {"predictions/a": one, "predictions/b": other}
    inputs |= {"model/a": model(tmp_path / "ma", "A"), "model/b": model(tmp_path / "mb", "B")}
    with pytest.raises(BadInput, match="were not asked for the same clips"):
        compare.build(inputs, {"corpus": "c", "labels": LABELS, "resamples": 100, "seed": 0}, tmp_path)
