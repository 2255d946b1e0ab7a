"""Rating files: the newest of an annotator wins, faults are named with file and line."""

from pathlib import Path

import pandas as pd
import pytest

from ser_tasks.data.ratings import mean_ratings, read_ratings
from ser_tasks.errors import BadInput

HEAD = "utterance_id,annotator_id,trait,rating,scale,created_at,source\n"


def test_the_newest_rating_of_an_annotator_wins(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(HEAD + "u,a1,rudeness,1,1-5,2026-01-01,x\nu,a2,rudeness,2,1-5,2026-03-01,x\n", encoding="utf-8-sig")
    dropped = pd.DataFrame(
        [("u", "a1", "rudeness", 5.0, "2026-02-01T00:00:00.000000Z"), ("u", "a2", "rudeness", 4.0, "")],
        columns=["utterance_id", "annotator_id", "trait", "rating", "created_at"],
    )
    ratings = read_ratings(own, "rudeness", dropped)
    assert list(ratings["rating"]) == [5, 2]
    assert mean_ratings(ratings).loc[0, "mean"] == 3.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utterance_id,rating\nu,1\n", r"r\.csv lacks the column\(s\) annotator_id, trait"),
        (HEAD + "u,a,rudeness,very,1-5,,\n", "line 2 has rating 'very'"),
        (HEAD + "u,a,warmth,1,1-5,,\n", "no rating of the trait 'rudeness'"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_ratings(path, "rudeness")
