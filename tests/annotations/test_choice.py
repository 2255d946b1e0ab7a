"""Which clips come first: uncertain ones, disputed ones, speakers whom nobody has rated."""

import numpy as np
import pandas as pd

from ser_tasks.annotations.choice import choose, ranked, uncertainty

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
    table = pd.DataFrame({"utterance_id": ["u", "v", "w"], "p_a": [0.5, 1, 0.9], "p_b": [0.5, 0, 0.1]})
    assert uncertainty(table).round(3).to_dict() == {"u": 1.0, "v": 0.0, "w": 0.469}


def test_clips_in_which_people_hear_different_emotions_come_first() -> None:
    heard = {"u0": ["sad", "sad"], "u1": ["sad", "angry"], "u2": ["sad", "sad", "angry"], "u3": ["fear"]}
    votes = [(u, f"a{n}", "emotion", np.nan, label) for u, labels in heard.items() for n, label in enumerate(labels)]
    chosen = choose(clips("aaaa", [0.5] * 4), pd.DataFrame(votes, columns=NONE.columns), "rudeness", 4)
    assert chosen["utterance_id"].tolist() == ["u1", "u2", "u0", "u3"]
    assert chosen["disagreed"].round(2).tolist() == [1.0, 0.58, 0.0, 0.0]


def test_clips_are_as_likely_to_be_asked_about_whatever_role_makes_a_model_surer_of_them() -> None:
    """A model is surer of what it was trained on: by its entropies alone, the others would take nearly all places."""
    draw = np.random.default_rng(0)
    role = pd.Series(["train"] * 400 + ["dev"] * 100)
    unsure = pd.Series(np.where(role == "train", draw.uniform(0, 0.5, 500), draw.uniform(0.3, 1, 500)))
    table = pd.DataFrame({"utterance_id": [f"u{n}" for n in range(500)], "speaker_id": [f"s{n}" for n in range(500)]})

    def share_of_dev(uncertainty: pd.Series) -> float:
        chosen = choose(table.assign(uncertainty=uncertainty), NONE, "rudeness", 100)["utterance_id"]
        return float(np.mean([role[int(name[1:])] == "dev" for name in chosen]))

    assert share_of_dev(unsure) > 0.6
    assert abs(share_of_dev(ranked(unsure, role)) - 0.2) < 0.03


def test_ranks_within_a_role_go_from_zero_to_one_and_a_clip_alone_or_unasked_has_none() -> None:
    unsure = pd.Series([0.2, 0.9, 0.4, 0.7, np.nan])
    found = ranked(unsure, pd.Series(["a", "a", "a", "b", "a"]))
    assert found.tolist()[:4] == [0.0, 1.0, 0.5, 0.5]
    assert np.isnan(found[4])
