"""The ledger: which drop brought what, and what all drops together say. Pure functions over tables.

The newest rating by (utterance, annotator, trait) is current. Newest is the latest `created_at`; a rating without a
time is older than any with one; among equals the later drop, and in it the later row, counts. The older ones stay on
record. A rating that says again what stands at its time is a repeated one: it changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

KEYS = ["utterance_id", "annotator_id", "trait"]
RATINGS = [*KEYS, "rating", "label", "scale", "created_at", "source"]
"""Columns of a version of the ratings; sorted by the first three, which no two rows share."""
HISTORY = ["drop", "row", *RATINGS, "status"]


@dataclass(frozen=True)
class Drop:
    """One file as it was taken in.

    Attributes:
        sha256: Of its bytes: names the drop.
        name: Under which it came first, below annotations/incoming/.
        etag: What the store said of it.
        size: Bytes.
        ref: Its artifact: accepted.parquet and listed.csv.
        accepted: Rows.
        listed: Rows that are not accepted, and why, in listed.csv.
    """

    sha256: str
    name: str
    etag: str
    size: int
    ref: str
    accepted: int
    listed: int


@dataclass(frozen=True)
class Standing:
    """What all drops say.

    Attributes:
        history: Every accepted row, columns `HISTORY`; status is current, older or repeated.
        ratings: The current ones, columns `RATINGS`.
    """

    history: pd.DataFrame
    ratings: pd.DataFrame


def stand(drops: Sequence[Drop], accepted: Mapping[str, pd.DataFrame]) -> Standing:
    """Bring all drops together.

    Args:
        drops: In the order in which they were taken in.
        accepted: Drop's sha256 to its accepted rows.
    """
    frames = [accepted[drop.sha256].assign(drop=drop.sha256, order=n) for n, drop in enumerate(drops)]
    if not frames or not sum(map(len, frames)):
        empty = pd.DataFrame(columns=HISTORY)
        return Standing(empty, empty[RATINGS])
    rows = pd.concat(frames, ignore_index=True)
    rows["place"] = range(len(rows))
    in_time = rows.sort_values([*KEYS, "created_at", "order", "place"], kind="stable")
    said = in_time[[*KEYS, "created_at", "rating", "label"]].fillna({"rating": 0.0})  # an emotion has no number
    repeated = (said == said.shift()).all(axis=1)
    newest = in_time[~repeated].drop_duplicates(KEYS, keep="last")
    rows["status"] = "older"
    rows.loc[repeated.index[repeated], "status"] = "repeated"
    rows.loc[newest.index, "status"] = "current"
    return Standing(
        history=rows[HISTORY],
        ratings=newest[RATINGS].sort_values(KEYS, ignore_index=True),
    )


def parted(standing: Standing, known: Collection[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The current ratings of utterances whose audio is there, and the rows that wait for theirs.

    Returns:
        (columns `RATINGS`, columns `HISTORY` without status), both sorted.
    """
    here = standing.ratings["utterance_id"].isin(known)
    now = standing.history[standing.history["status"] == "current"]
    waiting = now[~now["utterance_id"].isin(known)].drop(columns="status")
    return standing.ratings[here].reset_index(drop=True), waiting.sort_values(KEYS, ignore_index=True)


def summary(drops: Sequence[Drop], standing: Standing) -> dict[str, Any]:
    """Counts: {"drops", "accepted", "listed", "current", "older", "repeated", "by_trait"}."""
    status = standing.history["status"].value_counts()
    return {
        "drops": len(drops),
        "accepted": sum(drop.accepted for drop in drops),
        "listed": sum(drop.listed for drop in drops),
        **{name: int(status.get(name, 0)) for name in ("current", "older", "repeated")},
        "by_trait": {str(name): int(n) for name, n in sorted(standing.ratings["trait"].value_counts().items())},
    }
