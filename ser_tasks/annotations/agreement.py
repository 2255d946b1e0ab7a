"""How far annotators agree: Krippendorff's alpha, who rates higher than the rest, what they disagree about most.

The one kept library for the ordinal alpha (krippendorff) is GPL-3, irrCAC pins older numpy-stack versions than this
project's: so it is computed here, from the matrix of coincidences (Krippendorff 2011, "Computing Krippendorff's
alpha-reliability"); tests compare it with that library and with published values.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ser_tasks.annotations.labelstudio import EMOTION

Floats = npt.NDArray[np.float64]
RESAMPLES = 1000
FEW_UNITS = 10
"""Below so many utterances with two ratings, no interval is given."""
BLOCK = 50  # resamples at a time: bounds the memory of many utterances


def alpha(counts: Floats, ordinal: bool) -> float:
    """Krippendorff's alpha.

    Args:
        counts: How many annotators gave each value to each utterance, [utterances, values]; values in their order.
        ordinal: With the ordinal distance; else every two values are equally different.

    Returns:
        1 perfect, 0 as by chance, below 0 systematic disagreement; NaN where nothing varies.
    """
    return float(_alphas(_coincidences(counts).sum(axis=0)[None], ordinal)[0])


def alpha_with_interval(counts: Floats, ordinal: bool, seed: int = 0) -> dict[str, Any]:
    """Alpha with a 95 % percentile bootstrap over utterances, all annotators of an utterance together.

    Returns:
        {"value", "low", "high", "utterances" with two ratings or more}; what cannot be told is None.
    """
    units = _coincidences(counts)
    n = len(units)
    value = float(_alphas(units.sum(axis=0)[None], ordinal)[0]) if n else float("nan")
    low = high = float("nan")
    if n >= FEW_UNITS and np.isfinite(value):
        draw = np.random.default_rng(seed)
        flat = units.reshape(n, -1)
        blocks = [draw.multinomial(n, np.full(n, 1 / n), size=BLOCK) @ flat for _ in range(RESAMPLES // BLOCK)]
        drawn = _alphas(np.concatenate(blocks).reshape(-1, *units.shape[1:]), ordinal)
        if np.isfinite(drawn).any():
            low, high = np.nanpercentile(drawn, [2.5, 97.5])
    numbers = {"value": value, "low": low, "high": high}
    return {k: round(float(v), 4) if np.isfinite(v) else None for k, v in numbers.items()} | {"utterances": n}


def _coincidences(counts: Floats) -> Floats:
    """Of each utterance with two ratings or more: pairs of values, each divided by ratings - 1."""
    counts = counts[counts.sum(axis=1) >= 2]
    pairs = counts[:, :, None] * counts[:, None, :]
    steps = np.arange(counts.shape[1])
    pairs[:, steps, steps] -= counts
    return np.asarray(pairs / (counts.sum(axis=1) - 1)[:, None, None])


def _alphas(coincidences: Floats, ordinal: bool) -> Floats:
    """Alpha of each matrix [..., values, values]."""
    n = coincidences.sum(axis=2)
    total = n.sum(axis=1)
    if ordinal:
        middle = np.cumsum(n, axis=1) - n / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    else:
        distance = np.broadcast_to(1 - np.eye(n.shape[1]), coincidences.shape)
    observed = (coincidences * distance).sum(axis=(1, 2))
    expected = (n[:, :, None] * n[:, None, :] * distance).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(expected > 0, 1 - (total - 1) * observed / expected, np.nan))


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
