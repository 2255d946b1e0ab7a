"""Embeddings standardised by group: what all clips of a group share is taken out, and a second head reads the rest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ser_tasks.builds.adapt import WAYS, fit_adapted, predict_adapted
from ser_tasks.builds.regression import best_regression
from ser_tasks.errors import BadInput
from ser_tasks.models.adapted import FEWEST_CLIPS, AdaptedHead, load_adapted, save_adapted, standardised

LABELS = ["angry", "happy", "sad"]
EACH = 8  # clips of a class by a speaker


def corpus(speakers: list[str], shift: float, seed: int) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Classes differ a little in two dimensions; every speaker has a place of his own, much further away."""
    generator = np.random.default_rng(seed)
    rows, embeddings = [], []
    for speaker in speakers:
        own = generator.normal(shift, 30, 4)
        for i in range(EACH * len(LABELS)):
            label = i % len(LABELS)
            rows.append((f"{speaker}-{i}", speaker, LABELS[label]))
            embeddings.append(own + 4 * np.array([label == 1, label == 2, 0, 0]) + generator.normal(0, 1.5, 4))
    return np.array(embeddings), pd.DataFrame(rows, columns=["utterance_id", "speaker_id", "label"])


def numbers(rows: pd.DataFrame) -> NDArray[np.int64]:
    return np.array([LABELS.index(label) for label in rows["label"]])


def uar(found: pd.DataFrame, rows: pd.DataFrame, way: str) -> float:
    table = found[found["way"] == way].set_index("utterance_id").loc[rows["utterance_id"]]
    chosen = table[[f"p_{label}" for label in LABELS]].to_numpy().argmax(axis=1)
    truth = np.array([LABELS.index(label) for label in rows["label"]])
    return float(np.mean([(chosen[truth == k] == k).mean() for k in range(len(LABELS))]))


def test_a_speakers_place_is_taken_out_and_what_is_left_when_the_clips_do_not_cover_the_emotions_is_shown() -> None:
    embeddings, rows = corpus([f"s{i}" for i in range(9)], 0, 0)
    train = (rows["speaker_id"] < "s6").to_numpy()
    head = fit_adapted(
        [embeddings[train], embeddings[~train]],
        [numbers(rows[train]), numbers(rows[~train])],
        [list(rows["speaker_id"][side]) for side in (train, ~train)],
        3,
    )
    assert head is not None
    other, tested = corpus(["x", "y", "z"], 80, 1)
    found = predict_adapted(head, other, tested, LABELS, ["speaker", "corpus"])
    assert set(found["way"]) == set(WAYS)
    assert uar(found, tested, "speaker") > 0.9
    assert uar(found, tested, "corpus") < 0.6  # three speakers' places are left in it
    assert uar(found, tested, "speaker, two emotions") < uar(found, tested, "speaker") - 0.15
    assert set(predict_adapted(head, other, tested, LABELS, ["corpus"])["way"]) == {"corpus"}


def test_without_a_speaker_who_has_clips_enough_there_is_no_head() -> None:
    embeddings, rows = corpus(["a", "b"], 0, 0)
    few = np.arange(len(rows)) % (EACH * len(LABELS)) < FEWEST_CLIPS - 1
    sides = [few & (rows["speaker_id"] == who).to_numpy() for who in ("a", "b")]
    targets, who = [numbers(rows[side]) for side in sides], [list(rows["speaker_id"][side]) for side in sides]
    assert fit_adapted([embeddings[side] for side in sides], targets, who, 3) is None


def test_a_group_with_too_few_clips_gets_no_answer() -> None:
    embeddings = np.random.default_rng(0).normal(size=(FEWEST_CLIPS + 3, 2))
    found = standardised(embeddings, ["many"] * FEWEST_CLIPS + ["few"] * 3)
    assert np.isfinite(found[:FEWEST_CLIPS]).all()
    np.testing.assert_allclose(found[:FEWEST_CLIPS].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found[:FEWEST_CLIPS].std(axis=0), 1, atol=1e-4)
    assert np.isnan(found[FEWEST_CLIPS:]).all()


def test_a_head_is_the_same_after_saving_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert load_adapted(tmp_path) is None
    head = AdaptedHead(np.eye(3, dtype=np.float32), np.arange(3, dtype=np.float32))
    save_adapted(tmp_path, head)
    loaded = load_adapted(tmp_path)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.weight, head.weight)
    np.testing.assert_array_equal(loaded.bias, head.bias)
    (tmp_path / "adapted.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(BadInput, match="train the model again"):
        load_adapted(tmp_path)


def test_two_classes_of_three_are_told_apart_and_the_third_is_never_said() -> None:
    generator = np.random.default_rng(0)
    targets = np.array([0, 2] * 40)
    features = generator.normal(size=(80, 3)) + 3 * (targets[:, None] == 2)
    weight, bias = best_regression((features, targets), (features, targets), (1.0,), 3)
    chosen = (features @ weight.T + bias).argmax(axis=1)
    assert (chosen == targets).mean() > 0.95


def test_a_dimension_that_is_the_same_in_all_clips_but_for_rounding_stays_as_small() -> None:
    embeddings = np.random.default_rng(0).normal(size=(40, 2))
    embeddings[:, 1] = 1e-6 * embeddings[:, 0]
    found = standardised(embeddings, ["one"] * 40)
    assert np.abs(found[:, 1]).max() < 1e-5
