"""One protocol for labels: what a number is about where a model and a corpus have other labels than one another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_tasks.builds import compare, evaluate, seeds
from ser_tasks.errors import BadInput
from ser_tasks.evaluation.answers import collapse, in_words, never_answered
from ser_tasks.evaluation.labels import among, open_answers
from ser_tasks.evaluation.metrics import Counts, confusion_by_speaker
from tests.evaluation.test_steps import model
from tests.report.studies import _put

SIX = ["angry", "disgust", "fear", "happy", "neutral", "sad"]
FIVE = [label for label in SIX if label != "fear"]
FOUR = ["angry", "happy", "neutral", "sad"]
RIGHT = 0.6
"""Of the probability that a model gives to what it answers, whatever the number of its labels."""


def stored(folder: Path, labels: list[str], clips: list[str], answer: Callable[[int, str], str]) -> Path:
    """Predictions for 12 speakers (4 dev, 8 test) who say every one of `clips`; `answer`: by number and label."""
    folder.mkdir(parents=True)
    rows = []
    for speaker in range(12):
        role = "dev" if speaker < 4 else "test"
        for number, label in enumerate(clips):
            said = answer(speaker * len(clips) + number, label)
            share = (1 - RIGHT) / len(labels)
            odds = dict.fromkeys(labels, share) | {said: RIGHT + share}
            rows.append([f"{speaker:02}-{number:03}", "c", f"s{speaker:02}", role, label, *odds.values()])
    columns = ["utterance_id", "corpus", "speaker_id", "role", "target", *(f"p_{label}" for label in labels)]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "predictions.parquet")
    _put(folder / "protocol.json", {"description": "by speaker", "taint": ""})
    return folder


def right_in(share: float, labels: list[str]) -> Callable[[int, str], str]:
    """A model that is right in this share of clips, else names the next of its labels."""
    return lambda number, label: (
        label
        if label in labels and (number * 37) % 100 < 100 * share
        else labels[(number + (labels[number % len(labels)] == label)) % len(labels)]
    )


def afraid(folder: Path, five: Path, share: float) -> Path:
    """The same model with a sixth label, which it gives to this share of clips; of the others it thinks as before."""
    frame = pd.read_parquet(five / "predictions.parquet")
    fear = np.where(np.arange(len(frame)) * 37 % 100 < 100 * share, 0.7, 0.0)
    for label in FIVE:
        frame[f"p_{label}"] *= 1 - fear
    folder.mkdir()
    frame.assign(p_fear=fear).to_parquet(folder / "predictions.parquet")
    (folder / "protocol.json").write_bytes((five / "protocol.json").read_bytes())
    return folder


PARAMS = {
    "model": "cnn", "corpus": "c", "relation": "across", "labels": SIX, "label_map": {}, "variants": {},
    "resamples": 300, "seed": 0,
}  # fmt: skip


def evaluated(folder: Path, predictions: Path, **changes: Any) -> dict[str, Any]:
    inputs = {"predictions": predictions, "model": model(folder / "m", "CNN", temperature=1.5)}
    (folder / "out").mkdir()
    evaluate.build(inputs, PARAMS | changes, folder / "out")
    found: dict[str, Any] = json.loads((folder / "out" / "metrics.json").read_text())
    return found


def compared(folder: Path, **predictions: Path) -> dict[str, Any]:
    inputs = {f"predictions/{name}": path for name, path in predictions.items()}
    inputs |= {f"model/{name}": model(folder / f"m-{name}", name.capitalize()) for name in predictions}
    (folder / "compared").mkdir()
    compare.build(inputs, {"corpus": "c", "labels": SIX, "resamples": 500, "seed": 0}, folder / "compared")
    found: dict[str, Any] = json.loads((folder / "compared" / "difference.json").read_text())
    return found


def test_no_model_is_better_only_because_the_other_answers_a_label_that_the_corpus_lacks(tmp_path: Path) -> None:
    """Both hear the same among the labels of the corpus; the baseline says fear, which nobody could have meant."""
    good = stored(tmp_path / "good", FIVE, FIVE * 8, right_in(0.5, FIVE))
    found = compared(tmp_path, base=afraid(tmp_path / "base", good, 0.9), good=good)
    (pair,) = found["pairs"]
    assert pair["uar_difference"]["value"] == 0
    assert pair["verdict"].startswith("undecided")
    assert pair["open"]["verdict"] == "Good is better" and pair["open"]["difference"]["low"] > 0.2
    assert found["labels_protocol"]["shared"] == FIVE
    assert found["labels_protocol"]["model_only"] == ["fear"]


def test_a_label_that_the_corpus_lacks_changes_neither_difference_nor_verdict(tmp_path: Path) -> None:
    clips = FIVE * 8
    models = {"worse": right_in(0.4, FIVE), "better": right_in(0.8, FIVE)}
    without = compared(tmp_path, **{name: stored(tmp_path / name, FIVE, clips, answer)
                                    for name, answer in models.items()})  # fmt: skip
    (tmp_path / "six").mkdir()
    wider = {name: stored(tmp_path / "six" / name, SIX, clips, answer) for name, answer in models.items()}
    (one,), (other,) = without["pairs"], compared(tmp_path / "six", **wider)["pairs"]
    assert one["verdict"] == other["verdict"] == "Better is better"
    assert one["uar_difference"] == other["uar_difference"]
    assert one["open"] is None and other["open"] is None  # nobody says fear: the same either way


def test_models_of_other_labels_are_compared_among_those_that_all_of_them_and_the_corpus_have(tmp_path: Path) -> None:
    six = stored(tmp_path / "six", SIX, SIX * 6, right_in(0.8, SIX))
    four = stored(tmp_path / "four", FOUR, SIX * 6, right_in(0.4, FOUR))
    found = compared(tmp_path, four=four, six=six)
    assert found["labels_protocol"]["shared"] == FOUR
    assert found["labels_protocol"]["corpus_only"] == {"disgust": 48, "fear": 48}
    (pair,) = found["pairs"]
    assert pair["clips"] == 8 * 6 * 4
    assert pair["verdict"] == "Six is better"


def test_seeds_are_compared_under_the_shared_labels_too(tmp_path: Path) -> None:
    good = stored(tmp_path / "good", FIVE, FIVE * 8, right_in(0.6, FIVE))
    base, inputs = afraid(tmp_path / "base", good, 0.9), {}
    for name, predictions in (("cnn", base), ("wav2vec2", good)):
        inputs[f"model/{name}"] = model(tmp_path / name, name.upper())
        inputs |= {f"predictions/{name}/{i}": predictions for i in range(3)}
    (tmp_path / "out").mkdir()
    seeds.build(inputs, {"corpus": "c", "labels": SIX, "seed": 7}, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "seeds.json").read_text())
    assert found["labels_protocol"]["shared"] == FIVE
    assert found["open"]["verdict"] == "WAV2VEC2 is better"
    assert found["models"][0]["mean"] == found["models"][1]["mean"] > 0.5
    assert found["uar_difference"]["value"] == 0 and found["verdict"].startswith("undecided")


def test_a_model_of_six_labels_on_a_corpus_of_four_is_judged_among_the_four_and_openly(tmp_path: Path) -> None:
    half = right_in(0.9, FOUR)
    found = evaluated(
        tmp_path,
        stored(
            tmp_path / "p", SIX, FOUR * 6, lambda n, label: half(n, label) if n % 2 else ["fear", "disgust"][n % 4 // 2]
        ),
    )
    assert found["labels_protocol"]["shared"] == FOUR
    assert found["labels_protocol"]["model_only"] == ["disgust", "fear"]
    assert found["labels_protocol"]["corpus_only"] == {}
    assert found["chance_uar"] == 0.25
    assert found["confusion"]["labels"] == FOUR
    assert np.sum(found["confusion"]["counts"]) == found["clips"] == 8 * 24
    opened = found["open"]
    assert opened["uar"]["value"] < found["uar"]["value"]
    assert opened["uar"]["low"] <= opened["uar"]["value"] <= opened["uar"]["high"]
    assert opened["confusion"]["labels"] == SIX and opened["clips"] == found["clips"]
    assert [row["label"] for row in opened["classes"]] == FOUR  # a class without clips has no recall
    assert opened["uar"]["value"] == pytest.approx(np.mean([row["recall"]["value"] for row in opened["classes"]]))
    assert found["labels_protocol"]["name"] == "shared"
    said = found["labels_protocol"]["sentence"]
    assert said.startswith("UAR among the 4 labels that model and corpus share (angry, happy, neutral, sad); ")
    assert f"{opened['uar']['value']:.3f}" in said and "any of the model's 6 labels" in said
    table = pd.read_csv(tmp_path / "out" / "confusion.csv", index_col=0)
    assert list(table.columns) == list(table.index) == FOUR


def test_a_model_of_four_labels_on_a_corpus_of_six_leaves_the_others_out_and_counts_them(tmp_path: Path) -> None:
    found = evaluated(tmp_path, stored(tmp_path / "p", FOUR, SIX * 4, right_in(0.7, FOUR)))
    assert found["labels_protocol"]["shared"] == FOUR
    assert found["labels_protocol"]["model_only"] == []
    assert found["labels_protocol"]["corpus_only"] == {"disgust": 32, "fear": 32}
    assert "left out: 32 disgust, 32 fear, which the model cannot answer" in found["labels_protocol"]["sentence"]
    assert found["open"] is None
    assert found["clips"] == 8 * 16
    assert found["uar"]["value"] > 0.5


def test_where_all_labels_are_shared_nothing_is_open_and_the_sentence_is_short(tmp_path: Path) -> None:
    found = evaluated(tmp_path, stored(tmp_path / "p", SIX, SIX * 4, right_in(0.7, SIX)))
    assert found["open"] is None
    assert found["labels_protocol"]["sentence"] == "UAR over all 6 labels of the model"
    assert found["collapse"] == "" and found["never_answered"] == []


def test_calibration_is_that_of_probabilities_among_the_shared_labels(tmp_path: Path) -> None:
    """A model that is sure of fear alone is as calibrated as the same model without fear."""
    kept = stored(tmp_path / "five", FIVE, FIVE * 8, right_in(0.7, FIVE))
    wider = afraid(tmp_path / "six", kept, 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = evaluated(tmp_path / "a", kept), evaluated(tmp_path / "b", wider)
    for name in ("ece", "brier"):
        for which in ("raw", "scaled"):
            assert one["calibration"][name][which] == pytest.approx(other["calibration"][name][which])
    assert one["uar"] == other["uar"]
    assert other["open"]["collapse"] == "all 320 clips are called fear"
    assert "(all 320 clips are called fear)" in other["labels_protocol"]["sentence"]


def test_another_label_map_has_shared_labels_of_its_own(tmp_path: Path) -> None:
    predictions = stored(tmp_path / "p", SIX, SIX * 4, right_in(0.7, SIX))
    frame = pd.read_parquet(predictions / "predictions.parquet").query("role == 'test'")
    merged = frame.assign(target=frame["target"].replace({"fear": "sad", "disgust": "angry"}), variant="of four")
    merged.to_parquet(predictions / "variants.parquet")
    found = evaluated(tmp_path, predictions, variants={"of four": {"fear": "sad", "disgust": "angry"}})
    (variant,) = found["variants"]
    assert found["open"] is None and variant["open"]["uar"]["value"] < variant["uar"]["value"]
    assert variant["labels_protocol"]["shared"] == FOUR
    assert variant["chance_uar"] == 0.25


def test_fewer_than_two_shared_labels_are_refused_with_both_sides_and_the_way_out(tmp_path: Path) -> None:
    predictions = stored(tmp_path / "p", FOUR, ["calm", "sad"] * 4, right_in(0.7, FOUR))
    with pytest.raises(BadInput, match=r"the model has angry, happy, neutral, sad; c has calm, sad.*label_map.*--map"):
        evaluated(tmp_path, predictions)


def test_probabilities_among_some_labels_are_those_of_a_softmax_over_them_alone() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (200, 6))
    every = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    kept = [SIX.index(label) for label in FOUR]
    alone = np.exp(logits[:, kept]) / np.exp(logits[:, kept]).sum(axis=1, keepdims=True)
    assert among(every, SIX, FOUR) == pytest.approx(alone)
    assert (among(every, SIX, SIX) == every).all()
    nothing = np.array([[0.0, 1.0, 0.0]])
    assert among(nothing, ["a", "b", "c"], ["a", "c"]).tolist() == [[0.5, 0.5]]


def test_open_answers_outside_the_shared_labels_are_right_for_no_clip() -> None:
    said = open_answers(np.eye(6), SIX, ["sad", "angry"])
    assert said.tolist() == [1, 2, 2, 2, 2, 0]


def confusion_of(target: list[int], chosen: list[int], classes: int) -> Counts:
    return confusion_by_speaker(np.array(target), np.array(chosen), ["s"] * len(target), classes).sum(axis=0)


@pytest.mark.parametrize(
    ("true", "called", "words"),
    [
        ([46] * 6, [0, 0, 0, 0, 0, 276], "all 276 clips are called sad"),
        ([78, 78, 78, 78, 77, 77], [15, 15, 15, 15, 15, 391], "391 of 466 clips are called sad"),
        ([1, 0, 0, 0, 40, 59], [1, 0, 0, 0, 8, 91], "91 of 100 clips are called sad"),
        ([0, 0, 0, 0, 30, 70], [0, 0, 0, 0, 9, 91], ""),  # it is the most frequent by far
        ([0, 0, 0, 0, 50, 50], [0, 0, 0, 0, 24, 76], ""),  # a preference among two
        ([20] * 6, [10, 10, 10, 10, 10, 70], ""),
    ],
)
def test_one_label_for_nearly_all_clips_is_told_in_words(true: list[int], called: list[int], words: str) -> None:
    targets = [i for i, clips in enumerate(true) for _ in range(clips)]
    answers = [i for i, clips in enumerate(called) for _ in range(clips)]
    assert collapse(confusion_of(targets, answers, 6), SIX) == words


def test_labels_that_a_model_never_gives_are_named_unless_all_clips_have_one() -> None:
    some = confusion_of([0, 1, 2, 3], [0, 1, 1, 3], 6)  # the corpus has no clip of the last two
    assert never_answered(some, SIX) == ["fear"]
    assert in_words(some, SIX) == "never answered: fear"
    assert in_words(confusion_of([0, 1, 2, 3], [0, 0, 0, 0], 6), SIX) == "all 4 clips are called angry"
    assert in_words(confusion_of([0, 1, 2, 3], [0, 1, 2, 3], 6), SIX) == ""
