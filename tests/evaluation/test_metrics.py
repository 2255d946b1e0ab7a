"""Metrics against scikit-learn, intervals by cluster, paired differences."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import METRICS, confusion_by_speaker, estimate, uar

CLASSES = 5


def random_case(seed: int, clips: int = 300, speakers: int = 12) -> tuple[np.ndarray, np.ndarray, list[str]]:
    draw = np.random.default_rng(seed)
    target = draw.integers(CLASSES, size=clips)
    predicted = np.where(draw.random(clips) < 0.5, target, draw.integers(CLASSES, size=clips))
    return target, predicted, [f"s{i}" for i in draw.integers(speakers, size=clips)]


@pytest.mark.parametrize("seed", range(10))
def test_metrics_equal_scikit_learns(seed: int) -> None:
    target, predicted, speaker = random_case(seed)
    confusion = confusion_by_speaker(target, predicted, speaker, CLASSES).sum(axis=0)
    assert METRICS["uar"](confusion) == pytest.approx(recall_score(target, predicted, average="macro"))
    assert METRICS["accuracy"](confusion) == pytest.approx(accuracy_score(target, predicted))
    assert METRICS["macro_f1"](confusion) == pytest.approx(f1_score(target, predicted, average="macro"))


def test_a_class_without_clips_does_not_count() -> None:
    confusion = confusion_by_speaker(np.array([0, 0, 1]), np.array([0, 2, 1]), ["a", "a", "b"], 3).sum(axis=0)
    assert uar(confusion) == pytest.approx(0.75)


def test_intervals_are_wider_when_clips_come_in_clusters() -> None:
    draw = np.random.default_rng(0)
    target = np.tile(np.arange(2), 300)
    skill = np.repeat(draw.random(10), 60)  # each speaker is easy or hard as a whole
    predicted = np.where(draw.random(600) < skill, target, 1 - target)
    clustered = estimate("uar", confusion_by_speaker(target, predicted, [str(i // 60) for i in range(600)], 2), 1000, 0)
    alone = estimate("uar", confusion_by_speaker(target, predicted, [str(i) for i in range(600)], 2), 1000, 0)
    assert clustered.value == alone.value
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(BadInput, match="no prediction"):
        confusion_by_speaker(np.array([], dtype=int), np.array([], dtype=int), [], 2)
