"""Model against model on the same clips: difference of UAR with its test over speakers, many pairs, several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from scipy import special
from statsmodels.stats.multitest import multipletests

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import Counts, Estimate, Floats, confusion_by_speaker, uar

LEVEL = 0.05
"""Of all tests of one family together: the share of families of equal models in which a difference is found."""
FEWEST_SEEDS = 3
"""Trainings of each model that a verdict over seeds needs: two tell too little of how much seeds differ."""


@dataclass(frozen=True)
class Difference:
    """UAR of the second model minus the first's, with what Student's t test of it needs.

    Attributes:
        value: In [-1, 1].
        error: Standard error; infinite where one speaker alone is there.
        freedom: Degrees of freedom, not always whole.
    """

    value: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """Two-sided, of this difference by itself. Below a level exactly where its interval at 1 - level leaves 0 out.

        Without any spread between speakers it is 0, or 1 where there is no difference.
        """
        if self.value == 0:
            return 1.0
        return float(2 * special.stdtr(self.freedom, -abs(self.value) / self.error)) if self.error else 0.0

    @property
    def p_better(self) -> float:
        """One-sided: of a difference as large as this by chance alone, where the second model is no better."""
        return self.p / 2 if self.value > 0 else 1 - self.p / 2

    def estimate(self, level: float = LEVEL) -> Estimate:
        """The difference with its interval, which misses the truth in a share of `level` of studies."""
        reach = float(special.stdtrit(self.freedom, 1 - level / 2)) * self.error if self.error else 0.0
        return Estimate(self.value, max(self.value - reach, -1.0), min(self.value + reach, 1.0))


def paired_difference(first: Counts, second: Counts) -> Difference:
    """UAR of the second model minus the first's on the same clips, tested over speakers.

    The delete-one-speaker jackknife (CV3 of MacKinnon, Nielsen and Webb 2023) with Student's t. Degrees of freedom are
    the effective number of speakers (Kish 1965) minus 1: 1 / sum of squares of the speakers' shares in the UAR. With
    equal clips that is the number of speakers; where some speakers have many more clips than others, the number itself
    would be too many (false differences in 7 to 10 % of families instead of 5 %). A percentile bootstrap over speakers
    has too light tails for a test: with it 9 to 32 % of families of equal models had a difference.

    Args:
        first: int64 [speakers, classes, classes].
        second: The same clips by another model.

    Raises:
        BadInput: The two do not cover the same clips.
    """
    if first.shape != second.shape or (first.sum(axis=2) != second.sum(axis=2)).any():
        raise BadInput("evaluation: two models can be compared only on the same clips of the same speakers")
    value = float(uar(second.sum(axis=0)) - uar(first.sum(axis=0)))
    freedom = effective_speakers(first) - 1
    if freedom < NO_FREEDOM:
        return Difference(value, inf, 1.0)
    without = uar(second.sum(axis=0) - second) - uar(first.sum(axis=0) - first)
    return Difference(value, _jackknife_error(without, value), freedom)


NO_FREEDOM = 1e-6
"""With fewer degrees of freedom one speaker has all the clips, and nothing is known of others."""


def effective_speakers(by_speaker: Counts) -> float:
    """Kish's effective number of speakers in a UAR, from 1 to their number.

    Args:
        by_speaker: int64 [speakers, classes, classes].
    """
    clips = by_speaker.sum(axis=2)
    total = clips.sum(axis=0)
    shares = (clips[:, total > 0] / total[total > 0]).mean(axis=1)
    return float(1 / np.square(shares).sum())


def _jackknife_error(without: Floats, value: float) -> float:
    """Standard error of a statistic from its values without each speaker, [speakers] (Tukey 1958)."""
    n = len(without)
    squares = np.square(without - value)
    # What differs by rounding alone is no spread.
    return float(np.sqrt((n - 1) / n * np.where(squares < 1e-24, 0, squares).sum()))


def fewest_speakers(pairs: int) -> int:
    """How many speakers a verdict needs in a family of so many pairs: 6 for one pair, 7 for three, 8 for six.

    Student's t takes speakers' differences for normally distributed, which nobody can see in a few. Under this many
    not even the sign test holds the level, which supposes nothing of their shape: all n speakers favour one of two
    equal models in 2 ** (1 - n) of studies, which has to be at most .05 / pairs.
    """
    return int(np.ceil(1 + np.log2(pairs / LEVEL)))


def compare_models(
    first: Counts, second: Counts, target: Counts, speaker: Sequence[str], classes: int, pairs: int = 1
) -> dict[str, Any]:
    """The second model minus the first.

    Args:
        first: Predicted classes of the first model, int64 [clips].
        second: Of the second, the same clips in the same order.
        target: int64 [clips].
        speaker: Of each clip.
        classes: Number of classes.
        pairs: Comparisons in the family, this one among them.

    Returns:
        `uar_difference` with an interval that holds for all pairs of the family together in 95 % of studies
        (Bonferroni), `p` (two-sided, of this pair by itself), `p_corrected` (p times pairs; below .05 exactly where
        the interval leaves 0 out), `only_first_right`, `only_second_right`, `clips`, `speakers`.

    Raises:
        BadInput: The two do not cover the same clips.
    """
    if not len(first) == len(second) == len(target):
        raise BadInput("evaluation: two models can be compared only on the same clips of the same speakers")
    matrices = [confusion_by_speaker(target, predicted, speaker, classes) for predicted in (first, second)]
    found = paired_difference(*matrices)
    right = np.stack([first == target, second == target])
    return {
        "uar_difference": found.estimate(LEVEL / pairs),
        "p": found.p,
        "p_corrected": min(1.0, found.p * pairs),
        "only_first_right": int((right[0] & ~right[1]).sum()),
        "only_second_right": int((~right[0] & right[1]).sum()),
        "clips": len(target),
        "speakers": len(matrices[0]),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the order given."""
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []


