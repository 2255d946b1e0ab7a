"""The audit finds every kind of leak and says what else is worth knowing."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soxr

from ser_tasks.audio.decode import SAMPLE_RATE_HZ, decode
from ser_tasks.audio.fingerprint import contour, fingerprints
from ser_tasks.data.audit import audit_split

LABELS = ["angry", "sad"]
ROLES = {"00": "train", "01": "train", "02": "dev", "03": "gate", "04": "test"}


def split_of(corpus: str = "a", roles: dict[str, str] = ROLES, clips: int = 6) -> pd.DataFrame:
    """As many clips of each label a speaker; speakers with an even number are female."""
    rows = [
        {
            "utterance_id": f"{speaker}-{label}-{i}", "corpus": corpus, "speaker_id": speaker,
            "sha256": hashlib.sha256(f"{corpus}{speaker}{label}{i}".encode()).hexdigest(), "sentence_id": f"{role}-{i}",
            "sex": ("female", "male")[int(speaker) % 2], "session": None, "label": label, "role": role,
        }
        for speaker, role in roles.items() for label in LABELS for i in range(clips)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def row(split: pd.DataFrame, role: str, nth: int = 0) -> Any:
    return split.index[split["role"] == role][nth]


def test_a_split_by_speaker_has_no_leak() -> None:
    audit = audit_split(pd.concat([split_of("a"), split_of("b", {"00": "test"})], ignore_index=True))
    assert audit["leaks"] == []
    assert audit["report"]["speakers_in_several_roles"] == []


def test_a_dev_role_drawn_from_training_speakers_is_called_that() -> None:
    split = split_of()
    split.loc[row(split, "train"), "role"] = "dev"
    (leak,) = audit_split(split)["leaks"]
    assert leak.startswith("speaker a/00 is in dev, train: dev is drawn from training speakers")


@pytest.mark.parametrize("other", ["gate", "test"])
def test_a_speaker_in_two_roles_is_a_leak(other: str) -> None:
    split = split_of()
    split.loc[row(split, "train"), "role"] = other
    assert audit_split(split)["leaks"] == [f"speaker a/00 is in {other}, train"]


def test_speakers_of_a_speaker_dependent_split_are_reported_and_its_contents_still_fail() -> None:
    split = split_of()
    split.loc[row(split, "train"), "role"] = "test"
    split.loc[row(split, "gate"), "sha256"] = split.loc[row(split, "train"), "sha256"]
    audit = audit_split(split, speaker_dependent=True)
    assert len(audit["leaks"]) == 1
    assert "the same audio" in audit["leaks"][0]
    assert audit["report"]["speakers_in_several_roles"] == ["a/00"]
    assert "1 speaker(s) are in several roles" in audit["report"]["remarks"]


def test_equal_bytes_in_two_roles_are_a_leak_that_names_the_clips() -> None:
    split = split_of()
    digest = split.loc[row(split, "train"), "sha256"]
    split.loc[row(split, "test"), "sha256"] = digest
    assert audit_split(split)["leaks"] == [
        f"the same audio (SHA-256 {digest[:12]}) is in several roles: 00-angry-0 of a (train, angry), "
        "04-angry-0 of a (test, angry)"
    ]


def test_equal_bytes_in_training_and_in_a_corpus_tested_across_are_a_leak_and_a_conflict_of_labels_is_said() -> None:
    split = pd.concat([split_of("a"), split_of("b", {"00": "test"})], ignore_index=True)
    split.loc[row(split, "test", -1), "sha256"] = split.loc[row(split, "train"), "sha256"]
    audit = audit_split(split)
    assert len(audit["leaks"]) == 1
    assert (
        "in several roles and with other labels: 00-angry-0 of a (train, angry), 00-sad-5 of b (test, sad)"
        in (audit["leaks"][0])
    )
    assert audit["report"]["same_audio_other_label"] == ["00-angry-0 of a (train, angry), 00-sad-5 of b (test, sad)"]


def test_equal_bytes_within_a_role_are_no_leak_but_their_other_label_is_reported() -> None:
    split = split_of()
    split.loc[row(split, "test"), "sha256"] = split.loc[row(split, "test", -1), "sha256"]
    audit = audit_split(split)
    assert audit["leaks"] == []
    assert audit["report"]["same_audio_other_label"] == ["04-angry-0 of a (test, angry), 04-sad-5 of a (test, sad)"]
    assert any("the same audio has several labels 1 time(s)" in remark for remark in audit["report"]["remarks"])


def test_counts_balance_and_shared_sentences_are_reported() -> None:
    split = split_of()
    split = split[~((split["role"] == "test") & (split["label"] == "sad") & (split["sentence_id"] != "test-0"))].copy()
    split.loc[row(split, "test"), "sentence_id"] = "train-0"
    report = audit_split(split)["report"]
    assert report["sentences_in_train_and_test"] == ["train-0"]
    assert report["clips"]["a/train/angry"] == 12
    assert report["clips"]["a/test/sad"] == 1
    assert report["speakers"] == {"a/dev": 1, "a/gate": 1, "a/test": 1, "a/train": 2}
    assert report["speakers_by_sex"]["a/train/male"] == 1
    balance = report["balance"]
    assert balance["a/train"]["labels"] == {"angry": 0.5, "sad": 0.5}
    assert balance["a/all"]["labels"] == {"angry": 0.5455, "sad": 0.4545}
    assert balance["a/test"]["labels_off"] == pytest.approx(6 / 7 - 30 / 55, abs=1e-4)
    assert balance["a/test"]["sex"] == {"female": 1.0, "male": 0.0}
    assert balance["a/all"]["sex_off"] == 0


def test_an_unknown_sex_is_counted_as_unknown() -> None:
    report = audit_split(split_of().assign(sex=None))["report"]
    assert report["speakers_by_sex"]["a/train/unknown"] == 2
    assert report["balance"]["a/test"]["sex"] == {"unknown": 1.0}


def test_speakers_and_roles_too_small_to_mean_anything_are_named() -> None:
    split = split_of()
    few = split["speaker_id"].isin(["01", "04"])
    lacking = (split["speaker_id"] == "04") & (split["label"] == "sad")
    few_clips = (split["speaker_id"] == "01") & split["utterance_id"].str.endswith(("4", "5"))
    report = audit_split(split[~(few & (lacking | few_clips))])["report"]
    assert report["small_speakers"] == [
        {"corpus": "a", "role": "test", "speaker_id": "04", "clips": 6, "missing": ["sad"]},
        {"corpus": "a", "role": "train", "speaker_id": "01", "clips": 8, "missing": []},
    ]
    assert report["small_roles"] == {"a/dev": 1, "a/gate": 1, "a/test": 1, "a/train": 2}
    assert any("2 speaker(s) are too small to mean anything" in remark for remark in report["remarks"])
    many = split_of(roles={f"{n:02d}": ("train", "test")[n % 2] for n in range(10)})
    assert audit_split(many)["report"]["small_roles"] == {}


def test_without_fingerprints_the_audit_says_that_it_did_not_look() -> None:
    report = audit_split(split_of())["report"]
    assert report["near_identical"] == {"checked": False, "clips_not_checked": 60, "pairs_within_a_role": 0}
    assert "near-identical audio was not looked for among 60 clip(s): no fingerprints of them" in report["remarks"]


def prints_of(split: pd.DataFrame, samples: list[np.ndarray]) -> pd.DataFrame:
    """Fingerprints of the first rows of a split, one a clip of audio."""
    contours = [contour(clip.astype(np.float32)) for clip in samples]
    rows = split.iloc[: len(samples)]
    return rows[["corpus", "utterance_id"]].assign(
        fingerprint=fingerprints(contours), trimmed_s=[each.trimmed_s for each in contours]
    )


def test_the_same_recording_in_two_roles_is_a_leak_after_resampling_gain_and_trimming(ravdess: Path) -> None:
    first, second = (
        decode(path).samples for path in sorted((ravdess / "Actor_01").glob("03-01-0[35]-01-01-01-01.flac"))
    )
    telephone = soxr.resample(soxr.resample(first, SAMPLE_RATE_HZ, 8000), 8000, SAMPLE_RATE_HZ)
    copy = np.concatenate([np.zeros(3000), 0.4 * telephone[2000:]])
    split = split_of(roles={"00": "train", "01": "test"}, clips=1)  # rows: two of train, two of test

    audit = audit_split(split, prints_of(split, [first, second, copy]))
    (leak,) = audit["leaks"]
    assert leak.startswith(
        "near-identical audio is in two roles: 00-angry-0 of a (train, angry) and 01-angry-0 of a (test, angry)"
    )
    looked = {"checked": True, "clips_not_checked": 1, "pairs_within_a_role": 0}
    assert audit["report"]["near_identical"] == looked
    assert audit_split(split, prints_of(split, [first, second]))["leaks"] == []

    within = audit_split(split, prints_of(split, [first, copy, second]))
    assert within["leaks"] == []
    assert within["report"]["near_identical"]["pairs_within_a_role"] == 1


def test_equal_bytes_are_told_once_and_clips_without_sound_give_nothing_away(ravdess: Path) -> None:
    speech = decode(ravdess / "Actor_01" / "03-01-03-01-01-01-01.flac").samples
    split = split_of(roles={"00": "gate", "01": "test"}, clips=1)
    split["sha256"] = "same"
    (leak,) = audit_split(split, prints_of(split, [speech] * 4))["leaks"]
    assert leak.startswith("the same audio (SHA-256 same) is in several roles and with other labels")
    silence = np.zeros(SAMPLE_RATE_HZ)
    assert audit_split(split, prints_of(split, [silence] * 4))["leaks"] == []
