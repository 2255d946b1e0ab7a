"""Review and promotion on the embedded stack: a person's answers come over Airflow's public REST API."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from include.stack import ports, processes, supervise
from include.stack.airflow import Airflow
from include.stack.errors import StackError
from include.stack.layout import Layout, State
from ser_tasks import promotion, registry

DAG = "ser_promote"
PREFERRED = {
    "airflow": 40080,
    "mlflow": 40000,
    "s3": 40333,
    "s3_master": 41333,
    "s3_volume": 41340,
    "s3_filer": 40888,
    "s3_admin": 41350,
}
CARD = "| corpus | UAR (95 %) |\n|---|---|\n| demo | .61 (.55 to .67) |"


@dataclass
class Review:
    """A running stack, and one registered model in it."""

    airflow: Airflow
    layout: Layout
    state: State
    name: str

    def challenger(self, gate: str = "") -> int:
        """A new version with a card, as the registration leaves it."""
        service = registry.client()
        run = service.create_run("0").info.run_id
        tags = {registry.GATE: gate, registry.GATE_SENTENCE: f"the gate's verdict is {gate}"} if gate else {}
        tags |= {registry.GATE_SUPERIOR: "yes"} if gate == "pass" else {}
        tags[registry.GATE_CHAMPION] = str(self.aliases().get(registry.CHAMPION, ""))
        version = int(service.create_model_version(self.name, f"runs:/{run}/model", run, tags=tags).version)
        service.update_model_version(self.name, str(version), f"{CARD}\n\nversion {version}")
        service.set_registered_model_alias(self.name, registry.CHALLENGER, str(version))
        return version

    def start(self, run_id: str = "", **conf: Any) -> str:
        run_id = run_id or f"run_{time.time_ns()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {"model": self.name, **conf}}
        self.airflow.call("POST", f"dags/{DAG}/dagRuns", json=body)
        return run_id

    def hitl(self, run_id: str) -> dict[str, Any]:
        path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        return self.airflow.call("GET", path, missing_ok=True)

    def waits(self, run_id: str) -> dict[str, Any]:
        """The request, once it waits for an answer."""
        until(lambda: self.task(run_id, "approve") == "awaiting_input", f"{run_id} does not ask")
        time.sleep(2)
        return self.hitl(run_id)

    def answer(self, run_id: str, option: str, reason: str = "") -> None:
        self.waits(run_id)
        body = {"chosen_options": [option], "params_input": {"reason": reason} if reason else {}}
        path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        self.airflow.call("PATCH", path, json=body)

    def task(self, run_id: str, task_id: str) -> str | None:
        found = {task["task_id"]: task["state"] for task in self.airflow.tasks(DAG, run_id)}
        return found.get(task_id)

    def ended(self, run_id: str) -> str:
        """The outcome of a run that has ended well."""
        until(lambda: self.airflow.run(DAG, run_id)["state"] in ("success", "failed"), f"{run_id} does not end")
        tasks = self.airflow.tasks(DAG, run_id)
        log = [line for task in tasks if task["state"] == "failed" for line in self.airflow.log(task, 20)]
        assert self.airflow.run(DAG, run_id)["state"] == "success", "\n".join(log)
        assert self.task(run_id, "settle") == "success"
        path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/settle/xcomEntries/return_value"
        return str(self.airflow.call("GET", path)["value"]["outcome"])

    def clear(self, run_id: str) -> None:
        self.airflow.call("POST", f"dags/{DAG}/dagRuns/{run_id}/clear", json={"dry_run": False})

    def aliases(self) -> dict[str, int]:
        return registry.aliases(self.name)

    def review(self, version: int) -> tuple[str, str, str]:
        tags = registry.tags_of(self.name, version)
        return tags[registry.REVIEW], tags[registry.REVIEWER], tags[registry.REASON]


def until(true: Callable[[], bool], otherwise: str, seconds: float = 420) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Layout, State]]:
    layout = Layout(local=tmp_path_factory.mktemp("promotion") / "local", preferred_ports=ports.choose(PREFERRED, {}))
    try:
        state = supervise.up(layout)
        airflow = Airflow(state)

        def parsed() -> bool:
            assert not airflow.call("GET", "importErrors")["import_errors"]
            return bool(airflow.call("GET", f"dags/{DAG}", missing_ok=True))

        until(parsed, "Airflow does not know ser_promote")
        yield layout, state
    finally:
        supervise.down(layout)


@pytest.fixture
def review(stack: tuple[Layout, State], monkeypatch: pytest.MonkeyPatch) -> Iterator[Review]:
    """A model without versions."""
    layout, state = stack
    monkeypatch.setenv("MLFLOW_TRACKING_URI", state.mlflow_url)
    registry.client().create_registered_model("ser-cnn")
    yield Review(Airflow(state), layout, state, "ser-cnn")
    registry.client().delete_registered_model("ser-cnn")


def test_the_first_model_and_its_successor_are_approved_by_a_person_who_saw_the_card(review: Review) -> None:
    first = review.challenger("first")
    run = review.start(version=first)
    asked = review.waits(run)
    assert asked["body"] == f"{CARD}\n\nversion {first}"
    assert asked["subject"] == f"Promote ser-cnn version {first}? (there is no champion yet)"
    assert asked["options"] == ["Approve", "Reject"]
    review.answer(run, "Approve")
    assert review.ended(run) == "promoted"
    assert review.aliases() == {"champion": first}
    assert review.review(first) == ("promoted", "admin", "approved in Airflow")

    second = review.challenger("undecided")
    run = review.start()
    assert f"the champion is version {first}" in review.waits(run)["subject"]
    review.answer(run, "Approve", "heard ten clips")
    assert review.ended(run) == "promoted"
    assert review.aliases() == {"champion": second, "previous": first}
    assert review.review(second) == ("promoted", "admin", "heard ten clips")
    review.clear(run)
    time.sleep(2)
    assert review.ended(run) == "decided already"
    assert review.aliases() == {"champion": second, "previous": first}


def test_a_refused_challenger_is_tagged_with_who_and_why_and_the_champion_stays(review: Review) -> None:
    champion = review.challenger()
    registry.promote(review.name, champion, "ann", "first")
    refused = review.challenger("pass")
    run = review.start(version=refused)
    review.answer(run, "Reject", "worse for women")
    assert review.ended(run) == "rejected"
    assert review.aliases() == {"champion": champion}
    assert review.review(refused) == ("rejected", "admin", "worse for women")


def test_without_an_answer_in_time_the_challenger_stays_one(review: Review) -> None:
    version = review.challenger("undecided")
    run = review.start(version=version, days=5 / 86400)
    assert review.ended(run) == "no answer"
    assert review.task(run, "approve") == "skipped"
    assert review.aliases() == {"challenger": version}
    assert review.review(version)[0] == "no answer"
    with pytest.raises(StackError, match="days"):
        review.start(version=version, days=0)


def test_a_newer_challenger_closes_the_older_request(review: Review) -> None:
    champion = review.challenger()
    registry.promote(review.name, champion, "ann", "first")
    older = review.challenger("pass")
    first = review.start(version=older)
    review.waits(first)
    newer = review.challenger("pass")
    second = review.start(version=newer)
    assert review.ended(first) == "superseded"
    assert review.review(older) == ("superseded", "", f"version {newer} came before an answer")
    review.waits(second)
    waiting = review.airflow.call(
        "GET", f"dags/{DAG}/dagRuns/~/hitlDetails", params={"response_received": False, "state": "awaiting_input"}
    )["hitl_details"]
    assert [item["task_instance"]["dag_run_id"] for item in waiting] == [second]
    assert review.aliases() == {"champion": champion, "challenger": newer}
    review.answer(second, "Approve")
    assert review.ended(second) == "promoted"
    assert review.aliases() == {"champion": newer, "previous": champion}


def test_the_gate_refuses_without_asking_and_promotes_without_asking_only_where_that_is_switched_on(
    review: Review,
) -> None:
    champion = review.challenger()
    registry.promote(review.name, champion, "ann", "first")
    failing = review.challenger("fail")
    run = review.start(version=failing, automatic=True)
    assert review.ended(run) == "rejected"
    assert review.task(run, "approve") == "skipped"
    assert review.review(failing) == ("rejected", "gate", "the gate's verdict is fail")
    assert review.aliases() == {"champion": champion}

    passing = review.challenger("pass")
    run = review.start(version=passing, automatic=True)
    assert review.ended(run) == "promoted"
    assert review.task(run, "approve") == "skipped"
    assert review.review(passing) == ("promoted", "gate", "promotion.automatic: the gate's verdict is pass")
    assert review.aliases() == {"champion": passing, "previous": champion}


def test_any_version_is_promoted_and_the_champion_rolled_back_and_a_run_done_again_changes_nothing(
    review: Review,
) -> None:
    first, second, third = review.challenger(), review.challenger(), review.challenger()
    assert review.ended(review.start(version=first, action="promote")) == "promoted"
    assert review.ended(review.start(version=second, action="promote", reason="by hand")) == "promoted"
    assert review.aliases() == {"champion": second, "previous": first, "challenger": third}
    assert review.review(second) == ("promoted", "admin", "by hand")
    back = review.start(action="rollback", reason="worse in use")
    assert review.ended(back) == "promoted"
    assert review.aliases() == {"champion": first, "previous": second, "challenger": third}
    assert review.review(first) == ("promoted", "admin", "")
    assert review.review(second) == ("rolled back", "admin", "worse in use")
    review.clear(back)
    time.sleep(2)
    assert review.ended(back) == "promoted"
    assert review.aliases() == {"champion": first, "previous": second, "challenger": third}


@pytest.mark.prove
def test_a_promotion_whose_worker_is_killed_between_the_aliases_is_ended_by_the_retry(review: Review) -> None:
    first, second = review.challenger(), review.challenger()
    registry.promote(review.name, first, "ann", "first")
    run = review.start(version=second)
    review.waits(run)
    with mlflow_frozen(review.layout):
        review.answer(run, "Approve")
        until(lambda: review.task(run, "settle") == "running", "settle does not run")
        settle = next(task for task in review.airflow.tasks(DAG, run) if task["task_id"] == "settle")
        until(lambda: kill_worker(review.layout, settle["id"]), "no worker of settle")
    # As its first write leaves it.
    registry.client().set_registered_model_alias(review.name, registry.PREVIOUS, str(first))
    assert review.ended(run) == "promoted"
    settle = next(task for task in review.airflow.tasks(DAG, run) if task["task_id"] == "settle")
    assert settle["try_number"] == 2
    assert review.aliases() == {"champion": second, "previous": first}


@contextmanager
def mlflow_frozen(layout: Layout) -> Iterator[None]:
    """Nobody gets an answer from MLflow until the block ends."""
    members = [member for member in processes.find(layout) if "mlflow" in " ".join(member.cmdline())]
    assert members
    for member in members:
        member.suspend()
    try:
        yield
    finally:
        for member in members:
            member.resume()


def kill_worker(layout: Layout, task_instance: str) -> bool:
    """Kill -9 the process that runs a task; whether there was one."""
    found = [member for member in processes.find(layout) if task_instance in " ".join(member.cmdline())]
    for member in found:
        member.kill()
    return bool(found)


def test_a_study_offers_a_challenger_once(review: Review) -> None:
    version = review.challenger("pass")
    registered = {"name": review.name, "version": version, "run_id": "0123456789abcdef"}
    offered = promotion.offers([registered], automatic=False)
    conf = {"model": review.name, "version": version, "action": "ask", "automatic": False}
    assert offered == [{"trigger_run_id": f"ser-cnn_{version}_01234567", "conf": conf}]
    registry.reject(review.name, version, "ann", "no")
    assert promotion.offers([registered], automatic=False) == []
