"""AUC with pairs inside strata, for many labellings at once, and without each speaker in turn.

AUC is the share of (high, low) pairs of clips in which the high one scores above (Mann-Whitney). Pairs are formed
inside strata: scores of two folds come from two directions, and scores of two speakers differ by who speaks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Won and possible pairs: float64 [strata, labellings] each; a tie wins half."""

    won: npt.NDArray[np.float64]
    possible: npt.NDArray[np.float64]

    def auc(self) -> npt.NDArray[np.float64]:
        """Over all strata, [labellings]; NaN where there is no pair."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.won.sum(axis=0) / self.possible.sum(axis=0))


def pairs_within(scores: Floats, high: Bools, strata: Ints) -> Pairs:
    """Pairs inside strata.

    Args:
        scores: [n, labellings], or [n] for all labellings the same.
        high: bool [n, labellings].
        strata: int [n], from 0.
    """
    count = int(strata.max()) + 1 if len(strata) else 0
    won = np.zeros((count, high.shape[1]))
    possible = np.zeros_like(won)
    shared = scores.ndim == 1
    for stratum in range(count):
        rows = np.flatnonzero(strata == stratum)
        labels = high[rows]
        positives = labels.sum(axis=0, dtype=np.float64)
        possible[stratum] = positives * (len(rows) - positives)
        if not possible[stratum].any():
            continue
        rank_sum = rankdata(scores[rows]) @ labels if shared else _rank_sums(scores[rows], labels)
        won[stratum] = rank_sum - positives * (positives + 1) / 2
    return Pairs(won, possible)


def _rank_sums(scores: Floats, labels: Bools) -> npt.NDArray[np.float64]:
    """Sum of the ranks of the high clips, one a column; a sort is much quicker than ranks, which only ties need."""
    order = scores.argsort(axis=0, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=0)
    if (ordered[1:] == ordered[:-1]).any():
        return np.asarray((rankdata(scores, axis=0) * labels).sum(axis=0))
    places = np.arange(1, len(scores) + 1, dtype=np.float64)
    return np.asarray(places @ np.take_along_axis(labels, order, axis=0))


def auc(score: Floats, high: Bools) -> float:
    """AUC of one score over all pairs of clips, ties half; NaN without both groups."""
    return float(pairs_within(score, high[:, None], np.zeros(len(score), dtype=np.int64)).auc()[0])


def within_auc(score: Floats, high: Bools, strata: Ints) -> float:
    """AUC over the pairs inside strata (of a speaker, or of a fold), each pair counted once; NaN without a pair."""
    return float(pairs_within(score, high[:, None], strata).auc()[0])


def draw_clusters(clusters: int, resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """How often each cluster (speaker) is in each resample: [resamples, clusters]."""
    return np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), resamples).astype(float)


def leave_one_out(clusters: int) -> npt.NDArray[np.float64]:
    """Weights of the jackknife: [clusters, clusters], each row without one of them."""
    return 1 - np.eye(clusters)


def resampled_auc(
    score: Floats, high: Bools, speaker: Ints, draws: npt.NDArray[np.float64], *, within: bool
) -> npt.NDArray[np.float64]:
    """AUC of each resample of speakers, [resamples]; NaN where a resample has no pair.

    Args:
        score: [n].
        high: bool [n].
        speaker: int [n].
        draws: Of `draw_clusters`.
        within: Pairs inside speakers only, else all pairs.
    """
    if within:
        pairs = pairs_within(score, high[:, None], speaker)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((draws @ pairs.won[:, 0]) / (draws @ pairs.possible[:, 0]))
    order = np.argsort(score, kind="stable")
    value, label, who = score[order], high[order], speaker[order]
    first = np.concatenate([[True], value[1:] != value[:-1]])
    tie = np.cumsum(first) - 1
    starts, ends = np.flatnonzero(first)[tie], np.append(np.flatnonzero(first)[1:], len(value))[tie]
    result = np.empty(len(draws))
    for start in range(0, len(draws), 200):  # bounded memory
        weight = draws[start : start + 200][:, who]
        low = np.concatenate([np.zeros((len(weight), 1)), np.cumsum(weight * ~label, axis=1)], axis=1)
        below = (low[:, starts] + low[:, ends]) / 2
        top = weight * label
        with np.errstate(invalid="ignore", divide="ignore"):
            result[start : start + 200] = (top * below).sum(axis=1) / (top.sum(axis=1) * low[:, -1])
    return result
