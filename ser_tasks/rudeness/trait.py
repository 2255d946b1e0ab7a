"""v_rude = mean(E_rude) - mean(E_not_rude), projected on speakers it was not fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ser_tasks.errors import BadInput

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
MIN_CLIPS = 10
"""Fewer clips than this in either group give no direction worth the name."""
MIN_SPEAKERS = 3


def direction(embeddings: Floats, high: Bools) -> Floats:
    """Mean of the high group minus mean of the low group, [dim]. `embeddings` is [n, dim], `high` is [n]."""
    return np.asarray(embeddings[high].mean(axis=0) - embeddings[~high].mean(axis=0))


def project(embeddings: Floats, vector: Floats, origin: Floats) -> Floats:
    """Signed length of (embedding - origin) along a direction, [n]."""
    return np.asarray((embeddings - origin) @ vector / (np.linalg.norm(vector) + 1e-12))


def auc(score: Floats, high: Bools) -> float:
    """Probability that a high clip scores above a low one, ties half (Mann-Whitney); NaN without both groups."""
    from scipy.stats import rankdata

    positives, n = int(high.sum()), len(high)
    if positives in (0, n):
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[high].sum() - positives * (positives + 1) / 2) / (positives * (n - positives)))


@dataclass(frozen=True)
class TraitFit:
    """A direction and what it is worth on speakers that it was not fitted on.

    Attributes:
        vector: float64 [dim], fitted on all clips; embeddings are standardised first.
        mean: float64 [dim], of the embeddings.
        scale: float64 [dim], of the embeddings.
        held_out_score: float64 [n], each clip's projection by a fit that left its group out, in that fit's units of
            the training scores' standard deviation.
        auc: Pooled over held-out clips.
        low: Of the 95 % interval clustered by speaker.
        high: Of the same.
    """

    vector: Floats
    mean: Floats
    scale: Floats
    held_out_score: Floats
    auc: float
    low: float
    high: float


def fit_trait(
    embeddings: Floats, high: Bools, groups: Sequence[str], speakers: Sequence[str], resamples: int, seed: int
) -> TraitFit:
    """Fit the direction and score every clip by a fit that left its group out.

    Args:
        embeddings: float [n, dim].
        high: bool [n]: the rude clips.
        groups: What is left out together (sessions where the corpus has them, else speakers).
        speakers: For the interval's clusters.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        BadInput: Too few clips, groups or speakers to say anything; says how many there are and how many it takes.
    """
    n_high, n_low, n_speakers = int(high.sum()), int((~high).sum()), len(set(speakers))
    if min(n_high, n_low) < MIN_CLIPS or n_speakers < MIN_SPEAKERS:
        raise BadInput(
            f"trait: {n_high} high and {n_low} low clips of {n_speakers} speakers say nothing: at least {MIN_CLIPS} "
            f"clips in either group and {MIN_SPEAKERS} speakers are needed; rate more clips, or change trait.threshold"
        )
    group = np.asarray(groups)
    score = np.zeros(len(embeddings))
    for left_out in np.unique(group):
        test = group == left_out
        fitted, labels = embeddings[~test], high[~test]
        if labels.all() or not labels.any():
            raise BadInput(f"trait: without {left_out} only one of the two groups is left; more rated clips are needed")
        mean, scale = fitted.mean(axis=0), fitted.std(axis=0) + 1e-8
        vector = direction((fitted - mean) / scale, labels)
        origin = np.zeros_like(mean)
        spread = project((fitted - mean) / scale, vector, origin).std() + 1e-12
        score[test] = project((embeddings[test] - mean) / scale, vector, origin) / spread
    mean, scale = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-8
    low, top = auc_interval(score, high, speakers, resamples, seed)
    return TraitFit(direction((embeddings - mean) / scale, high), mean, scale, score, auc(score, high), low, top)


def auc_interval(score: Floats, high: Bools, speakers: Sequence[str], resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the AUC, resampling speakers with all their clips."""
    speaker = np.asarray(speakers)
    members = [np.flatnonzero(speaker == name) for name in np.unique(speaker)]
    draw = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        chosen = np.concatenate([members[i] for i in draw.integers(len(members), size=len(members))])
        values.append(auc(score[chosen], high[chosen]))
    low, top = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(top)
