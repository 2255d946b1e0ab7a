"""Champion, previous and challenger in a real MLflow."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from typer.testing import CliRunner

from ser_tasks import promotion, registry
from ser_tasks.cli import app
from ser_tasks.errors import BadInput


@pytest.fixture
def model(mlflow_url: str, seaweedfs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A registered model with three versions; the third is challenger."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    for key, value in seaweedfs.items():
        if key.startswith(("AWS_", "MLFLOW_S3")):
            monkeypatch.setenv(key, value)
    name = f"ser-{uuid.uuid4().hex[:8]}"
    client = mlflow.MlflowClient()
    client.create_registered_model(name)
    for number in (1, 2, 3):
        run = client.create_run("0")
        client.log_metric(run.info.run_id, "within.uar", number / 10)
        client.log_metric(run.info.run_id, "dev_loss", 1.0)
        client.create_model_version(name, f"runs:/{run.info.run_id}/model", run.info.run_id)
    client.set_registered_model_alias(name, "challenger", "3")
    return name


def test_promotion_keeps_the_old_champion_as_previous_and_twice_is_once(model: str) -> None:
    assert registry.promote(model, 1, "ann", "first") == {"name": model, "champion": 1, "previous": None}
    assert registry.promote(model, 3, "ann", "better") == {"name": model, "champion": 3, "previous": 1}
    assert registry.promote(model, 3, "ann", "better") == {"name": model, "champion": 3, "previous": 1}
    assert "challenger" not in registry.aliases(model)
    newest = registry.versions(model)[0]
    assert newest["aliases"] == ["champion"]
    assert newest["tags"]["ser.reviewer"] == "ann"
    assert registry.metrics_of(model, 3) == {"within.uar": 0.3}


WRITES = (
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
    "set_registered_model_tag",
    "delete_registered_model_tag",
)


def killed_at(call: int, action: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run an action that dies instead of its n-th write to MLflow; whether it came so far."""
    made = 0

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            if made == call:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return write

    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(mlflow.MlflowClient, name, dying(getattr(mlflow.MlflowClient, name)))
        try:
            action()
        except KeyboardInterrupt:
            return True
    return False


