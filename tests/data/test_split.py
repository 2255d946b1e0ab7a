"""Splits are by speaker, stable, and audited."""

import hashlib
from typing import Any

import pandas as pd
import pytest

from ser_tasks.data.split import audit_split, make_split, roles_by_hash, roles_by_list
from ser_tasks.errors import BadInput

SHARES = {"train": 0.6, "dev": 0.15, "gate": 0.1, "test": 0.15}
LABELS = ["angry", "sad"]


def manifest(corpus: str, speakers: int, **changes: Any) -> pd.DataFrame:
    rows = [
        {
            "utterance_id": f"{speaker:02d}-{emotion}", "corpus": corpus, "speaker_id": f"{speaker:02d}",
            "sex": "female", "emotion": emotion, "sentence_id": "s1", "known_issue": None,
            "sha256": hashlib.sha256(f"{corpus}{speaker}{emotion}".encode()).hexdigest(),
        }
        for speaker in range(speakers) for emotion in ("angry", "sad", "calm")
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**changes)


def test_adding_speakers_moves_no_existing_one() -> None:
    few, many = ([str(i) for i in range(n)] for n in (40, 400))
    before, after = roles_by_hash(few, "c", SHARES), roles_by_hash(many, "c", SHARES)
    assert {speaker: after[speaker] for speaker in before} == before
    shares = pd.Series(after).value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.6, abs=0.08)
    assert set(shares.index) == set(SHARES)


def test_equal_names_in_two_corpora_are_independent() -> None:
    names = [str(i) for i in range(60)]
    assert roles_by_hash(names, "one", SHARES) != roles_by_hash(names, "two", SHARES)


def test_lists_must_name_every_speaker_once() -> None:
    with pytest.raises(BadInput, match="no role for c"):
        roles_by_list(["a", "b", "c"], {"train": ["a"], "test": ["b"]})
    with pytest.raises(BadInput, match="speaker a is listed as train and as test"):
        roles_by_list(["a"], {"train": ["a"], "test": ["a"]})
    with pytest.raises(BadInput, match="b, who have no clip"):
        roles_by_list(["a"], {"train": ["a"], "test": ["b"]})


def test_other_corpora_are_test_as_a_whole_and_label_maps_apply() -> None:
    roles = {"00": "train", "01": "dev", "02": "test"}
    split, left = make_split({"a": manifest("a", 3), "b": manifest("b", 2)}, "a", LABELS, {"b": {"calm": "sad"}}, roles)
    assert set(split[split["corpus"] == "b"]["role"]) == {"test"}
    assert len(split[(split["corpus"] == "b") & (split["label"] == "sad")]) == 4
    assert len(left) == 3
    assert set(left["reason"]) == {"emotion calm is not among the study's labels"}


def test_conflicting_duplicates_stay_out_of_training() -> None:
    frame = manifest("a", 4)
    frame.loc[0, "known_issue"] = "same audio, other label, as x"
    roles = {"00": "train", "01": "dev", "02": "test", "03": "train"}
    split, left = make_split({"a": frame}, "a", LABELS, {}, roles)
    assert frame.loc[0, "utterance_id"] not in set(split["utterance_id"])
    assert "conflicting labels on the same audio" in set(left["reason"])


def test_a_role_without_a_class_is_refused() -> None:
    with pytest.raises(BadInput, match="role dev of a has no clip of angry, sad"):
        make_split({"a": manifest("a", 2)}, "a", LABELS, {}, {"00": "train", "01": "test"})


def test_the_audit_finds_shared_speakers_and_shared_audio() -> None:
    roles = {"00": "train", "01": "dev", "02": "test"}
    split, _ = make_split({"a": manifest("a", 3)}, "a", LABELS, {}, roles)
    assert audit_split(split)["leaks"] == []
    assert audit_split(split)["report"]["sentences_in_train_and_test"] == ["s1"]
    moved = split.copy()
    moved.loc[moved.index[0], "role"] = "test"
    assert "speaker a/00 is in test, train" in audit_split(moved)["leaks"]
    copied = split.copy()
    copied.loc[copied["role"] == "test", "sha256"] = copied.loc[copied["role"] == "train", "sha256"].iloc[0]
    assert any("same audio" in leak for leak in audit_split(copied)["leaks"])
