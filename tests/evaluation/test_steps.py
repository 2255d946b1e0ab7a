"""The steps `evaluate` and `compare` on stored predictions: what is in their files, and that it is right."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from ser_tasks.builds import compare, evaluate
from ser_tasks.config import load_config
from ser_tasks.corpora.entry import Entry, Reading
from ser_tasks.corpora.readers import load_description, read_corpus
from ser_tasks.corpora.source import open_source
from ser_tasks.data.manifest import assemble, read_manifest, write_manifest
from ser_tasks.data.split import make_split
from ser_tasks.errors import BadInput
from tests.report.studies import _put

LABELS = ["angry", "neutral", "sad"]
VOTES = json.dumps({"voice": {"counts": {"angry": 3, "neutral": 6, "sad": 1}, "responses": 10}})


def predictions(folder: Path, seed: int, skill: float, *, corpus: str = "c", taint: str = "", tested: int = 8) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(seed)
    rows = []
    for role, speakers in (("dev", range(4)), ("test", range(4, 4 + tested))):
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


def model(folder: Path, title: str, note: str = "", temperature: float | None = None) -> Path:
    folder.mkdir()
    _put(folder / "model.json", {"title": title, "note": note, "temperature": temperature, "temperature_clips": 48})
    return folder


def test_what_is_adapted_without_labels_stands_apart_and_clips_without_an_answer_are_counted(tmp_path: Path) -> None:
    stored = predictions(tmp_path / "p", 0, 2.0)
    frame = pd.read_parquet(stored / "predictions.parquet").query("role == 'test'").assign(seen="")
    columns = [f"p_{label}" for label in LABELS]
    right = frame.assign(way="speaker", **{f"p_{label}": (frame["target"] == label).astype(float) for label in LABELS})
    right.loc[right["speaker_id"] == "s04", columns] = np.nan
    none = frame.assign(way="corpus", **dict.fromkeys(columns, np.nan))
    pd.concat([right, none]).to_parquet(stored / "adapted.parquet")
    evaluate.build({"predictions": stored, "model": model(tmp_path / "m", "CNN")}, PARAMS, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    speaker, corpus = metrics["adapted"]
    assert (speaker["name"], speaker["clips"], speaker["left_out"]) == ("adapted without labels, by speaker", 84, 12)
    assert speaker["uar"]["value"] == 1.0 > metrics["uar"]["value"]
    assert (corpus["clips"], corpus["left_out"]) == (0, 96) and "uar" not in corpus
    assert metrics["clips"] == 96


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
    "model": "cnn", "corpus": "c", "relation": "within", "labels": LABELS, "label_map": {},
    "variants": {"calm as neutral": {"calm": "neutral"}}, "resamples": 300, "seed": 0,
}  # fmt: skip


def test_everything_of_a_model_on_a_corpus_is_in_its_file(tmp_path: Path, facts_of: Any) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5)
    inputs = {"predictions": stored, "model": model(tmp_path / "m", "CNN", temperature=1.5)}
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
    assert found["across"] is None and found["mapping"] == ""
    assert found["people"]["raters"] == "people who heard the voice alone"
    assert found["names"]["macro_f1"] == "macro-F1 (unweighted mean of the classes' F1)"
    shares = found["confusion"]["shares"]
    counts = np.array(found["confusion"]["counts"])
    for i, row in enumerate(found["classes"]):
        assert shares[i][i] == row["recall"]
        assert [cell["value"] for cell in shares[i]] == pytest.approx(list(counts[i] / counts[i].sum()))
        assert all(cell["low"] <= cell["value"] <= cell["high"] for cell in shares[i])


def test_within_a_corpus_whose_emotions_are_merged_their_clips_are_counted_and_raters_votes_follow(
    tmp_path: Path, facts_of: Any
) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5)
    scan = scanned(tmp_path / "s", stored, facts_of)
    manifest = read_manifest(scan / "manifest.parquet")
    calm = (manifest["emotion"] == "neutral") & (manifest["utterance_id"].str[:2].astype(int) % 2 == 0)
    votes = manifest["votes"].str.replace('"neutral"', '"calm"')
    write_manifest(
        manifest.assign(emotion=manifest["emotion"].mask(calm, "calm"), votes=votes), scan / "manifest.parquet"
    )
    inputs = {"predictions": stored, "model": model(tmp_path / "m", "CNN"), "manifest": scan}
    evaluate.build(inputs, PARAMS | {"label_map": {"calm": "neutral"}}, tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["mapping"] == "16 calm count as neutral"
    assert (found["people"]["votes"], found["people"]["human_uar"]["value"]) == (960, pytest.approx(1 / 3, abs=0.01))


def test_another_corpus_shows_its_maps_its_shift_and_its_variants(tmp_path: Path, facts_of: Any) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5)
    dev = pd.read_parquet(stored / "predictions.parquet").query("role == 'dev'")
    frame = dev[dev["target"] != "angry"].assign(role="test", variant="calm as neutral")
    frame.to_parquet(stored / "variants.parquet")
    rows = tmp_path / "rows"
    rows.mkdir()
    pd.DataFrame({"role": "train", "label": ["angry"] * 3 + ["sad"]}).to_parquet(rows / "rows.parquet")
    spectra = tmp_path / "spectra"
    spectra.mkdir()
    _put(spectra / "spectra.json", {"trained": "t", "spectra": {"t": [0.0, 0.0], "c": [3.0, -3.0]}})
    scan = scanned(tmp_path / "s", stored, facts_of)
    manifest = read_manifest(scan / "manifest.parquet")
    calm = manifest["utterance_id"].isin(list(dev["utterance_id"]))  # what no role but that of the variant has
    write_manifest(manifest.assign(emotion=manifest["emotion"].mask(calm, "calm")), scan / "manifest.parquet")
    inputs = {"predictions": stored, "model": model(tmp_path / "m", "CNN"), "manifest": scan}
    inputs |= {"trained": scan, "rows": rows, "spectra": spectra}
    out = tmp_path / "out"
    out.mkdir()
    evaluate.build(inputs, PARAMS | {"relation": "across"}, out)
    found = json.loads((out / "metrics.json").read_text())
    assert found["across"]["prior_shift"]["total_variation"] == pytest.approx((0.75 - 1 / 3 + 1 / 3 + 1 / 3 - 0.25) / 2)
    assert found["across"]["domain_shift"]["spectrum"]["rms_difference_db"] == pytest.approx(3.0)
    assert found["across"]["domain_shift"]["rms_db"]["ks_distance"] == 0
    recorded = found["across"]["conditions"]
    assert recorded["train"] == recorded["test"] and recorded["train"]["silent"] == pytest.approx(0.1)
    assert recorded["sentences"][0].startswith("Noise floor and bandwidth of the training corpus and the test corpus")
    assert found["mapping"] == "left out: 48 calm"
    (variant,) = found["variants"]
    assert (variant["name"], variant["clips"], variant["speakers"]) == ("calm as neutral", 32, 4)
    assert variant["mapping"] == "32 calm count as neutral; left out: 32 angry, 16 calm, 32 neutral, 32 sad"
    assert [row["label"] for row in variant["classes"]] == ["neutral", "sad"]
    assert np.sum(variant["confusion"]["counts"]) == 32
    assert variant["open"]["confusion"]["shares"][0] == [None] * 3  # nobody was angry
    assert variant["interval"].endswith("with 4 speakers it means little: in simulations it held the truth in 88 %")


def test_another_corpus_says_what_its_recordings_lead_one_to_expect_even_without_rows(
    tmp_path: Path, facts_of: Any
) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5)
    sides = {
        "trained": lambda i: replace(facts_of(i), silent_fraction=0.55, noise_db=-70.0, bandwidth_hz=7700.0),
        "manifest": lambda i: replace(facts_of(i), silent_fraction=0.02, noise_db=-70.0, bandwidth_hz=3600.0),
    }
    inputs = {name: scanned(tmp_path / name, stored, of) for name, of in sides.items()}
    inputs |= {"predictions": stored, "model": model(tmp_path / "m", "CNN")}
    evaluate.build(inputs, PARAMS | {"relation": "across"}, tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())["across"]
    assert found["prior_shift"] is None
    silence, band = found["conditions"]["sentences"]
    assert silence.startswith("Half of the training corpus is silence (55 %), almost none of the test corpus (2 %)")
    assert band.startswith("The test corpus is telephone band (3.6 kHz)")


def test_labels_that_raters_made_give_people_no_uar_and_evaluators_are_not_called_listeners(
    tmp_path: Path, facts_of: Any
) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5)
    _put(stored / "protocol.json", {"description": "by speaker", "taint": "", "labels": "majority"})
    scan = scanned(tmp_path / "s", stored, facts_of)
    manifest = read_manifest(scan / "manifest.parquet")
    seen = manifest["votes"].str.replace("voice", "evaluators")
    write_manifest(manifest.assign(votes=seen), scan / "manifest.parquet")
    evaluate.build({"predictions": stored, "model": model(tmp_path / "m", "CNN"), "manifest": scan}, PARAMS, tmp_path)
    people = json.loads((tmp_path / "metrics.json").read_text())["people"]
    assert people["human_uar"] is None and people["model_uar"]["value"] > 0.5
    assert people["raters"] == "evaluators of the corpus, who may have seen the speaker too"


def test_the_real_ravdess_has_1056_clips_without_calm_and_1248_with_calm_as_neutral(
    ravdess: Path, facts_of: Any
) -> None:
    study = load_config("crema_d").emotion
    reading = read_corpus(load_description("ravdess"), open_source(ravdess))
    manifest = assemble("ravdess", reading, {entry.path: facts_of(i) for i, entry in enumerate(reading.entries)})
    (test,) = study.across
    told = []
    for label_map in ({}, test.variants["calm as neutral"]):
        nobody = pd.Series("test", index=manifest.index)
        split, _ = make_split({"ravdess": manifest}, "crema_d", study.labels, {"ravdess": label_map}, nobody)
        told.append((len(split), evaluate.mapping(manifest, list(split["utterance_id"]), label_map)))
    assert told == [
        (1056, "left out: 192 calm, 192 surprised"),
        (1248, "192 calm count as neutral; left out: 192 surprised"),
    ]


def test_a_better_model_is_called_so_and_a_random_one_gets_no_verdict(tmp_path: Path) -> None:
    inputs = {
        "predictions/bad": predictions(tmp_path / "a", 1, 0.2), "model/bad": model(tmp_path / "ma", "Bad"),
        "predictions/good": predictions(tmp_path / "b", 2, 4.0), "model/good": model(tmp_path / "mb", "Good"),
        "predictions/odd": predictions(tmp_path / "d", 3, 0.2), "model/odd": model(tmp_path / "md", "Odd", "random"),
    }  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    compare.build(inputs, {"corpus": "c", "labels": LABELS}, out)
    pairs = {(p["first"], p["second"]): p for p in json.loads((out / "difference.json").read_text())["pairs"]}
    assert pairs["bad", "good"]["verdict"] == "Good is better"
    assert pairs["bad", "good"]["uar_difference"]["low"] > 0
    assert json.loads((out / "difference.json").read_text())["remark"] == ""
    assert pairs["good", "odd"]["verdict"] == "no verdict: one of them is random"
    assert all(p["p_corrected"] == min(1, 3 * p["p"]) for p in pairs.values())


@pytest.mark.parametrize(("tested", "models", "needed"), [(1, 2, 6), (5, 2, 6), (6, 3, 7), (7, 4, 8)])
def test_too_few_speakers_for_the_number_of_pairs_tell_no_models_apart_and_the_file_says_so(
    tmp_path: Path, tested: int, models: int, needed: int
) -> None:
    names = [f"m{i}" for i in range(models)]
    inputs = {
        f"predictions/{name}": predictions(tmp_path / name, seed, 6.0 * seed, tested=tested)
        for seed, name in enumerate(names)
    }
    inputs |= {f"model/{name}": model(tmp_path / f"m-{name}", name) for name in names}
    compare.build(inputs, {"corpus": "c", "labels": LABELS}, tmp_path)
    found = json.loads((tmp_path / "difference.json").read_text())
    first, many = found["pairs"][0], len(found["pairs"])
    assert (first["uar_difference"]["low"] > 0) == (tested > 1)
    counted = "one comparison" if many == 1 else f"{many} comparisons"
    assert first["verdict"] == f"undecided: {tested} speaker(s); {counted} of models need{'s' * (many == 1)} {needed}"
    assert found["remark"].startswith(f"{tested} speaker(s): too few for a verdict, which needs {needed} for {counted}")


def test_other_clips_are_not_compared(tmp_path: Path) -> None:
    one, other = predictions(tmp_path / "a", 1, 1.0), predictions(tmp_path / "b", 2, 1.0)
    frame = pd.read_parquet(other / "predictions.parquet")
    frame.iloc[:-1].to_parquet(other / "predictions.parquet")
    inputs = {"predictions/a": one, "predictions/b": other}
    inputs |= {"model/a": model(tmp_path / "ma", "A"), "model/b": model(tmp_path / "mb", "B")}
    with pytest.raises(BadInput, match="were not asked for the same clips"):
        compare.build(inputs, {"corpus": "c", "labels": LABELS}, tmp_path)


def mark_seen(stored: Path, how: dict[str, str]) -> None:
    """Test clips of these speakers as the step `predict` marks what a model has learnt from."""
    frame = pd.read_parquet(stored / "predictions.parquet")
    seen = frame["speaker_id"].map(how).fillna("").where(frame["role"] == "test", "")
    frame.assign(seen=seen).to_parquet(stored / "predictions.parquet")


def evaluated(folder: Path, inputs: dict[str, Path], **changed: Any) -> Any:
    folder.mkdir(exist_ok=True)
    evaluate.build(inputs, PARAMS | changed, folder)
    return json.loads((folder / "metrics.json").read_text())


def test_what_a_model_has_seen_is_left_out_of_its_result_and_counts_only_when_asked(tmp_path: Path) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5)
    inputs = {"predictions": stored, "model": model(tmp_path / "m", "CNN")}
    plain = evaluated(tmp_path / "plain", inputs)
    assert (plain["clips"], plain["role"], plain["seen"]["clips"], plain["seen"]["known"]) == (96, "test", 0, False)
    (inputs["model"] / "learnt.json").touch()  # its being there says that what was learnt is known
    mark_seen(stored, {"s04": "clip", "s05": "speaker"})
    found = evaluated(tmp_path / "left", inputs)
    assert (found["clips"], found["speakers"], found["role"], found["note"]) == (72, 6, "test", "")
    assert found["seen"]["by"] == {"speaker": 12, "clip": 12} and found["seen"]["known"]
    asked = evaluated(tmp_path / "asked", inputs, include_seen=True)
    assert asked["clips"] == 96 and asked["uar"] == plain["uar"]
    assert "not an estimate for new speakers" in asked["role"] and "not an estimate" in asked["note"]
    mark_seen(stored, {f"s{speaker:02}": "speaker" for speaker in range(4, 12)})
    with pytest.raises(BadInput, match=r"learnt from all 8 test speaker.*other speakers.*--include-seen"):
        evaluated(tmp_path / "all", inputs)


def test_in_a_speaker_dependent_split_only_clips_that_were_learnt_from_are_left_out(tmp_path: Path) -> None:
    stored = predictions(tmp_path / "p", 0, 1.5, taint="speaker-dependent")
    _put(stored / "protocol.json", {"description": "d", "taint": "speaker-dependent", "speaker_dependent": True})
    mark_seen(stored, {f"s{speaker:02}": "speaker" for speaker in range(5, 12)} | {"s04": "clip"})
    found = evaluated(tmp_path / "out", {"predictions": stored, "model": model(tmp_path / "m", "CNN")})
    assert (found["clips"], found["note"], found["seen"]["included"]) == (84, "speaker-dependent", True)


def test_models_are_compared_on_clips_that_neither_has_seen(tmp_path: Path) -> None:
    names = ("a", "b")
    inputs = {f"predictions/{name}": predictions(tmp_path / name, seed, 1.0) for seed, name in enumerate(names)}
    inputs |= {f"model/{name}": model(tmp_path / f"m{name}", name) for name in names}
    for name in names:
        mark_seen(inputs[f"predictions/{name}"], {"s04": "clip"})
    compare.build(inputs, {"corpus": "c", "labels": LABELS}, tmp_path)
    assert json.loads((tmp_path / "difference.json").read_text())["speakers"] == 7
