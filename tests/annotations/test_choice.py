"""Which clips come first: uncertain ones, disputed ones, speakers whom nobody has rated."""

import numpy as np
import pandas as pd

from ser_tasks.annotations.choice import choose, uncertainty

NONE = pd.DataFrame(columns=["utterance_id", "annotator_id", "trait", "rating", "label"])


def clips(speakers: str, unsure: list[float]) -> pd.DataFrame:
    names = [f"u{n}" for n in range(len(speakers))]
    return pd.DataFrame({"utterance_id": names, "speaker_id": list(speakers), "uncertainty": unsure})


def test_the_most_uncertain_clip_of_a_speaker_comes_first() -> None:
    chosen = choose(clips("aaa", [0.1, 0.9, np.nan]), NONE, "rudeness", 2)
    assert chosen["utterance_id"].tolist() == ["u1", "u2"]  # a clip that no model was asked about counts .5


def test_no_speaker_takes_every_place() -> None:
    chosen = choose(clips("aaaab", [0.6, 0.6, 0.6, 0.6, 0.5]), NONE, "rudeness", 2)
    assert chosen["speaker_id"].tolist() == ["a", "b"]


def test_a_clip_on_which_raters_disagree_comes_before_one_that_is_settled() -> None:
    rows = [("u0", "x", 1.0), ("u0", "y", 5.0), ("u1", "x", 3.0), ("u1", "y", 3.0)]
    ratings = pd.DataFrame([(u, a, "rudeness", r, "") for u, a, r in rows], columns=NONE.columns)
    chosen = choose(clips("aa", [0.5, 0.5]), ratings, "rudeness", 2)
    assert chosen["utterance_id"].tolist() == ["u0", "u1"]
    assert chosen["why"].tolist() == ["disagreed", "uncertain"]


def test_nothing_to_choose_from_is_no_clip() -> None:
    assert choose(clips("", []), NONE, "rudeness", 5).empty


def test_entropy_is_one_where_every_class_is_as_likely_and_zero_where_one_is_certain() -> None:
    table = pd.DataFrame({"utterance_id": ["u", "v", "w", "w"], "p_a": [0.5, 1, 1, 0.5], "p_b": [0.5, 0, 0, 0.5]})
    assert uncertainty(table).round(6).to_dict() == {"u": 1.0, "v": 0.0, "w": 0.5}
