"""Ratings of a trait by several annotators: long CSV in, one row an utterance out."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ser_tasks.errors import BadInput

COLUMNS = ("utterance_id", "annotator_id", "trait", "rating", "scale", "created_at", "source")


def read_ratings(paths: Sequence[Path], trait: str) -> pd.DataFrame:
    """Read rating files; unique by (utterance, annotator), the newest wins.

    Returns:
        Columns utterance_id, annotator_id, rating (float).

    Raises:
        BadInput: A file lacks a column or has a rating that is no number, or nothing rates the trait.
    """
    frames = []
    for path in paths:
        frame = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
        if missing := [name for name in COLUMNS[:4] if name not in frame.columns]:
            raise BadInput(
                f"ratings: {path.name} lacks the column(s) {', '.join(missing)}; it needs {', '.join(COLUMNS)}"
            )
        number = pd.to_numeric(frame["rating"], errors="coerce")
        if number.isna().any():
            row = int(number.isna().to_numpy().argmax())
            raise BadInput(
                f"ratings: {path.name} line {row + 2} has rating {frame['rating'].iloc[row]!r}, which is no number"
            )
        frames.append(frame.assign(rating=number, created_at=frame.get("created_at", "")))
    ratings = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    ratings = ratings[ratings["trait"] == trait]
    if ratings.empty:
        raise BadInput(
            f"ratings: {', '.join(p.name for p in paths) or 'no file'} holds no rating of the trait {trait!r}"
        )
    newest = ratings.sort_values("created_at", kind="stable").drop_duplicates(
        ["utterance_id", "annotator_id"], keep="last"
    )
    return newest[["utterance_id", "annotator_id", "rating"]].sort_values(
        ["utterance_id", "annotator_id"], ignore_index=True
    )


def mean_ratings(ratings: pd.DataFrame) -> pd.DataFrame:
    """One row an utterance: utterance_id, mean, sd, annotators."""
    grouped = ratings.groupby("utterance_id")["rating"].agg(["mean", "std", "count"]).reset_index()
    return grouped.rename(columns={"std": "sd", "count": "annotators"})
