"""Continuous or not: what is one kind of clip, what is two, and what is too little to tell."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from ser_tasks.rudeness.agreement import agreement, ordinal_alpha
from ser_tasks.rudeness.dose import Rated, dose_response, mean_and_error, of_table
from ser_tasks.rudeness.ranks import draw_clusters, resampled_auc, within_auc
from ser_tasks.rudeness.shape import dip, dip_test, shape_of
from tests.rudeness.planted import plant


def test_the_dip_equals_that_of_the_r_packages_port() -> None:
    diptest = pytest.importorskip("diptest", reason="GPL, not a part of this project: pip install it to compare")
    draw = np.random.default_rng(0)
    for n in (5, 40, 300):
        for values in (
            draw.normal(size=n),
            draw.random(n),
            np.concatenate([draw.normal(size=n), draw.normal(4, 1, n)]),
        ):
            assert dip(values) == pytest.approx(diptest.dipstat(values), abs=1e-9)


def test_the_dip_of_known_samples() -> None:
    assert dip(np.arange(10.0)) == pytest.approx(0.05)  # 1 / 2n: as unimodal as n values can be
    assert dip(np.array([0.0, 0.001, 0.002, 1.0, 1.001, 1.002])) == pytest.approx(0.25, abs=0.005)


def test_the_dip_test_rejects_one_uniform_sample_in_twenty() -> None:
    draw = np.random.default_rng(1)
    p = [dip_test(draw.random(80), seed)[1] for seed in range(60)]
    assert np.mean(np.array(p) < 0.05) <= 0.15 and 0.35 < np.mean(p) < 0.65


SPEAKERS = 12
LEVELS = (0.65, 0.75, 0.85, 0.95)


def noise(draw: np.random.Generator, n: int, skewed: bool) -> np.ndarray:
    """SD 1; a gamma distribution of shape 2 has skewness 1.4."""
    return (draw.gamma(2, size=n) - 2) / np.sqrt(2) if skewed else draw.normal(size=n)


def grouped(seed: int, n: int, auc: float, kinds: int, skewed: bool) -> dict[str, Any]:
    """Two groups with this AUC: two kinds of clips, or one continuum cut at its median by noisy labels."""
    draw = np.random.default_rng([seed, n])
    speakers = np.arange(n) % SPEAKERS
    apart = np.sqrt(2) * norm.ppf(auc)
    if kinds == 2:
        high = draw.random(n) < 0.5
        score = noise(draw, n, skewed) + apart * high
    else:
        score = noise(draw, n, skewed)
        # correlation of score and what the labels heard: the halves' gap is 1.6 of it, their variance less by .64 of it
        shared = min(2 * norm.ppf(auc) ** 2 / (2.55 + 1.27 * norm.ppf(auc) ** 2), 0.999)
        heard = np.sqrt(shared) * score + np.sqrt(1 - shared) * draw.normal(size=n)
        high = heard > np.median(heard)
    score = score + draw.normal(size=SPEAKERS)[speakers]
    draws = draw_clusters(SPEAKERS, 200, seed)
    low, top = np.percentile(resampled_auc(score, high, speakers, draws, within=True), [2.5, 97.5])
    value = {"value": within_auc(score, high, speakers), "low": low, "high": top}
    return {"score": score, "high": high, "speakers": speakers, "auc": value}


def rated_clips(seed: int, n: int, auc: float, world: str, skewed: bool, error: float = 0.7) -> dict[str, Any]:
    """Clips that three people rate from 1 to 5, and a score with this AUC between the halves of the mean rating.

    Args:
        seed: Of everything.
        n: Clips.
        auc: Of the score.
        world: one (a level, which raters hear and the score follows), saturating (the score follows its tanh), two
            (kinds), or one in four (of the upper kind).
        skewed: Level and noise.
        error: SD of a rating, in points of the scale.
    """
    draw = np.random.default_rng([seed, n])
    speakers = np.arange(n) % SPEAKERS
    level = noise(draw, n, skewed)
    if world in ("two", "one in four"):
        level = 2.0 * (draw.random(n) < (0.5 if world == "two" else 0.25)) - 1
    response = np.tanh(1.5 * level) if world == "saturating" else level
    ratings = np.clip(np.round(3 + level[:, None] + error * draw.normal(size=(n, 3))), 1, 5)
    high = ratings.mean(axis=1) > 3
    gap = response[high].mean() - response[~high].mean()
    inside = (response[high].var() + response[~high].var()) / 2
    # the noise whose SD gives two normal groups this AUC, or as little as can be told
    spread = np.sqrt(max((gap / (np.sqrt(2) * norm.ppf(auc))) ** 2 - inside, 1e-4))
    score = response + spread * (noise(draw, n, skewed) + draw.normal(size=SPEAKERS)[speakers])
    return {"score": score, "rating": of_table(ratings), "high": high, "speakers": speakers}


def test_two_kinds_as_close_as_a_traits_auc_allows_are_never_called_a_continuum() -> None:
    """An AUC of .75 is that of two kinds .95 SD apart, which have one mode as one kind has: n does not help."""
    for n in (240, 2000):
        found = shape_of(**grouped(0, n, 0.75, 2, skewed=False))
        assert found["verdict"] == "cannot be told" and "would look the same" in found["why"], found
        assert found["separation"]["low"] < 0.95 < found["separation"]["high"]


def test_a_skewed_continuum_is_not_called_two_kinds() -> None:
    found = shape_of(**grouped(0, 1500, 0.75, 1, skewed=True))
    assert found["verdict"] == "cannot be told" and found["bic_two_minus_one"] < -10, found


def test_kinds_far_apart_are_found_and_one_kind_is_told_from_them() -> None:
    two, one = grouped(0, 600, 0.9995, 2, skewed=False), grouped(0, 600, 0.9995, 1, skewed=False)
    found = shape_of(**two)
    assert found["verdict"] == "not supported" and "more than one mode" in found["why"]
    found = shape_of(**one | {"auc": two["auc"]})
    assert found["verdict"] == "supported" and found["dip_power"] > 0.95 and found["dip_p_two_kinds"] < 0.05, found


def test_speakers_who_differ_are_no_kinds_of_clips() -> None:
    draw = np.random.default_rng(0)
    speakers = np.arange(400) % 4
    score = draw.normal(size=400) + 6 * (speakers % 2)
    high = draw.random(400) < 0.5
    found = shape_of(score, high, speakers, {"value": 0.75, "low": 0.7, "high": 0.8})
    assert found["verdict"] == "cannot be told" and found["dip_p"] > 0.05


@pytest.mark.parametrize("skewed", [False, True])
def test_ratings_with_grades_tell_a_continuum_from_two_kinds_where_modes_cannot(skewed: bool) -> None:
    auc = {"value": 0.75, "low": 0.7, "high": 0.8}
    one, two = (shape_of(auc=auc, **rated_clips(3, 900, 0.75, world, skewed)) for world in ("one", "two"))
    assert (one["verdict"], one["by"]) == ("supported", "dose and response"), one
    assert "rises with the mean rating inside each half" in one["why"]
    assert (two["verdict"], two["by"]) == ("not supported", "dose and response"), two
    assert "jumps between the halves" in two["why"]


def test_the_error_of_a_mean_rating_comes_from_raters_of_the_same_clip() -> None:
    draw = np.random.default_rng(0)
    clip = 3 + draw.normal(size=(2000, 1))
    heard = clip + np.array([0.5, -0.5, 0.0]) + 0.6 * draw.normal(size=(2000, 3))  # leniency moves all means alike
    assert of_table(heard).error == pytest.approx(0.36 / 3, rel=0.06)
    heard[::2, 2] = np.nan
    table = pd.DataFrame(heard, index=[f"u{i}" for i in range(2000)], columns=["a", "b", "c"])
    long = table.rename_axis("utterance_id").melt(ignore_index=False, var_name="annotator_id", value_name="rating")
    found = mean_and_error(long.dropna().reset_index(), pd.Series([*table.index, "unheard"]))
    assert found.mean[:2] == pytest.approx([heard[0, :2].mean(), heard[1].mean()]) and np.isnan(found.mean[-1])
    assert found.error[0] == pytest.approx(found.error[1] * 1.5)


def test_one_rating_a_clip_or_two_levels_of_it_decide_no_dose() -> None:
    case = rated_clips(0, 300, 0.75, "one", skewed=False)
    once = Rated(case["rating"].mean, np.full(300, np.nan))
    found = dose_response(**case | {"rating": once})
    assert found is not None and found["verdict"] == "cannot be told" and "without two ratings" in found["why"]
    assert found["slope_low"]["value"] > 0
    binary = Rated(1.0 + case["high"], np.full(300, 0.1))
    assert dose_response(**case | {"rating": binary}) is None


def shares(verdicts: list[str]) -> dict[str, float]:
    return {said: verdicts.count(said) / len(verdicts) for said in ("supported", "not supported", "cannot be told")}


@pytest.mark.prove
def test_by_modes_two_kinds_are_never_a_continuum_nor_a_skewed_continuum_two_kinds() -> None:
    """Prints, world by world, how often each verdict is given: at most 5 % may be wrong."""
    print("\nby modes: world, n, AUC: supported / not supported / cannot be told")
    for kinds in (1, 2):
        for skewed in (False, True):
            wrong = []
            for n, rounds, levels in ((240, 25, (*LEVELS, 0.99)), (1000, 25, (*LEVELS, 0.99)), (5000, 5, (0.75, 0.95))):
                for auc in levels:
                    found = [shape_of(**grouped(seed, n, auc, kinds, skewed))["verdict"] for seed in range(rounds)]
                    part = shares(found)
                    print(f"{kinds} {'skewed' if skewed else 'normal'}, n {n}, AUC {auc}: "
                          + " / ".join(f"{value:.2f}" for value in part.values()))  # fmt: skip
                    wrong += [said == ("not supported" if kinds == 1 else "supported") for said in found]
            limit = 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(wrong))
            print(f"{kinds} {'skewed' if skewed else 'normal'}: wrong {np.mean(wrong):.3f} of {len(wrong)}")
            assert np.mean(wrong) <= limit


@pytest.mark.prove
def test_by_dose_and_response_one_verdict_in_twenty_is_wrong_at_most_and_most_are_right() -> None:
    print("\nby dose and response: world, SD of a rating, n, AUC: supported / not supported / cannot be told")
    power = {}
    for world in ("one", "two", "one in four", "saturating"):
        for skewed in (False, True):
            for n in (240, 480, 1500):
                wrong = []
                for error in (0.5, 0.9):
                    for auc in LEVELS:
                        cases = (rated_clips(seed, n, auc, world, skewed, error) for seed in range(60))
                        found = [(dose_response(**case) or {"verdict": "no grades"})["verdict"] for case in cases]
                        said = [{"continuum": "supported", "two kinds": "not supported"}.get(v, v) for v in found]
                        part = shares(said)
                        print(f"{world}, {'skewed' if skewed else 'normal'}, {error}, n {n}, AUC {auc}: "
                              + " / ".join(f"{value:.2f}" for value in part.values()))  # fmt: skip
                        right = "supported" if world in ("one", "saturating") else "not supported"
                        wrong += [verdict in {"supported", "not supported"} - {right} for verdict in said]
                        power[world, skewed, error, n, auc] = part[right]
                rate = np.mean(wrong)
                print(f"{world}, {'skewed' if skewed else 'normal'}, n {n}: wrong {rate:.3f} of {len(wrong)}")
                if world != "saturating":  # a score that saturates looks like kinds: told, not promised
                    assert rate <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(wrong))
    assert min(power[world, False, 0.5, 480, 0.75] for world in ("one", "two", "one in four")) >= 0.7


def test_alpha_equals_the_published_example() -> None:
    """Krippendorff 2011, the example of four observers and twelve units: ordinal alpha .815."""
    nan = np.nan
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    assert ordinal_alpha(np.array(observers).T) == pytest.approx(0.815, abs=5e-4)


def test_the_ceiling_is_what_a_perfect_score_reaches() -> None:
    """Annotators hear a level with noise of half its SD: their mean correlates with it by sqrt(1 / (1 + 1 / 12))."""
    found = agreement(plant("trait", clips=900).ratings, 100, 0)
    assert found is not None
    assert found["annotators"] == 3 and found["utterances"] == 900
    assert found["ceiling"]["low"] < np.sqrt(1 / (1 + 0.25 / 3)) + 0.01 and found["ceiling"]["high"] > 0.93
    assert found["one_against_rest"] < found["ceiling"]["value"]


def test_one_annotator_gives_no_ceiling() -> None:
    ratings = plant("trait").ratings
    assert agreement(ratings[ratings["annotator_id"] == "a0"], 100, 0) is None
