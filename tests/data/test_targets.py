"""Targets by policy: what was meant, what most people heard, how the votes were spread."""

import json

import pandas as pd
import pytest

from ser_tasks.data.targets import NO_MAJORITY, mapped, perceived

VOICE = json.dumps({"voice": {"counts": {"sad": 3, "neutral": 1}, "responses": 4}})
CLIPS = pd.DataFrame(
    {"utterance_id": ["u1", "u2", "u3"], "emotion": ["angry", "angry", "angry"], "votes": [VOICE, None, None]}
)


def dropped(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame([(u, "emotion", label) for u, label in rows], columns=["utterance_id", "trait", "label"])


def test_intended_is_the_corpus_whatever_was_heard() -> None:
    assert perceived(CLIPS, dropped(("u1", "happy")), "intended") is CLIPS


@pytest.mark.parametrize("policy", ["majority", "votes"])
def test_the_majority_counts_the_corpus_and_the_drops_together(policy: str) -> None:
    found = perceived(CLIPS, dropped(*[("u1", "neutral")] * 3, ("u2", "happy")), policy)
    assert found["emotion"].tolist() == ["neutral", "happy", "angry"]
    assert json.loads(found["votes"][0])["voice"] == {"counts": {"neutral": 4, "sad": 3}, "responses": 7}
    assert json.loads(found["votes"][1])["voice"] == {"counts": {"happy": 1}, "responses": 1}
    assert pd.isna(found["votes"][2])


def test_without_drops_the_corpus_votes_decide() -> None:
    assert perceived(CLIPS, None, "majority")["emotion"].tolist() == ["sad", "angry", "angry"]


def test_a_tie_goes_to_what_was_meant_or_to_nobody() -> None:
    found = perceived(CLIPS, dropped(("u2", "happy"), ("u2", "angry"), ("u3", "happy"), ("u3", "sad")), "majority")
    assert found["emotion"].tolist() == ["sad", "angry", NO_MAJORITY]


def test_emotions_that_count_as_one_label_are_one_before_a_majority_is_taken() -> None:
    votes = json.dumps({"evaluators": {"counts": {"excited": 2, "happy": 1, "sad": 2}, "responses": 5}})
    clips = pd.DataFrame({"utterance_id": ["u1"], "emotion": ["excited"], "votes": [votes]})
    label_map = {"excited": "happy"}
    found = mapped(clips, label_map)
    assert found["emotion"].tolist() == ["happy"]
    assert json.loads(found["votes"][0])["evaluators"] == {"counts": {"happy": 3, "sad": 2}, "responses": 5}
    assert perceived(found, None, "majority", label_map)["emotion"].tolist() == ["happy"]
    both = perceived(found, dropped(("u1", "sad"), ("u1", "sad"), ("u1", "excited")), "majority", label_map)
    assert both["emotion"].tolist() == ["happy"], "four each, and happy was meant"
    assert mapped(clips, {}) is clips
