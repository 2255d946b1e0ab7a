"""A model against people: raters of the same clips, who did not know what was intended."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import Counts, Estimate, Floats, interval
from ser_tasks.evaluation.resampling import mean_estimate, speaker_weights, sums_by_speaker

DRAWS = 20
"""Of each clip's true shares; the mean over clips averages their noise away."""
FEWEST_OF_CLASS = 20
"""Clips of an intended class with a distribution of its own; fewer share that of all such classes."""


def jensen_shannon(first: Floats, second: Floats) -> Floats:
    """Jensen-Shannon divergence of each row, base 2, in [0, 1] (Lin 1991): float64 [..., rows]."""
    middle = (first + second) / 2

    def relative(part: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(part > 0, part * np.log2(part / middle), 0.0).sum(axis=-1))

    return np.asarray((relative(first) + relative(second)) / 2)


def against_people(
    probabilities: Floats, votes: Floats, target: Counts, speaker: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """Agreement of a model with raters, and of raters with one another and with the intended label.

    Args:
        probabilities: float64 [clips, classes].
        votes: Number of raters' votes, float64 [clips, classes]; every clip has at least two.
        target: Intended class, int64 [clips].
        speaker: Of each clip.
        resamples: Of the bootstrap over speakers.
        seed: Of the bootstrap.

    Returns:
        Each with an interval: `jensen_shannon` (0: the same distribution), and beside it what it is for three that hear
        nothing or everything: `jensen_shannon_truth` (the distributions that the votes were drawn from: so few votes
        are never spread like them; see `true_shares`), `jensen_shannon_marginal` (the shares of all votes, for every
        clip), `jensen_shannon_majority` (certain of each clip's most frequent vote); `soft_accuracy` (mean
        share of raters who chose what the model says), `rater_ceiling` (mean share of the other raters who chose what a
        rater says),
        `best_possible` (soft accuracy of always naming the raters' favourite), `human_uar` (mean over classes of the
        share of votes for the target; circular where the target is made from their votes) and `model_uar` on the same
        clips.

    Raises:
        BadInput: A clip with fewer than two votes.
    """
    total = votes.sum(axis=1)
    if (total < 2).any():
        raise BadInput(f"people: {int((total < 2).sum())} clip(s) have fewer than two votes: leave them out")
    shares = votes / total[:, None]
    chosen = probabilities.argmax(axis=1)
    rows = np.arange(len(chosen))
    per_clip = {
        "jensen_shannon": jensen_shannon(probabilities, shares),
        "jensen_shannon_truth": jensen_shannon(true_shares(votes, target, seed), shares[None]).mean(axis=0),
        "jensen_shannon_marginal": jensen_shannon(
            np.broadcast_to(votes.sum(axis=0) / total.sum(), shares.shape), shares
        ),
        "jensen_shannon_majority": jensen_shannon(np.eye(votes.shape[1])[votes.argmax(axis=1)], shares),
        "soft_accuracy": shares[rows, chosen],
        "rater_ceiling": (votes * (votes - 1)).sum(axis=1) / (total * (total - 1)),
        "best_possible": shares.max(axis=1),
    }
    found: dict[str, Any] = {name: mean_estimate(values, speaker, resamples, seed) for name, values in per_clip.items()}
    found["human_uar"] = _mean_by_class(shares[rows, target], target, speaker, votes.shape[1], resamples, seed)
    right = (chosen == target).astype(np.float64)
    found["model_uar"] = _mean_by_class(right, target, speaker, votes.shape[1], resamples, seed)
    return found | {"clips": len(target), "votes": int(total.sum())}


def true_shares(votes: Floats, target: Counts, seed: int) -> Floats:
    """What the raters of each clip would say if there were ever so many: draws, given the votes that there are.

    Empirical Bayes: a Dirichlet distribution for the clips of each intended class, with the mean of their votes and the
    concentration of the highest likelihood (Minka 2000, "Estimating a Dirichlet distribution"); from it and a clip's
    votes the clip's own follow. Taking the shares of the votes for the truth would put the divergence too low by half,
    since what nobody said in ten votes is not impossible.

    Args:
        votes: float64 [clips, classes].
        target: Intended class, int64 [clips].
        seed: Of the draws.

    Returns:
        float64 [draws, clips, classes], each row adding up to 1.
    """
    draw, classes = np.random.default_rng(seed), votes.shape[1]
    sizes = np.bincount(target, minlength=classes)
    group = np.where(sizes[target] >= FEWEST_OF_CLASS, target, -1)
    prior = np.empty_like(votes)
    for one in np.unique(group):
        prior[group == one] = _dirichlet(votes[group == one])
    drawn = np.maximum(draw.gamma(np.broadcast_to(votes + prior, (DRAWS, *votes.shape))), 1e-300)
    return np.asarray(drawn / drawn.sum(axis=-1, keepdims=True))


def _dirichlet(votes: Floats) -> Floats:
    """Parameters of the Dirichlet distribution that votes of clips were drawn through: float64 [classes]."""
    total = votes.sum(axis=1)
    mean = (votes.sum(axis=0) + 0.5) / (votes.sum() + 0.5 * votes.shape[1])

    def loss(log_concentration: float) -> float:
        alpha = np.exp(log_concentration) * mean
        both = (
            gammaln(alpha.sum()) - gammaln(alpha.sum() + total) + (gammaln(votes + alpha) - gammaln(alpha)).sum(axis=1)
        )
        return -float(both.sum())

    found = minimize_scalar(loss, bounds=(-2.0, 7.0), method="bounded")
    return np.asarray(np.exp(found.x) * mean)


def _mean_by_class(
    values: Floats, target: Counts, speaker: Sequence[str], classes: int, resamples: int, seed: int
) -> Estimate:
    """The mean over classes of a value's mean over the class's clips."""
    one_hot = np.eye(classes)[target]
    sums, counts = sums_by_speaker(values[:, None] * one_hot, speaker), sums_by_speaker(one_hot, speaker)
    weights = speaker_weights(len(sums), resamples, seed)

    def mean(sums: Floats, counts: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.nanmean(np.where(counts > 0, sums / counts, np.nan), axis=-1))

    low, high = interval(mean(weights @ sums, weights @ counts), len(sums))
    return Estimate(float(mean(sums.sum(axis=0), counts.sum(axis=0))), low, high)
