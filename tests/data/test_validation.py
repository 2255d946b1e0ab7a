"""The reviewed suites: what blocks a run, what warns, what is told of it."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ser_tasks.audio.measure import Facts
from ser_tasks.builds.validate import build
from ser_tasks.config import CANONICAL_EMOTIONS, Validation
from ser_tasks.corpora.readers import load_description, read_corpus
from ser_tasks.corpora.source import open_source
from ser_tasks.data.manifest import SCHEMA, assemble, scan, write_manifest
from ser_tasks.data.suites import load_suite
from ser_tasks.data.validation import SEVERITIES, SHOWN_ROWS, refuse_critical, tables_to_validate, validate
from ser_tasks.errors import BadInput

LABELS = ["angry", "happy", "neutral", "sad"]
NONE_REJECTED = pd.DataFrame({"path": [], "reason": []})
SUITE = load_suite("corpus", Validation())


def clips(n: int = 80, **columns: Any) -> pd.DataFrame:
    """A manifest of n faultless clips of 8 speakers, with some columns changed."""
    rows = range(n)
    given = {
        "utterance_id": [f"u{i:04d}" for i in rows],
        "corpus": ["c"] * n,
        "speaker_id": [f"s{i % 8}" for i in rows],
        "emotion": [LABELS[i % 4] for i in rows],
        "votes": [json.dumps({"voice": {"counts": {"angry": 2, "sad": 1}, "responses": 3}})] * n,
        "path": [f"wav/u{i:04d}.wav" for i in rows],
        "sha256": [f"{i:064x}" for i in rows],
        "sample_rate_hz": [16000] * n,
        "duration_s": list(np.linspace(1, 4, n)),
        "rms_db": list(np.linspace(-40, -20, n)),
        "dc_offset": [0.0] * n,
        "clipped_fraction": [0.0] * n,
    }
    full = {name: (given | columns).get(name, [None] * n) for name in SCHEMA.names}
    frame: pd.DataFrame = pa.table(full, schema=SCHEMA).to_pandas()
    return frame


def changed(column: str, at: int, value: Any) -> pd.DataFrame:
    values = clips()[column].tolist()
    values[at] = value
    return clips(**{column: values})


def outcome_of(
    manifest: pd.DataFrame, rejected: pd.DataFrame = NONE_REJECTED, labels: list[str] = LABELS, **options: Any
) -> dict[str, Any]:
    return validate(tables_to_validate(manifest, rejected, labels, **options), SUITE)


def failed(outcome: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["rule"]: item for item in outcome["expectations"] if not item["success"]}


def test_every_expectation_has_a_severity_and_a_rule_of_its_own_in_words() -> None:
    for table, expectations in SUITE["tables"].items():
        rules = [item["meta"]["rule"] for item in expectations]
        assert len(set(rules)) == len(rules), table
        assert all(item["severity"] in SEVERITIES for item in expectations), table
    sets = [item["kwargs"].get("value_set") for item in SUITE["tables"]["manifest"]]
    assert list(CANONICAL_EMOTIONS) in sets


def test_a_suite_that_is_not_there_or_names_an_unknown_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match=r"nonesuch\.json does not exist.*there are: annotations, corpus"):
        load_suite("nonesuch", Validation())
    (tmp_path / "odd.json").write_text('{"name": "odd", "tables": {"corpus": [{"kwargs": {"a": {"$bound": "most"}}}]}}')
    monkeypatch.setattr("ser_tasks.data.suites.expectations_folder", lambda: tmp_path)
    with pytest.raises(BadInput, match=r"odd\.json names the bound 'most'; there are: min_speakers"):
        load_suite("odd", Validation())


def test_a_faultless_corpus_passes_every_expectation() -> None:
    outcome = outcome_of(clips())
    assert failed(outcome) == {}
    assert outcome["success"]
    assert {item["table"] for item in outcome["expectations"]} == {
        "columns", "manifest", "corpus", "classes", "duplicates", "votes",
    }  # fmt: skip
    assert sum(counts["held"] for counts in outcome["counts"].values()) == len(outcome["expectations"])


CRITICAL: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "absent column": (
        lambda: outcome_of(clips().drop(columns="rms_db")),
        r"every column, with the right kind of values: column=rms_db, fault=is absent",
    ),
    "wrong kind": (
        lambda: outcome_of(clips().assign(duration_s="long")),
        r"column=duration_s, fault=holds str, not numbers",
    ),
    "number for a name": (
        lambda: outcome_of(clips().assign(speaker_id=7)),
        r"column=speaker_id, fault=holds int64, not text",
    ),
    "duplicate id": (
        lambda: outcome_of(changed("utterance_id", 3, "u0007")),
        r"utterance ids are unique: path=wav/u0003\.wav, utterance_id=u0007; path=wav/u0007\.wav, utterance_id=u0007",
    ),
    "no speaker": (
        lambda: outcome_of(changed("speaker_id", 3, None)),
        r"every clip has a speaker: utterance_id=u0003, path=wav/u0003\.wav, speaker_id=None",
    ),
    "unknown label": (
        lambda: outcome_of(changed("emotion", 3, "grumpy")),
        r"canonical emotions: utterance_id=u0003, path=wav/u0003\.wav, label=grumpy",
    ),
    "mapped to an unknown label": (
        lambda: outcome_of(clips(), label_map={"sad": "gloomy"}, labels=LABELS[:3]),
        r"canonical emotions: utterance_id=u0003, path=wav/u0003\.wav, label=gloomy; .* \(and 15 more\)",
    ),
    "few speakers": (
        lambda: outcome_of(clips(speaker_id=["a", "b"] * 40)),
        r"enough speakers \(validation\.min_speakers\): speakers=2",
    ),
    "few clips of a class": (
        lambda: outcome_of(clips(36)),
        r"every class has enough clips .*: emotion=angry, clips=9; emotion=happy, clips=9",
    ),
    "few clips of a class after the map": (
        lambda: outcome_of(clips(), label_map={"sad": "neutral"}),
        r"every class has enough clips .*: emotion=sad, clips=0",
    ),
    "many rejected": (
        lambda: outcome_of(clips(), pd.DataFrame({"path": list("abcde"), "reason": "is empty"})),
        r"few files were rejected .*: rejected_share=0\.0588",
    ),
    "same audio, other label, other speaker": (
        lambda: outcome_of(changed("sha256", 3, f"{8:064x}")),
        r"different emotions: utterance_id=u0003, path=wav/u0003\.wav, conflict=other emotion, other speaker; "
        r"utterance_id=u0008",
    ),
    "votes that do not add up": (
        lambda: outcome_of(changed("votes", 3, '{"voice": {"counts": {"sad": 2}, "responses": 3}}')),
        r"votes add up .*: utterance_id=u0003, path=wav/u0003\.wav, "
        r"fault=voice: counts add up to 2, not to the 3 responses",
    ),
    "votes in another form": (
        lambda: outcome_of(changed("votes", 3, '{"sad": 2}')),
        r"votes add up .*: utterance_id=u0003, .*fault=is no table of counts and responses",
    ),
}


@pytest.mark.parametrize("fault", CRITICAL)
def test_a_critical_fault_blocks_the_run_and_names_rule_file_and_value(fault: str) -> None:
    outcome, words = CRITICAL[fault][0](), CRITICAL[fault][1]
    assert not outcome["success"]
    with pytest.raises(BadInput, match=rf"c: 1 critical expectation\(s\) failed before any training\. .*{words}"):
        refuse_critical(outcome, "c")


def test_a_label_that_the_map_mends_passes() -> None:
    assert outcome_of(changed("emotion", 3, "grumpy"), label_map={"grumpy": "angry"})["success"]


def test_the_same_audio_under_two_emotions_of_one_speaker_is_a_warning_as_is_one_recording_of_two_speakers() -> None:
    hashes, emotions = clips()["sha256"].tolist(), clips()["emotion"].tolist()
    hashes[8], emotions[8] = hashes[0], "sad"  # both of s0
    hashes[5] = hashes[1]  # both happy, of s5 and s1
    outcome = outcome_of(clips(sha256=hashes, emotion=emotions))
    assert outcome["success"]
    assert {rule: (item["severity"], item["unexpected_count"]) for rule, item in failed(outcome).items()} == {
        "no speaker has one recording under two emotions": ("warning", 2),
        "no two speakers share a recording": ("warning", 2),
    }


def test_all_rows_are_counted_and_the_first_are_named() -> None:
    quiet = failed(outcome_of(clips(4000, rms_db=[-70.5] * 4000)))["clips are louder than -55 dB of full scale"]
    assert (quiet["severity"], quiet["checked"], quiet["unexpected_count"]) == ("warning", 4000, 4000)
    assert len(quiet["unexpected"]) == SHOWN_ROWS
    assert quiet["unexpected"][0] == {"utterance_id": "u0000", "path": "wav/u0000.wav", "rms_db": -70.5}


def test_rows_are_named_rightly_whatever_the_index_of_the_frame() -> None:
    shuffled = changed("rms_db", 3, -70.5).sample(frac=1, random_state=0)
    quiet = failed(outcome_of(shuffled))["clips are louder than -55 dB of full scale"]
    assert [row["utterance_id"] for row in quiet["unexpected"]] == ["u0003"]


def test_an_expectation_that_cannot_be_evaluated_fails_and_says_why(tmp_path: Path) -> None:
    odd = {"type": "expect_column_values_to_be_null", "severity": "critical", "kwargs": {"column": "pitch"}}
    suite = {"name": "odd", "tables": {"corpus": [odd | {"meta": {"rule": "clips have no pitch"}}]}}
    tables = tables_to_validate(clips(), NONE_REJECTED, LABELS)
    outcomes = [validate(tables, suite, "c", tmp_path / name) for name in ("one", "two")]
    with pytest.raises(BadInput, match=r'clips have no pitch: .*column "pitch" in BatchData does not exist'):
        refuse_critical(outcomes[0], "c")
    pages = [(tmp_path / name / "index.html").read_text() for name in ("one", "two")]
    assert pages[0] == pages[1]
    assert "does not exist" in pages[0]
    assert "line " not in pages[0]  # of a traceback


# The step


def scanned(folder: Path, manifest: pd.DataFrame) -> Path:
    folder.mkdir()
    write_manifest(manifest, folder / "manifest.parquet")
    NONE_REJECTED.to_csv(folder / "rejected.csv", index=False)
    return folder


def run_step(inputs: dict[str, Path], out: Path) -> Any:
    out.mkdir()
    params = {"corpus": "c", "suite": SUITE, "labels": LABELS, "label_map": {}, "max_drift": 0.15}
    build(inputs, params, out)
    return json.loads((out / "results.json").read_text())


def test_without_an_accepted_version_there_is_no_drift_to_tell_of(tmp_path: Path) -> None:
    results = run_step({"scan": scanned(tmp_path / "scan", clips())}, tmp_path / "out")
    assert results["drift"] == "first version"
    assert results["success"]
    assert "drift" not in {item["table"] for item in results["expectations"]}


def test_drift_from_the_accepted_version_warns_and_never_blocks(tmp_path: Path) -> None:
    accepted = scanned(tmp_path / "accepted", clips())
    louder = scanned(tmp_path / "louder", clips(rms_db=list(np.linspace(-34, -14, 80))))
    results = run_step({"scan": louder, "accepted": accepted}, tmp_path / "out")
    (warned,) = failed(results).values()
    assert (warned["table"], warned["severity"], results["success"]) == ("drift", "warning", True)
    assert warned["unexpected"] == [{"feature": "rms_db", "distance": 0.3}]
    assert results["drift"]["bound"] == 0.15
    level = next(item for item in results["drift"]["features"] if item["feature"] == "rms_db")
    assert (level["distance"], level["accepted"], level["now"]) == (0.3, 80, 80)
    same = run_step({"scan": accepted, "accepted": accepted}, tmp_path / "same")
    assert failed(same) == {}


def test_data_docs_are_one_page_that_needs_nothing_from_elsewhere_and_the_same_twice(tmp_path: Path) -> None:
    names = [f"wav/{'<script>alert(1)</script>' if i == 3 else i}.wav" for i in range(80)]
    levels = [-70.5] * 50 + [-20.0] * 30
    scan_folder = scanned(tmp_path / "scan", clips(path=names, rms_db=levels))
    results = run_step({"scan": scan_folder}, tmp_path / "one")
    run_step({"scan": scan_folder}, tmp_path / "two")
    page = (tmp_path / "one" / results["docs"]).read_text(encoding="utf-8")
    files = [p.relative_to(tmp_path / "one") for p in sorted((tmp_path / "one").rglob("*")) if p.is_file()]
    assert [str(name) for name in files] == ["docs/index.html", "results.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert "clips are louder than -55 dB of full scale" in page
    assert "50 unexpected values found" in page
    assert "u0003" in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<link" not in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    assert len(page) < 100_000


def test_a_file_that_is_no_manifest_is_told_by_name(tmp_path: Path) -> None:
    folder = scanned(tmp_path / "scan", clips())
    (folder / "manifest.parquet").write_text("no Parquet")
    with pytest.raises(BadInput, match=r"manifest\.parquet is no manifest"):
        run_step({"scan": folder}, tmp_path / "out")


# The official corpora


def critical_failures(outcome: dict[str, Any]) -> list[str]:
    return [rule for rule, item in failed(outcome).items() if item["severity"] == "critical"]


def test_what_the_official_ravdess_contains_is_at_most_a_warning(ravdess: Path) -> None:
    source = open_source(ravdess)
    found = scan("ravdess", read_corpus(load_description("ravdess"), source), source)
    labels = ["angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprised"]
    outcome = validate(tables_to_validate(found.manifest, found.rejected, labels), SUITE)
    assert critical_failures(outcome) == []
    issues = failed(outcome)["clips have no known issue"]
    assert (issues["severity"], issues["checked"]) == ("warning", 1440)
    twice = failed(outcome)["no speaker has a recording twice"]["unexpected"]
    assert {row["utterance_id"] for row in twice} == {"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"}


def test_what_the_official_crema_d_contains_is_at_most_a_warning(ravdess: Path, tmp_path: Path) -> None:
    crema_d = ravdess.parent / "crema_d"
    with (crema_d / "crema_d_official.csv").open(newline="") as file:
        official = list(csv.DictReader(file))
    root = tmp_path / "crema_d"
    shutil.copytree(crema_d, root)
    (root / "AudioWAV").mkdir()
    for row in official:
        (root / "AudioWAV" / row["file"]).touch()
    reading = read_corpus(load_description("crema_d"), open_source(root))
    facts = {f"AudioWAV/{row['file']}": official_facts(row) for row in official}
    manifest = assemble("crema_d", reading, facts)
    assert (len(manifest), manifest["speaker_id"].nunique()) == (7442, 91)
    assert manifest["votes"].notna().all()
    outcome = validate(tables_to_validate(manifest, NONE_REJECTED, list(CANONICAL_EMOTIONS[:6])), SUITE)
    assert critical_failures(outcome) == []
    pairs = failed(outcome)["no speaker has one recording under two emotions"]
    assert (pairs["severity"], pairs["unexpected_count"]) == ("warning", 6)
    assert "1076_MTI_SAD_XX" in {
        row["utterance_id"] for row in failed(outcome)["clips have no known issue"]["unexpected"]
    }


def official_facts(row: dict[str, str]) -> Facts:
    """16 kHz mono PCM16 behind a header of 44 bytes; levels are made up, but for the one clip that is silent."""
    silent = row["file"] == "1076_MTI_SAD_XX.wav"
    return Facts(
        sha256=row["sha256"], bytes=int(row["bytes"]), sample_rate_hz=16000, channels=1, codec="WAV/PCM_16",
        duration_s=(int(row["bytes"]) - 44) / 32000, peak=0.0 if silent else 0.3, rms_db=-120.0 if silent else -30.0,
        dc_offset=0.0, clipped_fraction=0.0, silent_fraction=1.0 if silent else 0.1, issues=(),
    )  # fmt: skip
