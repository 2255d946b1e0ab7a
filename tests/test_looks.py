"""A year of nights at the same gate speakers: how often challengers that are no better are promoted unasked."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from ser_tasks.evaluation.comparison import paired_difference
from ser_tasks.evaluation.gate import GateOptions, decide
from ser_tasks.evaluation.metrics import Counts, uar
from ser_tasks.verdicts import ERROR_A_YEAR, LOOKS_A_YEAR, level_of
from tests.evaluation.test_comparison import SKILL, at_most, clips_of, confusions


@dataclass(frozen=True)
class Year:
    """What a year of nights brought.

    Attributes:
        automatic: Look at which the first challenger was promoted without a person; 0: none.
        passed: Challengers that passed the gate.
        looked_better: Challengers whose 95 % interval at their own look lies above 0.
    """

    automatic: int
    passed: int
    looked_better: int


def a_year(
    draw: np.random.Generator, speakers: int, nights: int, unequal: bool, better: float = 0.0, own: float = 0.3
) -> Year:
    """Every night another challenger is compared with the champion on the same clips of the same gate speakers."""
    ease = draw.beta(8 * SKILL, 8 * (1 - SKILL), speakers)
    skill = ease + draw.uniform(-own, own, (nights + 1, speakers)) * np.minimum(ease, 1 - ease)
    skill[1:] += better
    clips = clips_of(draw, speakers, unequal)
    answers = confusions(draw.binomial(clips, np.clip(skill, 0, 1)[..., None]), clips)
    options, automatic, passed, looked_better = GateOptions(), 0, 0, 0
    for night in promising(answers, options.margin):
        found = paired_difference(answers[0], answers[night])
        verdict = decide(found.estimate(), speakers, "gate", [], [], options)["verdict"]
        passed += verdict == "pass"
        looked_better += found.estimate().low > 0
        if verdict == "pass" and found.p_better <= level_of(night) and not automatic:
            automatic = night
    return Year(automatic, passed, looked_better)


def promising(answers: Counts, margin: float) -> list[int]:
    """Nights whose challenger may pass: those of which the difference is at all large beside its error.

    So that a year takes a fraction of a second: the others fail the gate's own test of non-inferiority.
    """
    differences = uar(answers.sum(axis=1)) - uar(answers[0].sum(axis=0))
    without = uar(answers.sum(axis=1, keepdims=True) - answers) - uar(answers[0].sum(axis=0) - answers[0])
    n = answers.shape[1]
    errors = np.sqrt((n - 1) / n * np.square(without - differences[:, None]).sum(axis=1))
    reach = stats.t.ppf(0.975, n - 1) * errors  # at least: with unequal clips the gate's t has fewer degrees of freedom
    return [int(night) for night in np.flatnonzero(differences - reach > -margin) if night]


def test_the_levels_of_a_years_looks_sum_to_its_error_and_a_later_look_has_nothing() -> None:
    levels = [level_of(look) for look in range(1, LOOKS_A_YEAR + 1)]
    assert sum(levels) == pytest.approx(ERROR_A_YEAR)
    assert levels == sorted(levels, reverse=True) and level_of(LOOKS_A_YEAR + 1) == 0
    assert levels[0] == pytest.approx(0.0077, abs=1e-4)


def test_in_years_of_nights_with_equal_challengers_many_look_better_and_hardly_one_is_promoted_unasked() -> None:
    draw = np.random.default_rng(0)
    years = [a_year(draw, 10, 120, unequal=False) for _ in range(20)]
    assert np.mean([year.looked_better > 0 for year in years]) > 0.5  # what a look by itself would have promoted
    assert np.mean([year.automatic > 0 for year in years]) <= at_most(ERROR_A_YEAR, 20)


@pytest.mark.prove
@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("speakers", [6, 10, 20])
def test_equal_challengers_are_promoted_without_a_person_in_one_year_of_twenty_at_most(
    speakers: int, unequal: bool
) -> None:
    rounds, draw = 400, np.random.default_rng([speakers, unequal])
    years = [a_year(draw, speakers, LOOKS_A_YEAR, unequal) for _ in range(rounds)]
    share = np.mean([year.automatic > 0 for year in years])
    looked = np.mean([year.looked_better for year in years])
    print(
        f"nights, {speakers} gate speakers, {'un' if unequal else ''}equal clips: years with a false automatic "
        f"promotion {share:.3f} (nominal {ERROR_A_YEAR}, n {rounds}); by its own look alone {looked:.1f} challengers "
        f"a year look better and {np.mean([year.passed for year in years]):.1f} are non-inferior"
    )
    assert share <= at_most(ERROR_A_YEAR, rounds)


@pytest.mark.prove
@pytest.mark.parametrize("speakers", [6, 10, 20])
def test_a_better_challenger_is_promoted_without_a_person_the_sooner_the_fewer_looks_there_were(speakers: int) -> None:
    draw, rounds, power = np.random.default_rng(speakers), 60, {}
    for better in (0.1, 0.2):
        years = [a_year(draw, speakers, 30, False, better) for _ in range(rounds)]
        for by in (1, 10, 30):
            power[better, by] = np.mean([0 < year.automatic <= by for year in years])
            print(
                f"nights, {speakers} gate speakers: of challengers better by {better:g} one is promoted unasked by "
                f"look {by} in {power[better, by]:.2f} of years"
            )
    assert power[0.2, 30] >= power[0.1, 30] and power[0.2, 30] >= power[0.2, 1]
