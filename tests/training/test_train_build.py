"""From a manifest's columns to what a network learns."""

import json

import numpy as np
import pytest

from ser_tasks.builds.train_network import vote_shares

LABELS = ["angry", "happy", "neutral"]


def votes(**kinds: dict[str, int]) -> str:
    return json.dumps({kind: {"counts": counts, "responses": sum(counts.values())} for kind, counts in kinds.items()})


def test_votes_of_those_who_only_heard_a_clip_come_first() -> None:
    both = votes(audio_visual={"happy": 5}, face={"neutral": 9}, voice={"angry": 3, "happy": 1})
    assert vote_shares(both, LABELS) == [0.75, 0.25, 0.0]
    assert vote_shares(votes(audio_visual={"happy": 5}, face={"neutral": 9}), LABELS) == [0.0, 1.0, 0.0]
    assert vote_shares(votes(evaluators={"neutral": 2, "angry": 2}), LABELS) == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("held", [None, float("nan"), "{}", votes(voice={"sad": 4}), votes(face={"angry": 4})])
def test_a_clip_that_nobody_heard_as_one_of_the_labels_has_no_votes(held: object) -> None:
    assert np.isnan(vote_shares(held, LABELS)).all()
