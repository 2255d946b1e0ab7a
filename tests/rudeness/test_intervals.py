"""An interval of an AUC holds the AUC of all speakers at its rate, also near 1 and where effects vary by speaker."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from ser_tasks.rudeness.effects import effect_sizes
from ser_tasks.rudeness.null import Value, estimate
from ser_tasks.rudeness.ranks import draw_clusters, pairs_within
from ser_tasks.rudeness.stability import compass


def world(
    truth: float, speakers: int, varies: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # score, high, speaker
    """Scores of clips, half of them high, whose AUC over all speakers that there are is `truth`.

    Args:
        truth: Inside speakers and over all pairs alike.
        speakers: That were recorded: 60 clips of each, 24 from 10 speakers on.
        varies: SD of the effect over speakers, in SD of a speaker's scores.
        seed: Of everything.
    """
    draw = np.random.default_rng([seed, speakers])
    clips = 24 if speakers >= 10 else 60
    speaker = np.repeat(np.arange(speakers), clips)
    high = np.arange(speakers * clips) % 2 == 0
    effect = norm.ppf(truth) * np.sqrt(2 + varies**2) + varies * draw.normal(size=speakers)
    return draw.normal(size=len(speaker)) + high * effect[speaker], high, speaker


def found_in(case: tuple[np.ndarray, np.ndarray, np.ndarray], *, within: bool = True) -> Value:
    score, high, speaker = case
    strata = speaker if within else np.zeros_like(speaker)
    value = float(pairs_within(score, high[:, None], strata).auc()[0])
    return estimate(value, None, score, high, speaker, draw_clusters(int(speaker.max()) + 1, 1, 0), within=within)


def coverage(truth: float, speakers: int, varies: float, rounds: int, *, within: bool) -> tuple[float, float]:
    """Share of worlds in which the interval holds the truth, and its mean width."""
    values = [found_in(world(truth, speakers, varies, seed), within=within) for seed in range(rounds)]
    return (
        float(np.mean([value.low <= truth <= value.high for value in values])),
        float(np.mean([value.high - value.low for value in values])),
    )


@pytest.mark.parametrize("within", [True, False])
def test_the_interval_holds_the_auc_where_effects_vary_by_speaker(within: bool) -> None:
    rounds = 200
    share, width = coverage(0.9, 6, 0.5, rounds, within=within)
    assert share >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / rounds)
    assert width < 0.2


@pytest.mark.prove
@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("truth", [0.6, 0.75, 0.9, 0.99])
def test_the_interval_holds_the_auc_at_its_rate(truth: float, within: bool) -> None:
    rounds = 400
    fewest = 0.95 - 2 * np.sqrt(0.95 * 0.05 / rounds)
    short = []
    pairs = "inside speakers" if within else "all pairs"
    print(f"\n95 % interval of an AUC, {pairs}: share that holds it (mean width), {rounds} corpora each, "
          f"at least {fewest:.3f}")  # fmt: skip
    for varies in (0.0, 0.5):
        cells = {n: coverage(truth, n, varies, rounds, within=within) for n in (4, 6, 10, 24)}
        said = "   ".join(f"{n} speakers {share:.3f} ({width:.3f})" for n, (share, width) in cells.items())
        print(f"AUC {truth:g}, effects vary by {varies:g} SD: {said}")
        short += [(truth, varies, n, share) for n, (share, _) in cells.items() if share < fewest]
    assert not short


def test_an_auc_of_1_has_a_low_end_that_more_speakers_raise() -> None:
    lows = []
    for speakers in (3, 6, 24):
        _, high, speaker = world(0.5, speakers, 0.0, 0)
        value = found_in((high.astype(float), high, speaker))
        assert value.value == value.high == 1.0
        lows.append(value.low)
    assert lows == sorted(lows) and lows[0] > 0.8 and lows[-1] < 1


def test_the_interval_of_scores_turned_over_is_turned_over() -> None:
    score, high, speaker = world(0.75, 6, 0.5, 1)
    value, turned = found_in((score, high, speaker)), found_in((-score, high, speaker))
    assert (turned.low, turned.high) == pytest.approx((1 - value.high, 1 - value.low))


def test_one_speaker_gives_no_interval() -> None:
    score, high, speaker = world(0.75, 4, 0.0, 1)
    high = high & (speaker == 0)
    value = found_in((score, high, speaker))
    assert (value.low, value.high) == (0.0, 1.0)


def effect_coverage(speakers: int, effect: float, varies: float, rounds: int) -> float:
    """Share of worlds in which the interval of Cohen's d holds the effect of all speakers that there are."""
    held = []
    for seed in range(rounds):
        draw = np.random.default_rng([seed, speakers])
        who = np.repeat(np.arange(speakers), 24)
        high = np.arange(len(who)) % 2 == 0
        value = draw.normal(size=len(who)) + 3 * draw.normal(size=speakers)[who]
        value += high * (effect + varies * draw.normal(size=speakers))[who]
        found = effect_sizes(pd.DataFrame({"f0_hz": value}), high, who, 1, seed).iloc[0]
        held.append(found["d_low"] <= effect <= found["d_high"])
    return float(np.mean(held))


def cosine_coverage(speakers: int, dim: int, rounds: int) -> float:
    """Share of worlds in which the interval of the cosine of two directions that share nothing holds 0."""
    held = []
    for seed in range(rounds):
        draw = np.random.default_rng([seed, speakers])
        who = np.repeat(np.arange(speakers), 24)
        high, angry = draw.random((2, len(who))) < 0.4
        values = draw.normal(size=(len(who), dim))
        values[:, 0] += 1.5 * high
        values[:, 1] += 1.5 * angry
        emotions = np.where(angry, "angry", "neutral")
        found = compass(values.astype(np.float32), high, who, list(emotions), {})["anger"]
        held.append(found["low"] <= 0 <= found["high"])
    return float(np.mean(held))


def test_intervals_of_an_effect_and_of_an_angle_hold_the_truth_with_few_speakers() -> None:
    assert effect_coverage(4, 0.5, 0.5, 200) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 200)
    assert cosine_coverage(4, 32, 200) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 200)


@pytest.mark.prove
def test_intervals_of_effects_and_angles_hold_the_truth_at_their_rate() -> None:
    rounds, short = 500, []
    fewest = 0.95 - 2 * np.sqrt(0.95 * 0.05 / rounds)
    print(f"\n95 % intervals, share that holds the truth, {rounds} corpora each, at least {fewest:.3f}")
    for speakers in (4, 6, 10, 24):
        shares = {f"d {effect:g}, varies by {varies:g}": effect_coverage(speakers, effect, varies, rounds)
                  for effect, varies in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5))}  # fmt: skip
        shares |= {f"cosine 0 in {dim} dimensions": cosine_coverage(speakers, dim, rounds) for dim in (32, 384)}
        print(f"{speakers} speakers: {', '.join(f'{name} {share:.3f}' for name, share in shares.items())}")
        short += [(speakers, name, share) for name, share in shares.items() if share < fewest]
    assert not short
