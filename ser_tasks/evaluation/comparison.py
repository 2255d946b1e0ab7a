"""Model against model on the same clips: difference of UAR, McNemar's test, and correction for many tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import Counts, Estimate, confusion_by_speaker, interval, resampled_confusions, uar


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
        "uar_difference": Estimate(value, *interval(drawn)),
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
