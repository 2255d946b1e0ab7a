"""Against ratings: rho, the annotators' ceiling and "who speaks" say no more than there is."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ser_tasks.rudeness.agreement import agreement
from ser_tasks.rudeness.null import Value, shuffled_rows
from ser_tasks.rudeness.rating import correlation, spearman
from ser_tasks.rudeness.verdict import speaker_only


def test_rho_equals_scipys_with_ties() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(50, 3)).round(1), draw.integers(5, size=(50, 3)).astype(float)
    for k in range(3):
        assert spearman(first, second)[k] == pytest.approx(spearmanr(first[:, k], second[:, k]).statistic)


def rated(
    by_speaker: float, slope: float, seed: int, *, speakers: int = 10, clips: int = 24, varies: float = 0.0
) -> Value:
    """Score and rating of clips that go together by `slope`, and both vary by speaker, each by itself."""
    draw = np.random.default_rng(seed)
    who = np.repeat(np.arange(speakers), clips)
    score = draw.normal(size=len(who)) + by_speaker * draw.normal(size=speakers)[who]
    slopes = slope + varies * draw.normal(size=speakers)
    rating = slopes[who] * score + draw.normal(size=len(who)) + by_speaker * draw.normal(size=speakers)[who]
    source = shuffled_rows(rating > np.median(rating), who, 99, seed)
    return correlation(np.repeat(score[:, None], 100, axis=1), rating[source], who)


def test_unrelated_score_and_rating_that_vary_by_speaker_are_seldom_found_to_go_together() -> None:
    rounds = 150
    false = np.mean([(rated(1.0, 0.0, seed).p or 0) <= 0.05 for seed in range(rounds)])
    assert false <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / rounds)
    assert np.mean([(rated(1.0, 0.3, seed).p or 1) <= 0.05 for seed in range(20)]) >= 0.9


@pytest.mark.prove
def test_p_and_interval_of_rho_hold_their_rates() -> None:
    rounds, short = 400, []
    most = 0.05 + 2 * np.sqrt(0.05 * 0.95 / rounds)
    print(f"\nrho of score and rating, 10 speakers of 24 clips, {rounds} corpora; p <= .05 in at most {most:.3f}")
    for by_speaker in (0.0, 0.5, 1.0):
        found = [rated(by_speaker, 0.0, seed) for seed in range(rounds)]
        false = float(np.mean([(one.p or 0) <= 0.05 for one in found]))
        power = float(np.mean([(rated(by_speaker, 0.2, seed).p or 1) <= 0.05 for seed in range(100)]))
        holds = float(np.mean([one.low <= 0 <= one.high for one in found]))
        print(f"vary by speaker by {by_speaker:g}: unrelated p <= .05 in {false:.3f}, slope .2 found in {power:.2f}, "
              f"interval holds 0 in {holds:.3f}")  # fmt: skip
        short += [(by_speaker, false)] if false > most else []
    for speakers in (4, 6, 10, 24):
        shares = []
        for varies in (0.0, 0.3):
            draw = np.random.default_rng(1)
            score, slopes = draw.normal(size=10**6), 0.5 + varies * draw.normal(size=10**6)
            truth = spearmanr(score, slopes * score + draw.normal(size=10**6)).statistic
            found = [rated(0.0, 0.5, seed, speakers=speakers, varies=varies) for seed in range(rounds)]
            shares.append(float(np.mean([one.low <= truth <= one.high for one in found])))
        print(f"{speakers} speakers: the interval holds rho in {shares[0]:.3f}, slopes vary by speaker {shares[1]:.3f}")
        short += [(speakers, share) for share in shares if share < 0.95 - 2 * np.sqrt(0.05 * 0.95 / rounds)]
    assert not short


@dataclass(frozen=True)
class Raters:
    """How utterances are rated: `each` of `pool` annotators an utterance, who differ in leniency by an SD of `bias`."""

    each: int
    pool: int
    noise: float
    bias: float

    def share(self, seed: int, utterances: int = 300) -> float:
        """What a perfect score reaches against the mean rating, in shares of the ceiling."""
        draw = np.random.default_rng(seed)
        latent, leniency = draw.normal(size=utterances), draw.normal(0, self.bias, self.pool)
        who = draw.random((utterances, self.pool)).argsort(axis=1)[:, : self.each]
        heard = 2.5 + 0.9 * latent[:, None] + leniency[who] + draw.normal(0, self.noise, who.shape)
        frame = pd.DataFrame({"utterance_id": np.repeat(np.arange(utterances), self.each),
                              "annotator_id": who.ravel(), "rating": np.clip(heard.round(), 1, 5).ravel()})  # fmt: skip
        reached = spearmanr(latent, frame.groupby("utterance_id")["rating"].mean()).statistic
        found = agreement(frame, 0, 0)
        assert found is not None
        return float(reached / found["ceiling"]["value"])


WORLDS = {
    "3 raters crossed, no leniency": Raters(3, 3, 0.9, 0.0),
    "3 raters crossed, leniency sd .6": Raters(3, 3, 0.9, 0.6),
    "3 raters crossed, leniency sd 1": Raters(3, 3, 0.9, 1.0),
    "5 raters crossed, leniency sd 1": Raters(5, 5, 0.9, 1.0),
    "3 of 12 raters, leniency sd .6": Raters(3, 12, 0.9, 0.6),
    "2 raters, noise 1.5": Raters(2, 2, 1.5, 0.0),
}


def test_a_perfect_score_does_not_beat_a_ceiling_of_raters_who_differ_in_leniency() -> None:
    for name in ("3 raters crossed, leniency sd 1", "3 of 12 raters, leniency sd .6"):
        assert np.mean([WORLDS[name].share(seed) for seed in range(20)]) == pytest.approx(1, abs=0.05), name


@pytest.mark.prove
def test_a_perfect_score_reaches_the_ceiling_and_no_more() -> None:
    print("\nwhat a perfect score reaches, in shares of the ceiling: mean (sd) of 100 corpora of 300 utterances")
    means = {}
    for name, raters in WORLDS.items():
        shares = [raters.share(seed) for seed in range(100)]
        means[name] = float(np.mean(shares))
        print(f"{name}: {means[name]:.3f} ({np.std(shares):.3f})")
    assert all(0.95 <= mean <= 1.05 for mean in means.values()), means


def test_annotators_who_never_met_over_an_utterance_do_not_break_the_ceiling() -> None:
    draw = np.random.default_rng(0)
    latent = draw.normal(size=100)
    rows = [
        (i, f"{'ab'[i % 2]}{k}", latent[i] + 0.5 * draw.normal()) for i in range(100) for k in range(3)
    ]  # two panels
    found = agreement(pd.DataFrame(rows, columns=["utterance_id", "annotator_id", "rating"]), 20, 0)
    assert found is not None and 0.8 < found["ceiling"]["value"] < 1


def by_chance(speakers: int, clips: int, seed: int) -> dict[str, float]:
    draw = np.random.default_rng(seed)
    return speaker_only(draw.random(speakers * clips) < 0.4, np.repeat(np.arange(speakers), clips))


def test_who_speaks_stands_beside_what_chance_gives() -> None:
    found = by_chance(24, 8, 0)
    assert found["null_mean"] > 0.6 and abs(found["value"] - found["null_mean"]) < 0.08 and found["p"] > 0.01
    speakers = np.repeat(np.arange(10), 24)
    told = speaker_only(np.random.default_rng(0).random(240) < np.linspace(0.05, 0.95, 10)[speakers], speakers)
    assert told["value"] > told["null_mean"] + 0.2 and told["p"] < 0.01


@pytest.mark.prove
def test_who_speaks_exceeds_chance_at_its_rate() -> None:
    rounds = 300
    print(f"\n'who speaks' on labels that are unrelated to speakers, {rounds} corpora")
    for speakers, clips in ((4, 60), (10, 24), (24, 8), (40, 4)):
        found = [by_chance(speakers, clips, seed) for seed in range(rounds)]
        value, chance = (float(np.mean([one[name] for one in found])) for name in ("value", "null_mean"))
        false = float(np.mean([one["p"] <= 0.05 for one in found]))
        print(f"{speakers} speakers of {clips} clips: AUC {value:.3f}, chance {chance:.3f}, p <= .05 in {false:.3f}")
        assert value == pytest.approx(chance, abs=0.01)
        assert false <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / rounds)
