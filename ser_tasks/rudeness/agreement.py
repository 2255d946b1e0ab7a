"""How far annotators agree, and so how well any score could follow their mean."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, spearmanr

from ser_tasks.rudeness.null import rounded

Floats = npt.NDArray[np.float64]


def agreement(ratings: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any] | None:
    """Ordinal alpha and the ceiling of a rank correlation with the mean rating.

    Args:
        ratings: utterance_id, annotator_id, rating; one row a rating.
        resamples: Of utterances, for the intervals.
        seed: Of the resamples.

    Returns:
        `alpha`: Krippendorff's, ordinal. `ceiling`: what a perfect score could reach against the mean of these
        annotators: the root of the mean's reliability (one-way ICC(1, k), of ranks). `one_against_rest`: mean Spearman
        of each annotator with the mean of the others. Each with a 95 % interval where it is resampled, and the n of
        utterances and annotators. None where no utterance has two ratings.
    """
    table = ratings.pivot_table(index="utterance_id", columns="annotator_id", values="rating", aggfunc="last")
    values = table.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values).sum(axis=1) >= 2]
    if len(values) < 3:
        return None
    draw = np.random.default_rng(seed)
    chosen = [draw.integers(len(values), size=len(values)) for _ in range(min(resamples, 300))]
    ranked = np.full_like(values, np.nan)
    ranked[np.isfinite(values)] = rankdata(values[np.isfinite(values)])
    return {
        "alpha": _with_interval(ordinal_alpha(values), [ordinal_alpha(values[rows]) for rows in chosen]),
        "ceiling": _with_interval(_ceiling(ranked), [_ceiling(ranked[rows]) for rows in chosen]),
        "one_against_rest": rounded({"value": _one_against_rest(values)})["value"],
        "utterances": len(values),
        "annotators": int(values.shape[1]),
    }


def _with_interval(value: float, resampled: list[float]) -> dict[str, float | None]:
    low, high = np.nanpercentile(resampled, [2.5, 97.5]) if np.isfinite(resampled).any() else (np.nan, np.nan)
    return rounded({"value": value, "low": low, "high": high})


def ordinal_alpha(values: Floats) -> float:
    """Krippendorff's alpha with the ordinal distance, for ratings [units, annotators] with NaN where one is missing.

    Krippendorff 2011, "Computing Krippendorff's alpha-reliability", by the matrix of coincidences.
    """
    levels, codes = np.unique(values[np.isfinite(values)], return_inverse=True)
    if len(levels) < 2:
        return float("nan")
    unit = np.nonzero(np.isfinite(values))[0]
    counts = np.zeros((len(values), len(levels)))
    np.add.at(counts, (unit, codes), 1)
    counts = counts[counts.sum(axis=1) >= 2]
    m = counts.sum(axis=1)
    coincidences = (counts / (m - 1)[:, None]).T @ counts - np.diag((counts / (m - 1)[:, None]).sum(axis=0))
    n = coincidences.sum(axis=0)
    middle = np.cumsum(n) - n / 2
    distance = (middle[:, None] - middle[None, :]) ** 2
    expected = (np.outer(n, n) * distance).sum() / (n.sum() - 1)
    return float(1 - (coincidences * distance).sum() / expected) if expected > 0 else float("nan")


def _ceiling(ranked: Floats) -> float:
    """Root of the reliability of the mean over k annotators, from a one-way analysis of variance; 0 below it."""
    k = np.isfinite(ranked).sum(axis=1)
    mean = np.nanmean(ranked, axis=1)
    grand = float((k * mean).sum() / k.sum())
    between = float((k * (mean - grand) ** 2).sum() / (len(k) - 1))
    within = float(np.nansum((ranked - mean[:, None]) ** 2) / (k.sum() - len(k)))
    return float(np.sqrt(max(0.0, 1 - within / between))) if between > 0 else float("nan")


def _one_against_rest(values: Floats) -> float:
    found = []
    for annotator in range(values.shape[1]):
        rest = np.delete(values, annotator, axis=1)
        both = np.isfinite(values[:, annotator]) & np.isfinite(rest).any(axis=1)
        if both.sum() >= 3 and np.ptp(values[both, annotator]) > 0:
            mean = np.nanmean(rest[both], axis=1)
            if np.ptp(mean) > 0:
                found.append(float(spearmanr(values[both, annotator], mean).statistic))
    return float(np.mean(found)) if found else float("nan")
