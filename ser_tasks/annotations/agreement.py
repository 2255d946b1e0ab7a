"""How far annotators agree: Krippendorff's alpha, who rates higher than the rest, what they disagree about most.

The one kept library for the ordinal alpha (krippendorff) is GPL-3, irrCAC pins older numpy-stack versions than this
project's: so it is computed here, from the matrix of coincidences (Krippendorff 2011, "Computing Krippendorff's
alpha-reliability"); tests compare it with that library and with published values. The bootstrap is SciPy's.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import bootstrap

from ser_tasks.annotations.labelstudio import EMOTION

Floats = npt.NDArray[np.float64]
RESAMPLES = 1000
FEW_UNITS = 10
"""Below so many utterances with two ratings, no interval is given."""


def alpha(counts: Floats, ordinal: bool) -> float:
    """Krippendorff's alpha.

    Args:
        counts: How many annotators gave each value to each utterance, [utterances, values]; values in their order.
        ordinal: With the ordinal distance; else every two values are equally different.

    Returns:
        1 perfect, 0 as by chance, below 0 systematic disagreement; NaN where nothing varies.
    """
    coincidences = _coincidences(counts)
    n = coincidences.sum(axis=1)
    if ordinal:
        middle = np.cumsum(n) - n / 2
        distance = (middle[:, None] - middle) ** 2
    else:
        distance = 1 - np.eye(len(n))
    expected = (np.outer(n, n) * distance).sum()
    return float(1 - (n.sum() - 1) * (coincidences * distance).sum() / expected) if expected > 0 else float("nan")


def alpha_with_interval(counts: Floats, ordinal: bool, seed: int = 0) -> dict[str, Any]:
    """Alpha with a 95 % percentile bootstrap over utterances, all annotators of an utterance together.

    Returns:
        {"value", "low", "high", "utterances" with two ratings or more}; what cannot be told is None.
    """
    counts = _paired(counts)
    n, value = len(counts), alpha(counts, ordinal)
    low = high = float("nan")
    if n >= FEW_UNITS and np.isfinite(value):
        drawn = bootstrap(
            (np.arange(n),), lambda units: alpha(counts[units], ordinal),
            n_resamples=RESAMPLES, vectorized=False, method="percentile", rng=np.random.default_rng(seed),
        ).bootstrap_distribution  # fmt: skip
        if np.isfinite(drawn).any():  # a resample in which nothing varies has no alpha
            low, high = np.nanpercentile(drawn, [2.5, 97.5])
    numbers = {"value": value, "low": low, "high": high}
    return {k: round(float(v), 4) if np.isfinite(v) else None for k, v in numbers.items()} | {"utterances": n}


def _paired(counts: Floats) -> Floats:
    """Utterances with two ratings or more."""
    return np.asarray(counts[counts.sum(axis=1) >= 2])


def _coincidences(counts: Floats) -> Floats:
    """Pairs of values within utterances, each divided by the utterance's ratings - 1: [values, values]."""
    counts = _paired(counts)
    weighted = counts / (counts.sum(axis=1, keepdims=True) - 1)
    return np.asarray(counts.T @ weighted - np.diag(weighted.sum(axis=0)))


def _counts(ratings: pd.DataFrame) -> pd.DataFrame:
    return pd.crosstab(ratings["utterance_id"], ratings["value"])


def agreement(ratings: pd.DataFrame) -> dict[str, Any]:
    """Agreement of each trait's current ratings.

    Args:
        ratings: utterance_id, annotator_id, trait, rating, label, created_at; one row by the first three.

    Returns:
        Trait to {"scale": ordinal or nominal, "alpha", "ratings", "utterances", "annotators": [{annotator_id, ratings,
        bias, compared}], "disagreed": [{utterance_id, values, spread}], "by_month": [{month, alpha, ratings}]}. `bias`
        is the mean of an annotator's rating minus the mean of the others' on the same clips (traits with numbers), or
        the share of clips on which the others' majority says the same (emotion).
    """
    found: dict[str, Any] = {}
    for name, part in ratings.groupby("trait"):
        trait, ordinal = str(name), name != EMOTION
        rows = part.assign(value=part["rating"] if ordinal else part["label"])
        months = rows["created_at"].str[:7]
        found[trait] = {
            "scale": "ordinal" if ordinal else "nominal",
            "alpha": alpha_with_interval(_counts(rows).to_numpy(np.float64), ordinal),
            "ratings": len(rows),
            "utterances": int(rows["utterance_id"].nunique()),
            "annotators": _annotators(rows, ordinal),
            "disagreed": _disagreed(rows, ordinal),
            "by_month": [
                {"month": str(month), "alpha": _number(alpha(_counts(held).to_numpy(np.float64), ordinal)),
                 "ratings": len(held)}
                for month, held in rows[months != ""].groupby(months)
            ],
        }  # fmt: skip
    return found


def _annotators(rows: pd.DataFrame, ordinal: bool) -> list[dict[str, Any]]:
    told = []
    for who, own in rows.groupby("annotator_id"):
        others = rows[rows["annotator_id"] != who].groupby("utterance_id")["value"]
        if ordinal:
            gap = own["value"] - own["utterance_id"].map(others.mean())
        else:
            majority = others.agg(lambda values: values.mode().iloc[0]) if len(others) else pd.Series(dtype=object)
            known = own["utterance_id"].map(majority)
            gap = (own["value"] == known).astype(float).where(known.notna())
        told.append(
            {"annotator_id": str(who), "ratings": len(own), "bias": _number(gap.mean()), "compared": int(gap.count())}
        )
    return told


def _disagreed(rows: pd.DataFrame, ordinal: bool, most: int = 20) -> list[dict[str, Any]]:
    """The utterances with the greatest spread: standard deviation, or share that is not the most frequent value."""
    grouped = rows.sort_values("annotator_id").groupby("utterance_id")["value"]
    spread = (
        grouped.std(ddof=0) if ordinal else grouped.agg(lambda values: 1 - values.value_counts().iloc[0] / len(values))
    )
    spread = spread[(grouped.count() >= 2) & (spread > 0)].sort_index().sort_values(ascending=False, kind="stable")
    values = grouped.agg(list)
    return [
        {"utterance_id": str(name), "spread": _number(value), "values": values.loc[str(name)]}
        for name, value in spread.head(most).items()
    ]


def _number(value: Any) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
