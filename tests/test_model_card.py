"""What stands on the page of a registered version."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ser_tasks.model_card import LIMIT, Card, shortened, write_card
from tests.trainings import make_training

DIFFERENCE = {"value": 0.031, "low": -0.012, "high": 0.074}
GATE = {
    "verdict": "pass", "sentence": "Passes: non-inferior on 9 gate speakers.", "role": "gate", "speakers": 9,
    "difference": DIFFERENCE,
    "criteria": [{"name": "non-inferior", "held": True, "sentence": "UAR difference on 9 gate speakers: +0.031"},
                 {"name": "no harm on b", "held": False, "sentence": "UAR difference on b: -0.200"}],
}  # fmt: skip


def full(folder: Path) -> Card:
    within: dict[str, Any] = dict(make_training(folder, "ser-cnn").card.metrics[0])
    within["slices"] = [{"by": "sex", "best": "male", "worst": "female", "gap": DIFFERENCE, "note": "12 clips"}]
    across = within | {"corpus": "b", "relation": "across"}
    across["variants"] = [
        {"name": "calm as neutral"} | {key: within[key] for key in ("uar", "accuracy", "clips", "speakers")}
    ]
    return Card(
        name="ser-cnn", key="k" * 64, title="CNN on log-mel", note="", synthetic=["c"], metrics=[within, across],
        licences={"c": "CC BY-NC-SA 4.0", "b": "CC0"}, digests={"c": "d" * 64}, gate=GATE,
        known_issues=["1076_MTI_SAD_XX is silent"], shown=3,
        links={"Airflow run": "http://airflow/run", "Report": "http://airflow/page"},
        pictures={"confusion c": "get-artifact?path=figures/confusion.png&run_uuid=1"},
    )  # fmt: skip


def test_a_reviewer_finds_everything_on_the_card(tmp_path: Path) -> None:
    text = write_card(full(tmp_path))
    for expected in (
        "**synthetic** speech (c)",
        "## Gate: pass",
        "Passes: non-inferior on 9 gate speakers.",
        "Difference to the champion, UAR on gate: +0.031 (-0.012 to +0.074).",
        "- held: UAR difference on 9 gate speakers",
        "- **broken**: UAR difference on b",
        "## Intended use and limits",
        "Not for decisions about people",
        "- licence of `c`: CC BY-NC-SA 4.0",
        "**Trained on c, which is not free for commercial use: nor is this model.**",
        "| corpus | | UAR (95 %) | chance | accuracy | clips | speakers |",
        "| c | within | 0.500 (0.400 to 0.600) | 0.500 | 0.500 (0.400 to 0.600) | 1 | 1 |",
        "| b | across | 0.500",
        "| b, calm as neutral | across | 0.500",
        "3 versions of ser-cnn so far were measured on these test speakers.",
        "expected calibration error 0.500 (0.400 to 0.600), with temperature 1.00 (from dev)",
        "![confusion c](get-artifact?path=figures/confusion.png&run_uuid=1)",
        "- c, sex: best male, worst female, gap in UAR 0.031 (-0.012 to 0.074) (12 clips)",
        "- 1076_MTI_SAD_XX is silent",
        f"- `c`: {'d' * 64}",
        "[Airflow run](http://airflow/run)",
        "[Report](http://airflow/page)",
    ):
        assert expected in text


def test_a_long_card_is_cut_to_what_mlflow_keeps_and_says_so(tmp_path: Path) -> None:
    card = full(tmp_path)
    assert shortened(write_card(card)) == write_card(card)
    text = shortened(write_card(replace(card, known_issues=[f"issue {i}: {'x' * 90}" for i in range(80)])))
    assert len(text) <= LIMIT
    assert "the whole card is `card.md`" in text
    assert "[Report](http://airflow/page)" in text and "## Gate: pass" in text
