"""What a version says of the gate, with a real MLflow."""

import uuid
from typing import Any

import mlflow
import pytest

from ser_tasks import registry
from ser_tasks.artifact import Ref
from ser_tasks.verdicts import verdict_of

PASS: dict[str, Any] = {"verdict": "pass", "sentence": "Passes.", "criteria": []}
FIRST: dict[str, Any] = {"verdict": "first", "sentence": "There is no champion yet.", "criteria": []}


def trained(key: str) -> Ref:
    return Ref("train_cnn", key * 64, "d" * 64)


@pytest.fixture
def model(mlflow_url: str, seaweedfs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Two versions, of the trainings a and b."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    name, client = f"ser-{uuid.uuid4().hex[:8]}", mlflow.MlflowClient()
    client.create_registered_model(name)
    for key in "ab":
        run, tags = client.create_run("0").info.run_id, {"ser.key": key * 64}
        client.create_model_version(name, f"runs:/{run}/model", run, tags=tags)
    return name


def test_the_version_that_the_gate_compared_with_is_named_and_another_verdict_or_version_is_another_result(
    model: str,
) -> None:
    registry.promote(model, 1, "ann", "first")
    said, tags = verdict_of(model, "c" * 64, trained("a"), PASS)
    assert said == PASS
    assert (tags["ser.gate"], tags["ser.gate_champion"]) == ("pass", "1")
    other = [verdict_of(model, "c" * 64, trained("b"), PASS), verdict_of(model, "c" * 64, trained("a"), FIRST)]
    assert len({tags["ser.gate_result"], *(each["ser.gate_result"] for _, each in other)}) == 3
    assert verdict_of(model, "c" * 64, None, None) == (None, {})


def test_a_champion_keeps_the_verdict_under_which_it_was_offered(model: str) -> None:
    registry.tag(model, 2, {"ser.gate": "undecided", "ser.gate_sentence": "Undecided.", "ser.gate_champion": "1"})
    registry.promote(model, 2, "ann", "better")
    said, tags = verdict_of(model, "b" * 64, trained("b"), PASS)
    assert said == {"verdict": "undecided", "sentence": "Undecided.", "criteria": []}
    assert tags == {"ser.gate": "undecided", "ser.gate_sentence": "Undecided.", "ser.gate_champion": "1"}


def test_a_champion_that_the_gate_did_not_see_is_not_taken_for_none(model: str) -> None:
    """Its training is gone from the store, or it was promoted while the study ran."""
    assert verdict_of(model, "c" * 64, None, FIRST)[0] == FIRST
    registry.promote(model, 1, "ann", "first")
    said, tags = verdict_of(model, "c" * 64, None, FIRST)
    assert said and said["verdict"] == tags["ser.gate"] == "undecided"
    assert "not compared with the champion, version 1" in said["sentence"]
