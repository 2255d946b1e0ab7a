"""The AUC of one clip is that of the score that is served: of speakers whose other clips nobody has."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from ser_tasks.rudeness.folds import Layers, held_out, make_folds
from ser_tasks.rudeness.ranks import auc, pairs_within
from ser_tasks.rudeness.traitfile import TraitVector, fit_vector


@dataclass(frozen=True)
class Voices:
    """Speakers who differ by `spread` in every dimension and by `share` in how often they are high."""

    vector: np.ndarray
    spread: float
    share: float

    def recorded(
        self, speakers: int, clips: int, draw: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        speaker = np.repeat(np.arange(speakers), clips)
        often = np.clip(0.5 + self.share * draw.normal(size=speakers), 0.05, 0.95)
        high = draw.random(len(speaker)) < often[speaker]
        values = draw.normal(size=(len(speaker), len(self.vector))) + np.outer(1.5 * high, self.vector)
        values += self.spread * draw.normal(size=(speakers, len(self.vector)))[speaker]
        return values.astype(np.float32), high, speaker


@dataclass(frozen=True)
class Outcome:
    """What is reported, and what 200 speakers get who were not there."""

    one_clip: float
    centred: float
    served: float
    outside: float


def outcome(spread: float, share: float, seed: int, speakers: int = 10) -> Outcome:
    draw = np.random.default_rng(seed)
    vector = draw.normal(size=32)
    voices = Voices(vector / np.linalg.norm(vector), spread, share)
    values, high, speaker = voices.recorded(speakers, 24, draw)
    folds, _ = make_folds([f"{s:02}" for s in speaker])
    run = held_out(Layers(["a"], lambda _: values), high[:, None], folds, speaker)
    trait: TraitVector = fit_vector("x", 0, "mean", values, high, run.raw[:, 0], {})
    new, truth, _ = voices.recorded(200, 6, draw)
    score = trait.score(new).astype(np.float64)
    percentile = trait.percentile(score)
    return Outcome(
        auc(run.raw[:, 0].astype(np.float64), high),
        float(pairs_within(run.scores, high[:, None], np.zeros_like(speaker)).auc()[0]),
        auc(score, truth),
        float(((percentile < 10) | (percentile > 90)).mean()),
    )


def means(spread: float, share: float, rounds: int) -> dict[str, tuple[float, float]]:
    """Mean and standard error over corpora of each field; `off`: of one_clip minus served."""
    found = [outcome(spread, share, seed) for seed in range(rounds)]
    fields = {name: np.array([getattr(one, name) for one in found]) for name in Outcome.__dataclass_fields__}
    fields["off"] = fields["one_clip"] - fields["served"]
    return {name: (float(values.mean()), float(values.std() / np.sqrt(rounds))) for name, values in fields.items()}


def test_the_auc_of_one_clip_is_that_of_new_speakers_and_percentiles_are_theirs() -> None:
    found = means(1.0, 0.0, 30)
    assert abs(found["off"][0]) < 0.02 + 2 * found["off"][1]
    assert found["centred"][0] > found["served"][0] + 0.04  # what was reported before
    assert found["outside"][0] == pytest.approx(0.2, abs=0.03)


@pytest.mark.prove
def test_the_auc_of_one_clip_is_that_of_new_speakers_however_speakers_differ() -> None:
    rounds, wrong = 100, []
    print(f"\n10 speakers held out one by one, means of {rounds} corpora; outside: share of percentiles under 10 or "
          "over 90")  # fmt: skip
    for spread, share in product((0.0, 0.5, 1.0, 2.0), (0.0, 0.25)):
        found = means(spread, share, rounds)
        said = ", ".join(f"{name} {mean:.3f}" for name, (mean, _) in found.items())
        print(f"speakers differ by {spread:g}, shares of high by {share:g}: {said} (+- {found['off'][1]:.3f})")
        wrong += [(spread, share)] if abs(found["off"][0]) > 0.02 + 2 * found["off"][1] else []
        wrong += [(spread, share, "percentile")] if abs(found["outside"][0] - 0.2) > 0.04 else []
    assert not wrong
