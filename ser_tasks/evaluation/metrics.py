"""Metrics from stored predictions, each with a 95 % interval from a bootstrap clustered by speaker.

Clips of one speaker are not independent, so speakers are resampled, not clips. Every metric here is a function of the
confusion matrix, and a confusion matrix is a sum over speakers: a resample is a weighted sum of the speakers' matrices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student

from ser_tasks.errors import BadInput

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
FEW_SPEAKERS = 5
"""Under this many speakers an interval means little, and is said to."""
COVERAGE = {2: 53, 3: 73, 4: 88, 5: 92, 9: 94, 14: 95, 30: 95}
"""Speakers to the % of simulations in which a 95 % interval held the truth (tests/evaluation/test_coverage.py)."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def confusion_by_speaker(target: Counts, predicted: Counts, speaker: Sequence[str], classes: int) -> Counts:
    """Confusion matrices, one a speaker: int64 [speakers, classes (true), classes (predicted)], speakers sorted.

    Raises:
        BadInput: Nothing to evaluate.
    """
    if not len(target):
        raise BadInput("evaluation: there is no prediction to evaluate")
    names, index = np.unique(np.asarray(speaker), return_inverse=True)
    counts = np.zeros((len(names), classes, classes), dtype=np.int64)
    np.add.at(counts, (index, target, predicted), 1)
    return counts


def recalls(confusion: npt.NDArray[np.generic]) -> Floats:
    """Recall of each class, [..., classes]; NaN for a class without clips."""
    truth = confusion.sum(axis=-1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.diagonal(confusion, axis1=-2, axis2=-1) / np.where(truth > 0, truth, np.nan))


def uar(confusion: npt.NDArray[np.generic]) -> Floats:
    """Unweighted average recall: the mean of recalls over the classes that have clips, [...]."""
    return np.asarray(np.nanmean(recalls(confusion), axis=-1))


def accuracy(confusion: npt.NDArray[np.generic]) -> Floats:
    """Share of clips that are right, [...]."""
    return np.asarray(np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1)))


def macro_f1(confusion: npt.NDArray[np.generic]) -> Floats:
    """Mean of F1 over the classes that have clips, [...]; a class that is never predicted has F1 0."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    truth, guesses = confusion.sum(axis=-1), confusion.sum(axis=-2)
    f1 = 2 * hits / np.maximum(truth + guesses, 1)
    return np.asarray(np.nanmean(np.where(truth > 0, f1, np.nan), axis=-1))


def chance_uar(confusion: Counts) -> float:
    """The most that a guess that does not hear the clip can have: 1 / classes with clips.

    A guess that says class c with chance q(c), whatever the clip, has the recall q(c) in c, and as UAR the mean of q
    over the classes that have clips. That is highest where all of q lies on these; a guess evenly among all labels of a
    model has 1 / labels, which is lower where a corpus lacks a class.
    """
    return float(1 / (confusion.sum(axis=1) > 0).sum())


def per_class(by_speaker: Counts, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Recall, precision and F1 of each class, each an Estimate clustered by speaker, and `clips`.

    Args:
        by_speaker: int64 [speakers, classes, classes].
        resamples: Of the bootstrap over speakers.
        seed: Of the bootstrap.

    Returns:
        One mapping a class; empty for a class without clips. Precision is 0 for a class that is never predicted.
    """
    whole, drawn = by_speaker.sum(axis=0), resampled_confusions(by_speaker, resamples, seed)
    values, resampled = _of_classes(whole), _of_classes(drawn)
    return [
        {"clips": int(whole[i].sum())}
        | {name: Estimate(float(values[name][i]), *interval(resampled[name][:, i], len(by_speaker))) for name in values}
        if whole[i].sum()
        else {}
        for i in range(len(whole))
    ]


def _of_classes(confusion: Counts) -> dict[str, Floats]:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    truth, guesses = confusion.sum(axis=-1), confusion.sum(axis=-2)
    return {
        "recall": recalls(confusion),
        "precision": np.asarray(hits / np.maximum(guesses, 1)),
        "f1": np.asarray(2 * hits / np.maximum(truth + guesses, 1)),
    }


def confusion_shares(by_speaker: Counts, resamples: int, seed: int) -> list[list[Estimate | None]]:
    """Share of each true class [classes (true)] that is taken for each class [classes (predicted)], an Estimate each.

    Args:
        by_speaker: int64 [speakers, classes, classes].
        resamples: Of the bootstrap over speakers.
        seed: Of the bootstrap.

    Returns:
        Rows as of the confusion matrix; None in the row of a class without clips.
    """
    value, drawn = (
        np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
        for counts in (by_speaker.sum(axis=0), resampled_confusions(by_speaker, resamples, seed))
        for totals in [counts.sum(axis=-1, keepdims=True)]
    )
    return [
        [
            None
            if np.isnan(value[true, said])
            else Estimate(float(value[true, said]), *interval(drawn[:, true, said], len(by_speaker)))
            for said in range(len(value))
        ]
        for true in range(len(value))
    ]


METRICS: dict[str, Callable[[npt.NDArray[np.generic]], Floats]] = {
    "uar": uar,
    "accuracy": accuracy,
    "macro_f1": macro_f1,
}
NAMES = {
    "uar": "UAR (unweighted mean of the classes' recalls)",
    "accuracy": "accuracy (share of clips)",
    "macro_f1": "macro-F1 (unweighted mean of the classes' F1)",
}
"""Of each metric, with its averaging."""


def resampled_confusions(by_speaker: Counts, resamples: int, seed: int) -> Counts:
    """Confusion matrices of bootstrap resamples of speakers: int64 [resamples, classes, classes].

    The weights depend on the number of speakers and the seed alone, so that two models resampled with one seed over the
    same speakers are paired.
    """
    n = len(by_speaker)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.asarray(np.einsum("rs,sij->rij", weights, by_speaker))


def interval(values: Floats, speakers: int) -> tuple[float, float]:
    """A 95 % interval out of bootstrap values, by expanded percentiles.

    A bootstrap over n speakers has (n - 1) / n of the variance, and few speakers do not tell it well: the percentiles
    make up for both (Hesterberg 2015, doi 10.1080/00031305.2015.1089789), as far as the widest resample reaches.
    `COVERAGE` says what that holds.

    Args:
        values: Of resamples of speakers.
        speakers: That were resampled; with one the interval is that speaker's value.
    """
    tail = 0.025
    if speakers > 1:
        tail = float(norm.cdf(np.sqrt(speakers / (speakers - 1)) * student.ppf(tail, speakers - 1)))
    low, high = np.nanpercentile(values, [100 * tail, 100 * (1 - tail)])
    return float(low), float(high)


def about_interval(speakers: int) -> str:
    """What to think of an interval over so many speakers; empty with speakers enough."""
    if speakers >= FEW_SPEAKERS:
        return ""
    if speakers == 1:
        return "with 1 speaker there is none"
    return f"with {speakers} speakers it means little: in simulations it held the truth in {COVERAGE[speakers]} %"


def estimate(metric: str, by_speaker: Counts, resamples: int, seed: int) -> Estimate:
    """A metric of `METRICS` with its interval clustered by speaker."""
    function = METRICS[metric]
    low, high = interval(function(resampled_confusions(by_speaker, resamples, seed)), len(by_speaker))
    return Estimate(float(function(by_speaker.sum(axis=0))), low, high)
