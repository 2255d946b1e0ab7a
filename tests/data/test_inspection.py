"""The report on a corpus: what is counted, and whether the files' format gives the label away."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_tasks.data.format_leak import MIN_SPEAKERS, format_leak
from ser_tasks.data.inspection import inspect_corpus, kind_of
from tests.report.corpora import ABOUT, listing, made_corpus, scanned


@pytest.fixture(scope="module")
def real(ravdess: Path) -> pd.DataFrame:
    """The manifest of the real RAVDESS."""
    return scanned(ravdess)


def inspect(manifest: pd.DataFrame, **lists: pd.DataFrame) -> dict:
    empty = listing()
    names = ("rejected", "left_out", "missing")
    return inspect_corpus(manifest, *(lists.get(name, empty) for name in names), ABOUT)


def test_the_real_ravdess_is_summed_up(real: pd.DataFrame) -> None:
    report = inspect(real)
    assert (report["utterances"], report["speakers"], report["sexes"]) == (1440, 24, {"female": 12, "male": 12})
    assert report["emotions"]["neutral"] == 96 and set(report["emotions"].values()) == {96, 192}
    assert report["emotions_by_sex"]["angry"] == {"female": 96, "male": 96}
    assert report["sample_rates_hz"] == {"16000": 1380, "48000": 60}
    assert report["channels"] == {"1": 1438, "2": 2}
    assert report["sentences"]["count"] == 2 and report["sentences"]["each_in_every_emotion"]
    assert report["by_speaker"][0]["emotions"]["neutral"] == 4
    assert report["hours"] == pytest.approx(1.48, abs=0.01)
    flagged = real["known_issue"].fillna("").str.contains("nearly silent").sum()
    assert report["level"]["nearly_silent"] == flagged >= 9 and report["level"]["silent"] == 0
    assert {"same audio as another file", "nearly silent"} <= {problem["kind"] for problem in report["problems"]}


def test_one_actor_in_another_format_is_no_leak_and_loudness_is_called_a_cue(real: pd.DataFrame) -> None:
    leak = format_leak(real)
    facts = {row["fact"]: row for row in leak["facts"]}
    assert leak["leaks"] == []
    assert facts["sample rate"]["values"] == 2 and not facts["sample rate"]["gives_label_away"]
    assert facts["channels"]["values"] == 2 and not facts["channels"]["gives_label_away"]
    assert facts["level"]["gives_label_away"] and facts["level"]["kind"] == "sound"
    assert facts["level"]["uar"]["low"] > leak["chance"] == 0.125
    assert "does not give the label away" in leak["sentences"][0]
    assert any(s.startswith("Level") and "calm" in s and "angry" in s for s in leak["sentences"])


@pytest.mark.parametrize(
    ("column", "value", "fact", "said"),
    [
        ("sample_rate_hz", 48000, "sample rate", "48000 Hz in 100 % of angry and 0 % of the rest"),
        ("channels", 2, "channels", "2 channel(s) in 100 % of angry"),
        ("codec", "OGG/VORBIS", "codec", "OGG/VORBIS in 100 % of angry"),
    ],
)
def test_an_emotion_in_a_format_of_its_own_is_a_leak(column: str, value: object, fact: str, said: str) -> None:
    manifest = made_corpus(speakers=8)
    manifest.loc[manifest["emotion"] == "angry", column] = value
    leak = format_leak(manifest)
    assert fact in leak["leaks"] and leak["sentences"][0].startswith(fact.capitalize())
    assert said in " ".join(leak["sentences"])


def test_a_leak_in_a_third_of_the_speakers_is_found() -> None:
    manifest = made_corpus(speakers=12)
    manifest.loc[(manifest["emotion"] == "angry") & (manifest["speaker_id"] < "s04"), "codec"] = "MP3"
    assert "codec" in format_leak(manifest)["leaks"]


def test_another_bit_rate_of_one_emotion_is_a_leak() -> None:
    manifest = made_corpus(speakers=8)
    manifest.loc[manifest["emotion"] == "sad", "bytes"] *= 2
    assert "bytes per second" in format_leak(manifest)["leaks"]


def test_headers_of_short_and_long_files_are_no_format() -> None:
    manifest = made_corpus(speakers=8)
    manifest["duration_s"] = np.where(manifest["emotion"] == "angry", 0.3, 9.0)
    manifest["bytes"] = (44 + 32000 * manifest["duration_s"]).astype(int)
    leak = format_leak(manifest)
    assert leak["leaks"] == []
    assert next(row for row in leak["facts"] if row["fact"] == "duration")["gives_label_away"]


def test_formats_that_go_with_speakers_or_with_chance_are_no_leak() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for seed in range(12):
        manifest = made_corpus(speakers=6, seed=seed)
        manifest["sample_rate_hz"] = rng.choice([16000, 44100], len(manifest))
        manifest["channels"] = manifest["speaker_id"].map(lambda name: 1 + int(name[1:]) % 2)
        alarms += bool(format_leak(manifest)["leaks"])
    assert alarms <= 1


@pytest.mark.parametrize(
    "manifest",
    [made_corpus(speakers=MIN_SPEAKERS - 1), made_corpus(speakers=8, emotions=("sad",)), made_corpus(speakers=0)],
)
def test_a_corpus_too_small_to_ask_is_told_so(manifest: pd.DataFrame) -> None:
    leak = format_leak(manifest)
    assert "not measured" in leak["skipped"] and "it takes 4 speakers and 2 emotions" in leak["sentences"][0]
    assert leak["facts"] == [] and leak["leaks"] == []


def test_every_report_goes_into_strict_json_even_of_no_clip_at_all() -> None:
    full, none = (
        inspect(made_corpus(speakers=5)),
        inspect(made_corpus(speakers=0), rejected=listing(("a.wav", "is empty"))),
    )
    assert json.loads(json.dumps(full, allow_nan=False)) == full
    assert json.loads(json.dumps(none, allow_nan=False)) == none
    assert none["utterances"] == 0 and none["rejected"] == [{"path": "a.wav", "reason": "is empty"}]


def test_what_is_not_known_of_a_speaker_is_said_to_be_unknown() -> None:
    manifest = made_corpus(speakers=4)
    manifest.loc[manifest["speaker_id"] == "s00", "sex"] = None
    report = inspect(manifest)
    assert report["sexes"] == {"female": 2, "male": 1, "unknown": 1}
    assert sum(sum(counts.values()) for counts in report["emotions_by_sex"].values()) == len(manifest)
    assert report["ages"] == {"speakers": 4, "min": 20.0, "median": 21.5, "max": 23.0}


def test_raters_agree_with_the_label_by_what_they_were_given() -> None:
    manifest = made_corpus(speakers=1).head(3).assign(emotion=["angry", "angry", "sad"])
    votes = [{"angry": 3, "sad": 1}, {"angry": 2, "sad": 2}, {"neutral": 4}]
    manifest["votes"] = [json.dumps({"voice": {"counts": counts, "responses": 4}}) for counts in votes]
    assert inspect(manifest)["votes"] == {
        "voice": {
            "clips": 3, "majority_is_label": 0.3333, "ties": 1, "votes": 12, "votes_for_label": 0.4167,
            "majorities": {"angry": 1, "neutral": 1},
        }
    }  # fmt: skip


def test_a_sentence_that_belongs_to_one_emotion_is_named() -> None:
    manifest = made_corpus(speakers=2)
    manifest.loc[manifest["emotion"] == "sad", "sentence_id"] = "only-sad"
    sentences = inspect(manifest)["sentences"]
    assert not sentences["each_in_every_emotion"] and "only-sad" in sentences["examples"]


def test_problems_are_summed_up_by_kind() -> None:
    manifest = made_corpus(speakers=4)
    manifest.loc[:4, "known_issue"] = [
        "nearly silent", "nearly silent; same audio as s01_1", "same audio as s00_1, s02 2",
        "clipped: 3 % of its samples are at full scale",
        "clipped: 41 % of its samples are at full scale",
    ]  # fmt: skip
    rejected = listing(*((f"{i}.wav", f"is 'x{i}', not audio ({i} bytes): copy it again") for i in range(5)))
    report = inspect(manifest, rejected=rejected, missing=listing(("z.wav", "not found")))
    assert [(row["what"], row["clips"]) for row in report["problems"]] == [
        ("rejected", 5), ("flagged", 2), ("flagged", 2), ("flagged", 2), ("missing", 1),
    ]  # fmt: skip
    assert report["problems"][0]["examples"] == ["0.wav", "1.wav", "2.wav"]
    assert len(report["issues"]) == 5 and len(report["rejected"]) == 5 and len(report["missing"]) == 1


def test_a_kind_keeps_what_matters() -> None:
    assert kind_of("2 channels, averaged to mono") == "2 channels, averaged to mono"
    assert kind_of("same audio, other label, as 1006_TIE_HAP_XX") == "same audio, other label, as another file"
    changed = "is not the file of the checksum list: SHA-256 {0}... and 3,012 bytes, listed {1}... and 44 bytes"
    assert kind_of(changed.format("00ab12cd", "ffffffff")) == kind_of(changed.format("1234abcd", "00000000"))
    assert kind_of("in the checksum list as 1040_ITH_SAD_XX.wav") == "in the checksum list as another file"
    assert kind_of("lasts 0.02 s, under 0.1 s") == "lasts … s, under … s"
