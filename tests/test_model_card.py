"""What stands on the page of a registered version."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ser_tasks.data.conditions import Conditions, Quartiles
from ser_tasks.model_card import LIMIT, Card, shortened, write_card
from tests.trainings import make_training

SHARED = (
    "UAR among the 2 labels that model and corpus share (angry, sad); 0.200 when any of the model's 3 may be answered"
)
HALF = "0.500 (0.400 to 0.600)"
DIFFERENCE = {"value": 0.031, "low": -0.012, "high": 0.074}
GATE = {
    "verdict": "fail", "sentence": "Fails on: no harm on b.", "role": "gate", "speakers": 9,
    "difference": DIFFERENCE,
    "reported": {"name": "c", "speakers": 4, "difference": DIFFERENCE, "heard": []},
    "criteria": [
        {"kind": "difference", "finding": "held", "value": 0.031,
         "sentence": "UAR difference on 9 gate speakers: +0.031"},
        {"kind": "corpus", "finding": "broken", "value": -0.2, "sentence": "UAR difference on b: -0.200"},
        {"kind": "slice", "finding": "open", "value": -0.1, "sentence": "UAR difference on sex male: -0.100"},
        {"kind": "slice", "finding": "held", "value": 0.1, "sentence": "UAR difference on sex female: +0.100"},
        {"kind": "slice", "finding": "held", "value": -0.05, "sentence": "UAR difference on age under 30: -0.050"},
    ],
}  # fmt: skip


def full(folder: Path) -> Card:
    within: dict[str, Any] = dict(make_training(folder, "ser-cnn").card.metrics[0])
    within["slices"] = [
        {
            "by": by,
            "best": "one",
            "worst": "other",
            "gap": DIFFERENCE | {"value": gap},
            "p_holm": 0.2,
            "note": "12 clips",
        }
        for by, gap in (("sex", 0.031), ("age", 0.2), ("race", 0.01), ("duration", 0.15))
    ]
    across = within | {"corpus": "b", "relation": "across"}
    across |= {"labels_protocol": {"sentence": SHARED}, "answers": "all 1 clips are called sad"}
    told = ("uar", "accuracy", "macro_f1", "clips", "speakers", "labels_protocol", "answers")
    across["variants"] = [{"name": "calm as neutral"} | {key: within[key] for key in told}]
    return Card(
        name="ser-cnn", key="k" * 64, title="CNN on log-mel", note="", synthetic=["c"], metrics=[within, across],
        licences={"c": "academic use only", "b": "CC0"}, commercial=["b"], digests={"c": "d" * 64}, gate=GATE,
        known_issues=["1076_MTI_SAD_XX is silent"], shown=3,
        links={"Airflow run": "http://airflow/run", "Report": "http://airflow/page"},
        pictures={"confusion c": "get-artifact?path=figures/confusion.png&run_uuid=1"},
        champion="7", baselines={"c": within},
    )  # fmt: skip


def test_a_reviewer_finds_everything_on_the_card(tmp_path: Path) -> None:
    text = write_card(full(tmp_path))
    for expected in (
        "**synthetic** speech (c)",
        "## Gate: fail",
        "Fails on: no harm on b.",
        "Difference to the champion, version 7: UAR on gate: +0.031 (-0.012 to +0.074).",
        "Reported, not decided on: UAR difference on the test speakers of c (4): +0.031 (-0.012 to +0.074).",
        "- held: UAR difference on 9 gate speakers",
        "- **broken**: UAR difference on b",
        "- **open**: UAR difference on sex male",
        "- held: 2 large slices, the worst: UAR difference on age under 30",
        "## Intended use and limits",
        "Not for decisions about people",
        "- licence of `c`: academic use only (not for commercial use)",
        "- licence of `b`: CC0\n",
        "**Trained on c, which is not free for commercial use: nor is this model.**",
        "UAR: unweighted mean of the classes' recalls. Macro F1: unweighted mean of the classes' F1.",
        "| corpus | | UAR (95 %) | baseline's UAR | chance | accuracy | macro F1 | clips | speakers |",
        f"| c | within | {HALF} | {HALF} | 0.500 | {HALF} | {HALF} | 1 | 1 |",
        f"| b | across | {HALF} |  | 0.500 | {HALF}",
        "| b, calm as neutral | across | 0.500",
        "- c: UAR over all 2 labels of the model\n",
        f"- b: {SHARED}. **all 1 clips are called sad**\n",
        "- b, calm as neutral: UAR over all 2 labels of the model\n",
        "3 versions of ser-cnn so far were measured on these test speakers.",
        "expected calibration error 0.500 (0.400 to 0.600) with the temperature 1.00 that is part of the model (fitted "
        "on 9 dev clips), 0.500 (0.400 to 0.600) without; 15 bins",
        "![confusion c](get-artifact?path=figures/confusion.png&run_uuid=1)",
        "- c, sex: best one, worst other, gap in UAR 0.031 (-0.012 to 0.074), p 0.200 (12 clips)",
        "- 1076_MTI_SAD_XX is silent",
        f"- `c`: {'d' * 64}",
        "[Airflow run](http://airflow/run)",
        "[Report](http://airflow/page)",
    ):
        assert expected in text


def test_a_card_says_how_its_corpus_was_recorded_and_what_to_expect_elsewhere(tmp_path: Path) -> None:
    card = full(tmp_path)
    assert "Recording conditions" not in write_card(card)
    within, across = card.metrics
    told = {"conditions": {"sentences": ["Half of the training corpus is silence.", "The test corpus is noisier."]}}
    known = Conditions(9, 0.54, 0.34, 0.0, Quartiles(-46, -40, -34), None, None, Quartiles(7600, 7700, 7700))
    text = write_card(replace(card, metrics=[within, across | {"across": told}], conditions=known))
    assert "- c (training): 54 % silence, 34 % digital silence, level −40 dB, bandwidth 7.7 kHz\n" in text
    assert "- on b: Half of the training corpus is silence. The test corpus is noisier.\n" in text


def test_the_card_names_whom_the_model_learnt_from_and_what_was_left_out_of_its_test(tmp_path: Path) -> None:
    card = full(tmp_path)
    assert "Learnt from" not in write_card(card)
    left = {"clips": 9, "known": True, "sentence": "Left out of the test: 9 clip(s) of 1 speaker(s) (b1)."}
    none = left | {"clips": 0, "sentence": "The model has learnt from none of these clips."}
    metrics = [dict(card.metrics[0]) | {"seen": none}, dict(card.metrics[1]) | {"seen": left}]
    text = write_card(replace(card, metrics=metrics, learnt=["c: 5 speaker(s) (4 train, 1 dev), 60 clips"]))
    assert "Learnt from c: 5 speaker(s) (4 train, 1 dev), 60 clips." in text
    assert "b: Left out of the test: 9 clip(s) of 1 speaker(s) (b1)." in text
    assert "from none of these clips" not in text


def test_the_widest_gaps_are_shown_and_the_way_to_the_others(tmp_path: Path) -> None:
    text = write_card(full(tmp_path))
    slices = text.partition("## Slices")[2].partition("##")[0].strip().splitlines()
    assert [line.partition(":")[0] for line in slices[:4]] == ["- c, age", "- b, age", "- c, duration", "- b, duration"]
    assert slices[6:] == ["- 2 with smaller gaps: in the report"]


def test_a_gate_on_dev_says_what_that_means(tmp_path: Path) -> None:
    card = full(tmp_path)
    text = write_card(replace(card, gate=GATE | {"role": "dev"}))
    assert "no speakers have the gate role here: dev chose the epoch" in text
    assert "dev chose the epoch" not in write_card(card)


def test_of_a_long_card_what_is_broken_and_the_licences_stay_in_what_mlflow_keeps(tmp_path: Path) -> None:
    """As long as a card of CREMA-D: 29 slices, some of them open, and a first criterion longer than any other line."""
    card = full(tmp_path)
    assert shortened(write_card(card)) == write_card(card)
    criteria = [GATE["criteria"][0] | {"sentence": "the first: " + "x" * 300}, *GATE["criteria"][1:]]  # type: ignore[index]
    criteria += [
        {"kind": "slice", "finding": "open", "value": -0.1, "sentence": f"sentence {i}: {'x' * 150}"} for i in range(29)
    ]
    issues = [f"issue {i}: {'x' * 90}" for i in range(30)]
    long = replace(card, gate=GATE | {"criteria": criteria}, known_issues=issues)
    text = shortened(write_card(long))
    assert len(text) <= LIMIT < len(write_card(long))
    for expected in (
        "the whole card is `card.md`",
        "[Report](http://airflow/page)",
        "## Gate: fail",
        "- held: the first: ",
        "- **broken**: UAR difference on b",
        "- licence of `c`: academic use only (not for commercial use)",
        "- c: expected calibration error",
    ):
        assert expected in text
    assert "- issue" not in text
