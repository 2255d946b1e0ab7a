"""How far annotators agree, and so how well any score could follow their mean."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, spearmanr

from ser_tasks.rudeness.null import rounded

Floats = npt.NDArray[np.float64]
MOST_RESAMPLED = 100
"""Annotators: a ceiling takes time with the cube of their number."""


def agreement(ratings: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any] | None:
    """Ordinal alpha and the ceiling of a rank correlation with the mean rating.

    Args:
        ratings: utterance_id, annotator_id, rating; one row a rating.
        resamples: Of utterances, for the intervals.
        seed: Of the resamples.

    Returns:
        `alpha`: Krippendorff's, ordinal. `ceiling`: what a perfect score could reach against the mean of these
        annotators: the root of the mean's reliability (two-way, of ranks), without an interval for more than
        `MOST_RESAMPLED` annotators. `one_against_rest`: mean Spearman
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
    few = values.shape[1] <= MOST_RESAMPLED
    return {
        "alpha": _with_interval(ordinal_alpha(values), [ordinal_alpha(values[rows]) for rows in chosen]),
        "ceiling": _with_interval(_ceiling(ranked), [_ceiling(ranked[rows]) for rows in chosen if few]),
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
    """Root of the share of the variance of utterances' means that is the utterances' own; 0 below it.

    Utterances and annotators are crossed random effects; the components of variance of incomplete tables are those of
    the fitting of constants (Henderson 1953, method 3). An annotator's leniency is noise in an utterance's mean only as
    far as utterances have different annotators: with everybody rating everything it moves all means alike.
    """
    ranked = ranked[:, np.isfinite(ranked).any(axis=0)]
    known = np.isfinite(ranked)
    of_utterance, of_annotator = known.sum(axis=1), known.sum(axis=0)
    total, (utterances, annotators) = int(known.sum()), known.shape
    grand = float(ranked[known].mean())
    values = np.where(known, ranked - grand, 0.0)
    means = values.sum(axis=1) / of_utterance
    shared = np.diag(of_annotator.astype(np.float64)) - (known / of_utterance[:, None]).T @ known
    rank = int(np.linalg.matrix_rank(shared, hermitian=True))
    left = np.where(known, values - means[:, None], 0.0).sum(axis=0)
    ss_annotators = float(left @ np.linalg.pinv(shared, hermitian=True) @ left)  # beyond utterances
    ss_error = float((values**2).sum() - (of_utterance * means**2).sum()) - ss_annotators
    freedom = total - utterances - rank
    if freedom < 1:
        return float("nan")
    ss_utterances = float((values**2).sum() - (values.sum(axis=0) ** 2 / of_annotator).sum()) - ss_error
    error = max(ss_error / freedom, 0.0)
    leniency = max((ss_annotators - rank * error) / np.trace(shared), 0.0) if rank else 0.0
    own = (ss_utterances - (utterances + rank - annotators) * error) / (total - annotators)
    weights = known / of_utterance[:, None]
    uneven = float(np.var(weights, axis=0, ddof=1).sum())
    noise = error * float(np.mean(1 / of_utterance)) + leniency * uneven
    return float(np.sqrt(own / (own + noise))) if own > 0 else 0.0


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
