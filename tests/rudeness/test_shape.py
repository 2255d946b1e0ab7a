"""Continuous or not: what is one kind of clip, what is two, and what is too little to tell."""

import numpy as np
import pytest

from ser_tasks.rudeness.agreement import agreement, ordinal_alpha
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


def test_one_gaussian_is_continuous_and_two_far_ones_are_not() -> None:
    draw = np.random.default_rng(0)
    one = shape_of(draw.normal(size=500), chosen_extremes=False, seed=0)
    assert one["verdict"] == "supported", one
    two = shape_of(np.concatenate([draw.normal(size=250), draw.normal(5, 1, 250)]), chosen_extremes=False, seed=0)
    assert two["verdict"] == "not supported" and "more than one mode" in two["why"]
    assert two["silhouette_p"] < 0.05 and two["bic_two_minus_one"] < 0


def test_a_skewed_continuum_is_said_to_divide_the_tests() -> None:
    found = shape_of(np.random.default_rng(0).gamma(1.5, size=800), chosen_extremes=False, seed=0)
    assert found["verdict"] == "not supported" and "the tests disagree" in found["why"]


def test_few_clips_and_chosen_extremes_decide_nothing() -> None:
    draw = np.random.default_rng(0)
    assert shape_of(draw.normal(size=60), chosen_extremes=False, seed=0)["verdict"] == "too little data"
    assert shape_of(draw.normal(size=600), chosen_extremes=True, seed=0)["verdict"] == "too little data"


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
