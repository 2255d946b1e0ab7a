"""Whether probabilities mean what they say: calibration error, reliability, temperature, selective risk."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import Counts, Estimate, Floats, interval
from ser_tasks.evaluation.resampling import mean_estimate, speaker_weights, sums_by_speaker

BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017 (doi 10.48550/arXiv.1706.04599)."""
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
LOWEST = 1e-12


def temperature_on_dev(probabilities: Floats, target: Counts) -> float:
    """The temperature T > 0 that gives the dev clips the highest likelihood (Guo et al. 2017); 1: none is needed.

    Args:
        probabilities: float64 [clips, classes] of dev clips, never of test clips.
        target: int64 [clips].

    Returns:
        In [0.05, 20]; 1 where every clip is right: the likelihood then grows without end as T falls to 0, which says
        nothing of how sure to be on other clips.

    Raises:
        BadInput: No dev clip.
    """
    if not len(target):
        raise BadInput("calibration: there is no dev prediction to fit a temperature on")
    if (probabilities.argmax(axis=1) == target).all():
        return 1.0
    logits = np.log(np.maximum(probabilities, LOWEST))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        chosen = scaled[np.arange(len(target)), target]
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - chosen))

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def with_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities as they are at another temperature, [clips, classes]; the order of classes stays."""
    scaled = np.log(np.maximum(probabilities, LOWEST)) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def brier(probabilities: Floats, target: Counts) -> Floats:
    """Squared distance to the one-hot target, summed over classes: float64 [clips], in [0, 2] (Brier 1950)."""
    return np.asarray(np.square(probabilities - np.eye(probabilities.shape[1])[target]).sum(axis=1))


def _binned(probabilities: Floats, target: Counts) -> tuple[npt.NDArray[np.intp], Floats, Floats]:
    """Bin [clips], confidence [clips], hit [clips] of each clip's highest class."""
    confidence = probabilities.max(axis=1)
    hit = (probabilities.argmax(axis=1) == target).astype(np.float64)
    return np.minimum((confidence * BINS).astype(np.intp), BINS - 1), confidence, hit


def reliability(probabilities: Floats, target: Counts) -> list[dict[str, float]]:
    """One row a bin that has clips: low, high, clips, confidence (mean), accuracy."""
    bins, confidence, hit = _binned(probabilities, target)
    return [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "clips": int((bins == number).sum()),
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(hit[bins == number].mean()),
        }
        for number in np.unique(bins)
    ]


def expected_calibration_error(
    probabilities: Floats, target: Counts, speaker: Sequence[str], resamples: int, seed: int
) -> Estimate:
    """Mean over clips of |accuracy - confidence| of their bin, in [0, 1], 15 equal-width bins of the top class.

    Noise alone makes this error: the value is above the truth on average, and that of a resample above both, so that
    the usual interval often leaves the value out. Here the upper end is that of the reversed interval (Davison and
    Hinkley 1997, eq. 5.6), at least the value. The lower end is the value less what noise makes: |value - truth| is at
    most the sum of the bins' errors, whose 97.5 % point resamples give as their distance from the sample, bin by bin.
    In simulations (tests/evaluation/test_coverage.py) it held an error of 0 in 98 %, one of .14 in 95 %.
    """
    bins, confidence, hit = _binned(probabilities, target)
    gaps = np.zeros((len(target), BINS))
    gaps[np.arange(len(target)), bins] = hit - confidence
    sums = sums_by_speaker(gaps, speaker)
    counts = sums_by_speaker(np.ones(len(target)), speaker)
    weights = speaker_weights(len(sums), resamples, seed)
    gap, drawn = sums.sum(axis=0) / len(target), (weights @ sums) / (weights @ counts)[:, None]
    value = float(np.abs(gap).sum())
    least, _ = interval(np.abs(drawn).sum(axis=1), len(sums))
    _, noise = interval(np.abs(drawn - gap).sum(axis=1), len(sums))
    return Estimate(value, max(0.0, value - noise), max(value, 2 * value - least))


def selective_risk(probabilities: Floats, target: Counts) -> list[dict[str, float]]:
    """Accuracy on the clips that the model is surest of, by share of clips that are kept (coverage)."""
    _, confidence, hit = _binned(probabilities, target)
    sorted_hits = hit[np.argsort(-confidence, kind="stable")]
    kept = [max(1, round(coverage * len(hit))) for coverage in COVERAGES]
    return [
        {"coverage": coverage, "clips": n, "accuracy": float(sorted_hits[:n].mean())}
        for coverage, n in zip(COVERAGES, kept, strict=True)
    ]


def calibration(
    probabilities: Floats, target: Counts, speaker: Sequence[str], temperature: float, resamples: int, seed: int
) -> dict[str, Any]:
    """Everything of this module for the test clips.

    Args:
        probabilities: float64 [clips, classes] as the model gives them, its temperature in them.
        target: int64 [clips].
        speaker: Of each clip.
        temperature: Of the model, fitted on dev when it was trained: never here.
        resamples: Of the intervals.
        seed: Of the same.

    Returns:
        Among others ece, brier and reliability: `raw` before the temperature, `scaled` as the model gives them.
    """
    raw = with_temperature(probabilities, 1 / temperature)

    def both(function: Any) -> dict[str, Any]:
        return {"raw": function(raw), "scaled": function(probabilities)}

    return {
        "temperature": temperature,
        "binning": f"{BINS} equal-width bins of the highest probability",
        "ece_interval": "corrected for what noise alone adds to this error",
        "ece": both(lambda p: expected_calibration_error(p, target, speaker, resamples, seed)),
        "brier": both(lambda p: mean_estimate(brier(p, target), speaker, resamples, seed)),
        "reliability": both(lambda p: reliability(p, target)),
        "selective_risk": selective_risk(probabilities, target),
    }
