"""Model against model on the same clips: difference of UAR, McNemar's test, correction for many tests, and seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import (
    Counts,
    Estimate,
    Floats,
    confusion_by_speaker,
    interval,
    resampled_confusions,
    uar,
)

FEW_SEEDS = 5
"""Under this many seeds the interval of `compare_over_seeds` may be too narrow, and is said to be."""


def compare_models(
    first: Counts, second: Counts, target: Counts, speaker: Sequence[str], classes: int, resamples: int, seed: int
) -> dict[str, Any]:
    """The second model minus the first.

    Args:
        first: Predicted classes of the first model, int64 [clips].
        second: Of the second, the same clips in the same order.
        target: int64 [clips].
        speaker: Of each clip.
        classes: Number of classes.
        resamples: Of the bootstrap over speakers.
        seed: Of the bootstrap.

    Returns:
        `uar_difference` with its 95 % interval (clustered by speaker, paired), `p_bootstrap` (two-sided: twice the
        smaller share of resamples on either side of 0, at least 1 / resamples), `mcnemar_p` (exact; takes clips for
        independent, which clips of one speaker are not), `only_first_right`, `only_second_right`.

    Raises:
        BadInput: The two do not cover the same clips.
    """
    if not len(first) == len(second) == len(target):
        raise BadInput("evaluation: two models can be compared only on the same clips of the same speakers")
    matrices = [confusion_by_speaker(target, predicted, speaker, classes) for predicted in (first, second)]
    drawn = uar(resampled_confusions(matrices[1], resamples, seed)) - uar(
        resampled_confusions(matrices[0], resamples, seed)
    )
    value = float(uar(matrices[1].sum(axis=0)) - uar(matrices[0].sum(axis=0)))
    right = np.stack([first == target, second == target])
    table = [
        [int((right[0] & right[1]).sum()), int((right[0] & ~right[1]).sum())],
        [int((~right[0] & right[1]).sum()), int((~right[0] & ~right[1]).sum())],
    ]
    return {
        "uar_difference": Estimate(value, *interval(drawn, len(matrices[0]))),
        "p_bootstrap": _two_sided(drawn),
        "mcnemar_p": float(mcnemar(table, exact=True).pvalue),
        "only_first_right": table[0][1],
        "only_second_right": table[1][0],
        "clips": len(target),
        "speakers": len(matrices[0]),
    }


def _two_sided(drawn: Any) -> float:
    below, above = float((drawn <= 0).mean()), float((drawn >= 0).mean())
    return float(min(1.0, max(2 * min(below, above), 1 / len(drawn))))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the order given."""
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []


def over_seeds(uars: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation (n - 1) of a UAR over trainings that differ in their seed."""
    values = np.asarray(uars, dtype=np.float64)
    return {"n": len(values), "mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0}


def compare_over_seeds(
    first: Sequence[Counts],
    second: Sequence[Counts],
    target: Counts,
    speaker: Sequence[str],
    classes: int,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Mean UAR of the second model's trainings minus that of the first's, by a bootstrap over seeds and speakers.

    The multi-bootstrap of Sellam et al. (2022, The MultiBERTs) with speakers in place of examples. One draw of speakers
    serves every training of both models: the models are paired on speakers. Seeds are drawn for each model by itself:
    the same number starts other weights in another network, so that seeds of two models are no pairs. Of n seeds n - 1
    are drawn, which gives the mean over seeds its unbiased variance (Rao and Wu 1988); n draws would give (n - 1) / n
    of it, half with two seeds. With few seeds that differ much the interval is still too narrow: it held a true 0 in
    82 % of simulated studies with 2 seeds, 93 % with 3, 94 % with 5 and 96 % with 10 (20 speakers, seeds' sd .08; with
    an sd of .02 in more than 95 %: tests/evaluation/test_seeds.py).

    Args:
        first: Predicted classes of the first model, int64 [clips], one a seed, at least 2.
        second: Of the second, the same clips in the same order.
        target: int64 [clips].
        speaker: Of each clip.
        classes: Number of classes.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `uar_difference` with its 95 % interval, and `p_bootstrap` as `compare_models` has it.

    Raises:
        BadInput: A model has fewer than 2 trainings, or not all cover the same clips.
    """
    if min(len(first), len(second)) < 2:
        raise BadInput("evaluation: a comparison over seeds needs at least 2 trainings of each model")
    if any(len(chosen) != len(target) for chosen in (*first, *second)):
        raise BadInput("evaluation: two models can be compared only on the same clips of the same speakers")
    (one, one_drawn), (other, other_drawn) = (
        _mean_over_seeds(
            [confusion_by_speaker(target, chosen, speaker, classes) for chosen in trainings], resamples, seed, model
        )
        for model, trainings in enumerate((first, second), start=1)
    )
    drawn = other_drawn - one_drawn
    between = interval(drawn, len(set(speaker)))
    return {"uar_difference": Estimate(other - one, *between), "p_bootstrap": _two_sided(drawn)}


def _mean_over_seeds(trainings: Sequence[Counts], resamples: int, seed: int, model: int) -> tuple[float, Floats]:
    """A model's mean UAR over its trainings, and the same over drawn seeds and drawn speakers, [resamples].

    Args:
        trainings: int64 [speakers, classes, classes], one a seed.
        resamples: Of the bootstrap.
        seed: Of the bootstrap; the draw of speakers depends on nothing else.
        model: 1 or 2: each has its own draw of seeds.
    """
    n = len(trainings)
    draw = np.random.default_rng([seed, model])
    weights = draw.multinomial(n - 1, np.full(n, 1 / n), size=resamples) / (n - 1)
    drawn = np.stack([uar(resampled_confusions(matrix, resamples, seed)) for matrix in trainings], axis=1)
    whole = [float(uar(matrix.sum(axis=0))) for matrix in trainings]
    return float(np.mean(whole)), np.asarray((weights * drawn).sum(axis=1))
