"""AUC inside strata, and its resamples, equal what a plain computation gives."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ser_tasks.rudeness.ranks import auc, draw_clusters, pairs_within, resampled_auc


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.integers(6, size=200).astype(float), draw.random(200) < 0.3, draw.integers(5, size=200)


def test_auc_equals_scikit_learns_with_ties(scored: tuple[np.ndarray, ...]) -> None:
    score, high, _ = scored
    assert auc(score, high) == pytest.approx(roc_auc_score(high, score))


def test_pairs_are_formed_inside_strata(scored: tuple[np.ndarray, ...]) -> None:
    score, high, strata = scored
    won = [(a > b) + (a == b) / 2
           for s in range(5)
           for a in score[(strata == s) & high] for b in score[(strata == s) & ~high]]  # fmt: skip
    assert pairs_within(score, high[:, None], strata).auc()[0] == pytest.approx(np.mean(won))


@pytest.mark.parametrize("tied", [True, False])
def test_many_labellings_at_once_equal_one_after_the_other(tied: bool) -> None:
    draw = np.random.default_rng(1)
    scores = draw.normal(size=(80, 7)).round(1 if tied else 9)
    labels, strata = draw.random((80, 7)) < 0.4, draw.integers(4, size=80)
    together = pairs_within(scores, labels, strata).auc()
    for k in range(7):
        assert together[k] == pytest.approx(pairs_within(scores[:, k], labels[:, [k]], strata).auc()[0])


@pytest.mark.parametrize("within", [True, False])
def test_a_resample_is_the_auc_of_the_clips_drawn(scored: tuple[np.ndarray, ...], within: bool) -> None:
    score, high, speaker = scored
    draws = draw_clusters(5, 20, 0)
    values = resampled_auc(score, high, speaker, draws, within=within)
    for draw, value in zip(draws.astype(int), values, strict=True):
        if within:
            pairs = pairs_within(score, high[:, None], speaker)
            assert value == pytest.approx(draw @ pairs.won[:, 0] / (draw @ pairs.possible[:, 0]))
        else:
            rows = np.concatenate([np.repeat(np.flatnonzero(speaker == s), times) for s, times in enumerate(draw)])
            assert value == pytest.approx(roc_auc_score(high[rows], score[rows]))