@pytest.mark.parametrize("call", range(1, 8))
def test_a_promotion_that_is_killed_anywhere_leaves_a_champion_and_converges(
    model: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(model, 1, "ann", "first")
    assert killed_at(call, lambda: registry.promote(model, 3, "ann", "better"), monkeypatch)
    assert registry.aliases(model)["champion"] in (1, 3)
    assert registry.promote(model, 3, "ann", "better") == {"name": model, "champion": 3, "previous": 1}
    assert not killed_at(8, lambda: registry.promote(model, 3, "ann", "better"), monkeypatch), "more writes than cases"


@pytest.mark.prove
@pytest.mark.parametrize("call", range(2, 10))
def test_a_rollback_that_is_killed_after_it_began_is_ended_by_the_next(
    model: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(model, 1, "ann", "first")
    registry.promote(model, 2, "ann", "better")
    assert killed_at(call, lambda: registry.rollback(model, "bob", "worse in use"), monkeypatch)
    assert registry.aliases(model)["champion"] in (1, 2)
    assert registry.rollback(model, "bob", "worse in use") == {"name": model, "champion": 1, "previous": 2}
    assert registry.rollback(model, "bob", "better after all") == {"name": model, "champion": 2, "previous": 1}


@pytest.mark.parametrize("call", range(1, 10))
def test_a_rollback_in_airflow_that_is_killed_anywhere_is_ended_by_the_whole_run_done_again(
    model: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(model, 1, "ann", "first")
    registry.promote(model, 2, "ann", "better")

    def run() -> dict[str, Any]:
        return promotion.settle(promotion.prepare(model, None, "rollback", False, "bob", "run 1"), None, "worse in use")

    assert killed_at(call, run, monkeypatch)
    assert registry.aliases(model)["champion"] in (1, 2)
    assert run() == {"outcome": "promoted", "name": model, "champion": 1, "previous": 2}
    assert not killed_at(10, run, monkeypatch), "more writes than cases"
    assert registry.standing(model) == {"name": model, "champion": 1, "previous": 2}


def test_rollback_swaps_champion_and_previous(model: str) -> None:
    registry.promote(model, 1, "ann", "first")
    with pytest.raises(BadInput, match="no previous champion"):
        registry.rollback(model, "bob", "worse in use")
    registry.promote(model, 2, "ann", "better")
    assert registry.rollback(model, "bob", "worse in use") == {"name": model, "champion": 1, "previous": 2}


def test_a_version_that_was_rolled_back_says_so_and_the_other_keeps_its_own_review(model: str) -> None:
    registry.promote(model, 1, "ann", "heard ten clips", "run 1")
    registry.promote(model, 2, "ann", "better")
    registry.rollback(model, "bob", "worse in use", "run 3")
    left, back = registry.tags_of(model, 2), registry.tags_of(model, 1)
    assert (left["ser.review"], left["ser.reviewer"], left["ser.review_reason"]) == (
        "rolled back",
        "bob",
        "worse in use",
    )
    assert (back["ser.review"], back["ser.reviewer"], back["ser.review_reason"], back["ser.review_run"]) == (
        "promoted", "ann", "heard ten clips", "run 1",
    )  # fmt: skip
    assert back["ser.restored"] == "bob: worse in use"
    registry.rollback(model, "bob", "better after all")
    assert registry.tags_of(model, 2)["ser.review"] == "promoted"
    assert registry.tags_of(model, 1)["ser.review"] == "rolled back"


def test_a_refusal_gives_the_alias_back_to_the_newest_that_waits_or_had_no_answer(model: str) -> None:
    registry.promote(model, 1, "ann", "first")
    registry.tag(model, 2, {"ser.review": "waiting"})
    registry.reject(model, 3, "gate", "worse")
    assert registry.aliases(model) == {"champion": 1, "challenger": 2}
    registry.reject(model, 2, "bob", "worse too")
    assert registry.aliases(model) == {"champion": 1}


def test_what_is_older_than_the_champion_is_no_challenger_again(model: str) -> None:
    registry.tag(model, 1, {"ser.review": "no answer"})
    registry.promote(model, 2, "ann", "better")
    registry.reject(model, 3, "gate", "worse")
    assert registry.aliases(model) == {"champion": 2}


def test_what_only_the_gate_refused_is_a_challenger_again_once_its_verdict_is_another(model: str) -> None:
    registry.tag(model, 3, {"ser.gate": "fail"})
    registry.reject(model, 3, "gate", "worse")
    assert not registry.reopen(model, 3)
    registry.tag(model, 3, {"ser.gate": "pass"})
    assert registry.reopen(model, 3)
    assert registry.aliases(model) == {"challenger": 3}
    assert "ser.review" not in registry.tags_of(model, 3)
    registry.reject(model, 3, "bob", "worse for women")
    assert not registry.reopen(model, 3)


@pytest.mark.parametrize(
    ("champion", "verdict", "decision"),
    [
        ("1", "pass", "promote"),
        ("1", "fail", "refuse"),
        ("2", "pass", "ask"),
        ("2", "fail", "ask"),
        ("", "pass", "ask"),
    ],
)
def test_a_verdict_about_another_champion_than_todays_decides_nothing(
    model: str, champion: str, verdict: str, decision: str
) -> None:
    registry.promote(model, 1, "ann", "first")
    registry.tag(model, 3, {"ser.gate": verdict, "ser.gate_champion": champion, "ser.gate_superior": "yes"})
    assert promotion.prepare(model, 3, "ask", True, "ann", "run 1")["decision"] == decision


def test_a_challenger_that_passes_and_is_not_shown_better_is_not_promoted_without_a_person(model: str) -> None:
    registry.promote(model, 1, "ann", "first")
    registry.tag(model, 3, {"ser.gate": "pass", "ser.gate_champion": "1", "ser.gate_superior": "no"})
    assert promotion.prepare(model, 3, "ask", True, "ann", "run 1")["decision"] == "ask"


def test_the_page_that_asks_has_the_whole_card_and_links_that_people_can_open(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_MLFLOW_URL", "http://for.people/")
    run = registry.client().get_model_version(model, "3").run_id
    registry.client().log_text(run, "![c](get-artifact?path=figures/c.png&run_uuid=1)\n" + "x" * 6000, "card.md")
    body = promotion.prepare(model, 3, "ask", False, "ann", "run 1")["body"]
    assert body.startswith("![c](http://for.people/get-artifact?path=figures/c.png") and body.endswith("x" * 6000)


def test_a_refused_challenger_is_tagged_and_the_champion_stays(model: str) -> None:
    registry.promote(model, 1, "ann", "first")
    assert registry.reject(model, 3, "bob", "worse for women") == {"name": model, "champion": 1, "previous": None}
    tags = registry.versions(model)[0]["tags"]
    assert (tags["ser.review"], tags["ser.reviewer"]) == ("rejected", "bob")
    assert "challenger" not in registry.aliases(model)


def test_what_does_not_exist_is_said(model: str) -> None:
    with pytest.raises(BadInput, match="no version 9; it has: 1, 2, 3"):
        registry.promote(model, 9, "ann", "")
    with pytest.raises(BadInput, match="run ser_study first"):
        registry.aliases("ser-nothing")


def test_the_command_line_lists_compares_promotes_and_rolls_back(model: str) -> None:
    def ser(*words: str) -> str:
        result = CliRunner().invoke(app, ["registry", *words], env={"COLUMNS": "200"}, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "champion is version 1, previous is none" in ser("promote", model, "1")
    assert "champion is version 3, previous is 1" in ser("promote", model, "--reason", "better for older speakers")
    listed = json.loads(ser("list", model, "--json"))[model]
    assert [(row["version"], row["aliases"]) for row in listed] == [(3, ["champion"]), (2, []), (1, ["previous"])]
    assert listed[0]["tags"]["ser.review_reason"] == "better for older speakers"
    assert "better for older speakers" in ser("list")
    compared = ser("compare", model, "champion", "previous")
    assert "+0.200" in compared
    assert "version 3, gate: no verdict" in compared
    assert "dev_loss" not in compared and "not measured on the same" not in compared
    registry.tag(model, 3, {"ser.test": "a b"})
    assert "not measured on the same: test speakers" in ser("compare", model, "champion", "previous")
    assert "champion is version 1, previous is 3" in ser("rollback", model)
    assert "champion is version 2, previous is 1" in ser("rollback", model, "2")
    assert "champion is version 1, previous is 2" in ser("rollback", model)
    with pytest.raises(BadInput, match=r"no alias 'challenger'; it has: champion \(1\), previous \(2\)"):
        ser("promote", model)


def test_without_a_server_the_way_to_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(BadInput, match="make up"):
        registry.models()