def over_seeds(uars: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation (n - 1) of a UAR over trainings that differ in their seed."""
    values = np.asarray(uars, dtype=np.float64)
    return {"n": len(values), "mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0}


def compare_over_seeds(
    first: Sequence[Counts], second: Sequence[Counts], target: Counts, speaker: Sequence[str], classes: int
) -> dict[str, Any]:
    """Mean UAR of the second model's trainings minus that of the first's, tested over seeds and speakers.

    Its variance is that over speakers of the difference of the two means (jackknife; the models are paired on
    speakers), plus for each model the variance of its trainings' UARs divided by their number (seeds of two models are
    no pairs: the same number starts other weights in another network). What chance does to single clips is in both, so
    that the sum is a little too large rather than too small. Degrees of freedom after Satterthwaite (1946).
    tests/evaluation/test_seeds.py has how often equal models are told apart: about 3 to 5 %, and up to 6 % with two
    seeds that differ much.

    Args:
        first: Predicted classes of the first model, int64 [clips], one a seed, at least 2.
        second: Of the second, the same clips in the same order.
        target: int64 [clips].
        speaker: Of each clip.
        classes: Number of classes.

    Returns:
        `uar_difference` with its 95 % interval, and `p` (two-sided; below .05 exactly where the interval leaves 0 out).

    Raises:
        BadInput: A model has fewer than 2 trainings, or not all cover the same clips.
    """
    if min(len(first), len(second)) < 2:
        raise BadInput("evaluation: a comparison over seeds needs at least 2 trainings of each model")
    if any(len(chosen) != len(target) for chosen in (*first, *second)):
        raise BadInput("evaluation: two models can be compared only on the same clips of the same speakers")
    one, other = (
        np.stack([confusion_by_speaker(target, chosen, speaker, classes) for chosen in trainings])
        for trainings in (first, second)
    )
    found = _difference_over_seeds(one, other)
    return {"uar_difference": found.estimate(), "p": found.p}


def _difference_over_seeds(first: Counts, second: Counts) -> Difference:
    """The difference of two means over trainings.

    Args:
        first: int64 [trainings, speakers, classes, classes].
        second: The same clips by another model's trainings.
    """
    speakers = effective_speakers(first[0])
    uars = [uar(trainings.sum(axis=1)) for trainings in (first, second)]
    value = float(uars[1].mean() - uars[0].mean())
    if speakers - 1 < NO_FREEDOM:
        return Difference(value, inf, 1.0)
    without = [uar(trainings.sum(axis=1, keepdims=True) - trainings).mean(axis=0) for trainings in (first, second)]
    parts = [(_jackknife_error(without[1] - without[0], value) ** 2, speakers - 1)]
    parts += [(float(each.var(ddof=1)) / len(each), len(each) - 1.0) for each in uars]
    variance = sum(part for part, _ in parts)
    if not variance:
        return Difference(value, 0.0, speakers - 1)
    return Difference(value, float(np.sqrt(variance)), variance**2 / sum(part**2 / own for part, own in parts))
