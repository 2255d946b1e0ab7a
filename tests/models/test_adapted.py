"""Embeddings standardised by group: what all clips of a group share is taken out, and a second head reads the rest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.builds.adapt import WAYS, fit_adapted, predict_adapted
from ser_tasks.builds.regression import best_regression
from ser_tasks.errors import BadInput
from ser_tasks.models.adapted import FEWEST_CLIPS, load_adapted, save_adapted, standardised
from ser_tasks.training.examples import Examples

LABELS = ["angry", "happy", "sad"]
EACH = 8  # clips of a class by a speaker


class FirstValues(torch.nn.Module):
    """Embeds a clip as its first 4 samples, so that a test says what an embedding is."""

    def embed(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return waveforms[:, :4]


def corpus(folder: Path, speakers: list[str], shift: float, seed: int) -> tuple[PackedAudio, pd.DataFrame]:
    """Classes differ a little in two dimensions; every speaker has a place of his own, much further away."""
    generator = np.random.default_rng(seed)
    rows, clips = [], []
    for speaker in speakers:
        own = generator.normal(shift, 3_000, 4)
        for i in range(EACH * len(LABELS)):
            label = i % len(LABELS)
            values = own + 400 * np.array([label == 1, label == 2, 0, 0]) + generator.normal(0, 150, 4)
            rows.append((f"{speaker}-{i}", speaker, LABELS[label]))
            clips.append((rows[-1][0], np.pad(values, (0, 2_000)).astype(np.int16)))
    write_packed(folder, clips)
    return PackedAudio.open(folder), pd.DataFrame(rows, columns=["utterance_id", "speaker_id", "label"])


def examples(audio: PackedAudio, rows: pd.DataFrame) -> Examples:
    pairs = zip(rows["utterance_id"], rows["label"], strict=True)
    return Examples(audio, [(audio.index_of(name), LABELS.index(label)) for name, label in pairs])


def uar(found: pd.DataFrame, rows: pd.DataFrame, way: str) -> float:
    table = found[found["way"] == way].set_index("utterance_id").loc[rows["utterance_id"]]
    chosen = table[[f"p_{label}" for label in LABELS]].to_numpy().argmax(axis=1)
    truth = np.array([LABELS.index(label) for label in rows["label"]])
    return float(np.mean([(chosen[truth == k] == k).mean() for k in range(len(LABELS))]))


def test_a_speakers_place_is_taken_out_and_what_is_left_when_the_clips_do_not_cover_the_emotions_is_shown(
    tmp_path: Path,
) -> None:
    audio, rows = corpus(tmp_path / "a", [f"s{i}" for i in range(9)], 0, 0)
    train, dev = rows[rows["speaker_id"] < "s6"], rows[rows["speaker_id"] >= "s6"]
    model = FirstValues()
    who = (list(train["speaker_id"]), list(dev["speaker_id"]))
    head = fit_adapted(model, audio, examples(audio, train), examples(audio, dev), who, 3)
    assert head is not None
    save_adapted(tmp_path, head)
    other, tested = corpus(tmp_path / "b", ["x", "y", "z"], 8_000, 1)
    found = predict_adapted(tmp_path, model, other, tested, LABELS, ["speaker", "corpus"])
    assert found is not None
    assert set(found["way"]) == set(WAYS)
    assert uar(found, tested, "speaker") > 0.9
    assert uar(found, tested, "corpus") < 0.6  # three speakers' places are left in it
    two = uar(found, tested, "speaker, two emotions")
    assert two < uar(found, tested, "speaker") - 0.15
    only = predict_adapted(tmp_path, model, other, tested, LABELS, ["corpus"])
    assert only is not None
    assert set(only["way"]) == {"corpus"}


def test_a_group_with_too_few_clips_gets_no_answer() -> None:
    embeddings = np.random.default_rng(0).normal(size=(FEWEST_CLIPS + 3, 2))
    found = standardised(embeddings, ["many"] * FEWEST_CLIPS + ["few"] * 3)
    assert np.isfinite(found[:FEWEST_CLIPS]).all()
    np.testing.assert_allclose(found[:FEWEST_CLIPS].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found[:FEWEST_CLIPS].std(axis=0), 1, atol=1e-4)
    assert np.isnan(found[FEWEST_CLIPS:]).all()


def test_a_model_without_such_a_head_gives_none_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert load_adapted(tmp_path) is None
    audio, rows = corpus(tmp_path / "a", ["s"], 0, 0)
    assert predict_adapted(tmp_path, FirstValues(), audio, rows, LABELS, ["speaker"]) is None
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
