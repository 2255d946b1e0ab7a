"""What a version says of the gate, with a real MLflow."""

import uuid
from datetime import date, timedelta
from typing import Any

import mlflow
import pytest

from ser_tasks import registry
from ser_tasks.artifact import Ref
from ser_tasks.verdicts import level_of, verdict_of

PASS: dict[str, Any] = {"verdict": "pass", "sentence": "Passes.", "criteria": []}
LOOKED = PASS | {"p_better": 0.003, "deciding": ["1001", "1002"], "fewest": 1}
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


def registered(name: str, key: str, tags: dict[str, str]) -> None:
    """What a study leaves of a version that the gate was asked about."""
    client = mlflow.MlflowClient()
    run = client.create_run("0").info.run_id
    client.create_model_version(name, f"runs:/{run}/model", run, tags={"ser.key": key * 64} | tags)


def test_looks_at_the_same_speakers_are_counted_over_a_year_and_the_later_ones_have_less_error_to_spend(
    model: str,
) -> None:
    registry.promote(model, 1, "ann", "first")
    day = date(2026, 5, 1)

    def look(key: str, days: int, gate: dict[str, Any] = LOOKED) -> tuple[str, dict[str, str]]:
        said, tags = verdict_of(model, key * 64, trained("a"), gate, day + timedelta(days=days))
        assert said
        return said["sentence"], tags

    sentence, first = look("c", 0)
    assert (first["ser.gate_look"], first["ser.gate_superior"]) == ("1", "yes")
    assert (
        sentence.startswith("Passes. Look 1 in a year") and "better than the champion at the level 0.0077" in sentence
    )
    registered(model, "c", first)
    assert look("c", 9) == (sentence, first)  # the same result again is no further look

    sentence, second = look("d", 1)
    assert (second["ser.gate_look"], second["ser.gate_superior"]) == ("2", "yes")
    registered(model, "d", second)
    sentence, third = look("e", 2)
    assert (third["ser.gate_look"], third["ser.gate_superior"]) == ("3", "no") and level_of(3) < 0.003
    assert "Look 3" in sentence and "not shown better" in sentence and "a person decides" in sentence
    registered(model, "e", third)

    changed = LOOKED | {"sentence": "Passes again."}  # other labels: the same version is looked at once more
    assert look("e", 3, changed)[1]["ser.gate_looks"] == "2026-05-03 2026-05-04"
    assert look("e", 3, changed)[1]["ser.gate_look"] == "4"
    assert look("f", 3, LOOKED | {"deciding": ["2001"]})[1]["ser.gate_look"] == "1"  # who has never decided
    assert look("f", 366)[1]["ser.gate_look"] == "2"  # those of more than a year ago are forgotten
    sentence, tags = look("g", 3, LOOKED | {"deciding": ["3001"], "fewest": 6})
    assert "under 6 show no model better" in sentence and tags["ser.gate_superior"] == "no"
    failed = LOOKED | {"verdict": "fail", "sentence": "Fails."}
    assert look("f", 3, failed)[0] == "Fails. Look 4 in a year at speakers who decide here."
