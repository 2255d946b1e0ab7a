"""A model against people: raters of the same clips, who did not know what was intended."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import Counts, Estimate, Floats, interval
from ser_tasks.evaluation.resampling import mean_estimate, speaker_weights, sums_by_speaker


def jensen_shannon(first: Floats, second: Floats) -> Floats:
    """Jensen-Shannon divergence of each row, base 2, in [0, 1] (Lin 1991): float64 [rows]."""
    middle = (first + second) / 2

    def relative(part: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(part > 0, part * np.log2(part / middle), 0.0).sum(axis=1))

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
        Each with an interval: `jensen_shannon` (0: the same distribution), `soft_accuracy` (mean share of raters who
        chose what the model says), `rater_ceiling` (mean share of the other raters who chose what a rater says),
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
        "soft_accuracy": shares[rows, chosen],
        "rater_ceiling": (votes * (votes - 1)).sum(axis=1) / (total * (total - 1)),
        "best_possible": shares.max(axis=1),
    }
    found: dict[str, Any] = {name: mean_estimate(values, speaker, resamples, seed) for name, values in per_clip.items()}
    found["human_uar"] = _mean_by_class(shares[rows, target], target, speaker, votes.shape[1], resamples, seed)
    right = (chosen == target).astype(np.float64)
    found["model_uar"] = _mean_by_class(right, target, speaker, votes.shape[1], resamples, seed)
    return found | {"clips": len(target), "votes": int(total.sum())}


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
