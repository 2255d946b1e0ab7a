"""What changes from the training corpus to another: class shares, arousal, level, rate and spectrum."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from ser_tasks.evaluation.metrics import Counts, Estimate, Floats, interval
from ser_tasks.evaluation.resampling import speaker_weights, sums_by_speaker

HIGH_AROUSAL = frozenset({"angry", "fear", "happy", "surprised", "excited", "frustrated"})
"""Emotions on the active half of the circumplex (Russell 1980). The rest of the canonical emotions counts as low."""


def class_shares(labels: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Share of clips of each class, in [0, 1]."""
    values = np.asarray(labels)
    return {name: float((values == name).mean()) for name in names}


def prior_shift(trained: Sequence[str], tested: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Class shares in training and test, and their total variation distance in [0, 1] (half the sum of differences)."""
    train, test = class_shares(trained, names), class_shares(tested, names)
    distance = sum(abs(train[name] - test[name]) for name in names) / 2
    return {"train": train, "test": test, "total_variation": float(distance)}


def arousal_collapse(
    target: Counts, predicted: Counts, speaker: Sequence[str], names: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """Whether a model on another corpus only hears arousal: share of predictions among high-arousal classes.

    Returns:
        `predicted` and `true` share of high-arousal clips, their `difference` with an interval (0: no collapse to one
        side), `arousal_accuracy` (the right half of arousal) and `within` (of the clips whose half is right, the share
        whose class is right too): a model that hears arousal alone has a high first and a low second.
    """
    high = np.array([name in HIGH_AROUSAL for name in names])
    says, is_high = high[predicted].astype(np.float64), high[target].astype(np.float64)
    right_half = (says == is_high).astype(np.float64)
    right = (predicted == target).astype(np.float64)
    columns = np.stack([says, is_high, right_half, right, np.ones(len(target))], axis=1)
    sums = sums_by_speaker(columns, speaker)
    drawn = speaker_weights(len(sums), resamples, seed) @ sums
    whole = sums.sum(axis=0)

    def estimate(top: Any, bottom: int) -> Estimate:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = top(drawn) / drawn[:, bottom]
        return Estimate(float(top(whole) / whole[bottom]), *interval(values, len(sums)))

    return {
        "high_arousal": [name for name in names if name in HIGH_AROUSAL],
        "predicted": estimate(lambda sums: sums[..., 0], 4),
        "true": estimate(lambda sums: sums[..., 1], 4),
        "difference": estimate(lambda sums: sums[..., 0] - sums[..., 1], 4),
        "arousal_accuracy": estimate(lambda sums: sums[..., 2], 4),
        "within": estimate(lambda sums: sums[..., 3], 2),
    }


def domain_shift(train: pd.DataFrame, test: pd.DataFrame, spectra: Mapping[str, Floats] | None) -> dict[str, Any]:
    """How differently two corpora were recorded.

    Args:
        train: Manifest of the training corpus.
        test: Manifest of the other.
        spectra: `train` and `test`: mean log-mel spectrum in dB, float64 [bands]; None: not measured.

    Returns:
        Medians and Kolmogorov-Smirnov distance in [0, 1] of rms_db and duration_s; sample rates; with spectra the
        root mean square difference in dB after the level is taken out, and the difference of each band.
    """
    found: dict[str, Any] = {
        column: {
            "train_median": float(train[column].median()),
            "test_median": float(test[column].median()),
            "ks_distance": float(ks_2samp(train[column], test[column]).statistic),
        }
        for column in ("rms_db", "duration_s")
    }
    found["sample_rates_hz"] = {
        name: {str(rate): int(n) for rate, n in frame["sample_rate_hz"].value_counts().sort_index().items()}
        for name, frame in (("train", train), ("test", test))
    }
    if spectra is not None:
        difference = spectra["test"] - spectra["train"]
        difference = difference - difference.mean()
        found["spectrum"] = {
            "rms_difference_db": float(np.sqrt(np.mean(difference**2))),
            "difference_db": [round(float(value), 2) for value in difference],
        }
    return found
