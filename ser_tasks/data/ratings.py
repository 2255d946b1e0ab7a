"""Ratings of a trait by several annotators: a corpus's own file and what was dropped since, one row a rating."""

from pathlib import Path

import pandas as pd

from ser_tasks.errors import BadInput

COLUMNS = ("utterance_id", "annotator_id", "trait", "rating", "scale", "created_at", "source")


def read_ratings(path: Path | None, trait: str, dropped: pd.DataFrame | None = None) -> pd.DataFrame:
    """Ratings of a trait; unique by (utterance, annotator), the newest wins, of equally old ones the dropped one.

    Args:
        path: Long CSV inside the corpus, columns `COLUMNS` (the last three may be absent); None for none.
        trait: Its name.
        dropped: A version of the dropped ratings, with times by ISO 8601.

    Returns:
        Columns utterance_id, annotator_id, rating (float).

    Raises:
        BadInput: The file lacks a column or has a rating that is no number, or nothing rates the trait.
    """
    frames = [_read(path)] if path else []
    frames += [dropped] if dropped is not None else []
    ratings = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    ratings = ratings[ratings["trait"] == trait]
    if ratings.empty:
        held = f"{path.name} holds" if path else "there is"
        raise BadInput(f"ratings: {held} no rating of the trait {trait!r}, and nothing was dropped that rates it")
    when = pd.to_datetime(ratings["created_at"], errors="coerce", utc=True, format="ISO8601")
    newest = ratings.assign(when=when).sort_values("when", kind="stable", na_position="first")
    newest = newest.drop_duplicates(["utterance_id", "annotator_id"], keep="last")
    return newest[["utterance_id", "annotator_id", "rating"]].sort_values(
        ["utterance_id", "annotator_id"], ignore_index=True
    )


def _read(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
    if missing := [name for name in COLUMNS[:4] if name not in frame.columns]:
        raise BadInput(f"ratings: {path.name} lacks the column(s) {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    number = pd.to_numeric(frame["rating"], errors="coerce")
    if number.isna().any():
        row = int(number.isna().to_numpy().argmax())
        raise BadInput(
            f"ratings: {path.name} line {row + 2} has rating {frame['rating'].iloc[row]!r}, which is no number"
        )
    return frame.assign(rating=number.astype("float64"), created_at=frame.get("created_at", ""))


def mean_ratings(ratings: pd.DataFrame) -> pd.DataFrame:
    """One row an utterance: utterance_id, mean, sd, annotators."""
    grouped = ratings.groupby("utterance_id")["rating"].agg(["mean", "std", "count"]).reset_index()
    return grouped.rename(columns={"std": "sd", "count": "annotators"})
