"""How often a 95 % interval holds a truth that is known: `COVERAGE` is what these simulations gave."""

import numpy as np
import pytest

from ser_tasks.evaluation.calibration import expected_calibration_error
from ser_tasks.evaluation.metrics import COVERAGE, Counts, Estimate, confusion_by_speaker, estimate, interval
from ser_tasks.evaluation.resampling import mean_estimate
from tests.evaluation.test_evaluation import honest_case

CLASSES, CLIPS, SKILL = 4, 24, 0.6


def models(seed: int, speakers: int, count: int) -> tuple[list[Counts], Counts, list[str]]:
    """Predictions of models that are right in 60 % of the clips of all speakers that there are.

    Speakers differ by an sd of .16 that models share, and each model has its own easy and hard ones among them.
    """
    draw = np.random.default_rng(seed)
    who = np.repeat(np.arange(speakers), CLIPS)
    target = np.tile(np.arange(CLASSES), speakers * CLIPS // CLASSES)
    ease, found = draw.beta(8 * SKILL, 8 * (1 - SKILL), speakers), []
    for _ in range(count):
        own = ease + draw.uniform(-0.7, 0.7, speakers) * np.minimum(ease, 1 - ease)
        right = draw.random(len(target)) < own[who]
        other = (target + 1 + draw.integers(CLASSES - 1, size=len(target))) % CLASSES
        found.append(np.where(right, target, other))
    return found, target, [f"{i:03}" for i in who]


def holds(found: Estimate, truth: float) -> bool:
    return found.low <= truth <= found.high


def test_few_speakers_widen_an_interval_up_to_all_that_was_drawn() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    widths = [high - low for low, high in (interval(values, n) for n in (1, 2, 4, 9, 30, 1000))]
    assert widths[1] == np.ptp(values)
    assert widths[1:] == sorted(widths[1:], reverse=True)
    assert widths[0] == pytest.approx(widths[5], rel=0.01) and widths[5] == pytest.approx(2 * 1.96, rel=0.05)


@pytest.mark.prove
@pytest.mark.parametrize("speakers", sorted(COVERAGE))
def test_the_interval_over_speakers_covers_the_truth_about_as_often_as_is_said(speakers: int) -> None:
    rounds, covered = 1500, {"UAR": 0, "mean": 0}
    for seed in range(rounds):
        (first,), target, speaker = models(seed, speakers, 1)
        by_speaker = confusion_by_speaker(target, first, speaker, CLASSES)
        covered["UAR"] += holds(estimate("uar", by_speaker, 1000, seed), SKILL)
        covered["mean"] += holds(mean_estimate((first == target).astype(float), speaker, 1000, seed), SKILL)
    shares = {name: count / rounds for name, count in covered.items()}
    print(f"{speakers} speakers:", ", ".join(f"{name} {share:.3f}" for name, share in shares.items()))
    assert all(100 * share == pytest.approx(COVERAGE[speakers], abs=6) for share in shares.values()), shares


@pytest.mark.prove
@pytest.mark.parametrize(("sharpness", "clips"), [(1.0, 240), (1.0, 1000), (1.3, 240), (1.8, 240), (1.8, 1000)])
def test_the_calibration_errors_interval_covers_none_and_one_that_is_planted(sharpness: float, clips: int) -> None:
    truth, rounds = expected_calibration_error(*honest_case(10**6, 400_000, sharpness), 2, 0).value, 300
    found = [expected_calibration_error(*honest_case(seed, clips, sharpness), 500, seed) for seed in range(rounds)]
    share = np.mean([one.low <= truth <= one.high for one in found])
    print(f"calibration error {truth:.3f}, {clips} clips of 20 speakers: covered {share:.3f}")
    assert all(one.low <= one.value <= one.high for one in found)
    assert share >= 0.92
