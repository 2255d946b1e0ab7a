"""Nights through the real scheduler, on the embedded stack with corpora and models in small."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from include.stack import objects, ports, services, supervise
from include.stack.airflow import Airflow
from include.stack.layout import CHECKOUT, Layout, State
from ser_tasks.corpora.demo import make_demo_corpora

DAG = "ser_nightly_retrain"
PREFERRED = {
    "airflow": 38080,
    "mlflow": 35000,
    "s3": 38333,
    "s3_master": 39333,
    "s3_volume": 39340,
    "s3_filer": 38888,
    "s3_admin": 39350,
}
HEAD = "utterance_id,annotator_id,trait,rating,scale,created_at,source\n"
ENDED = ("success", "failed")


@dataclass
class Nights:
    """A running stack and what tests do with it."""

    layout: Layout
    state: State
    airflow: Airflow
    corpora: dict[str, Path]
    clips: list[str]
    table: list[dict[str, Any]] = field(default_factory=list)

    @property
    def client(self) -> Any:
        return objects.s3_client(self.state)

    def drop(self, name: str, text: str) -> None:
        self.client.put_object(Bucket="ser", Key=f"annotations/incoming/{name}", Body=text.encode())

    def read(self, key: str) -> Any:
        return json.loads(self.client.get_object(Bucket="ser", Key=key)["Body"].read())

    def start(self) -> str:
        run_id = f"night_{time.time_ns()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {}}
        self.airflow.call("POST", f"dags/{DAG}/dagRuns", json=body)
        return run_id

    def wait(self, run_id: str, seconds: float = 600) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (run := self.airflow.run(DAG, run_id))["state"] not in ENDED:
            assert time.monotonic() < deadline, f"{run_id} has not ended: {run}"
            time.sleep(0.5)
        return run

    def night(self, what: str) -> dict[str, Any]:
        """Run a night; gives its state, note, tasks (id and index to state), object and seconds of work."""
        return self.outcome(self.start(), what)

    def outcome(self, run_id: str, what: str) -> dict[str, Any]:
        run = self.wait(run_id)
        tasks = self.airflow.tasks(DAG, run_id)
        names = {f"{t['task_id']}[{t['map_index']}]" if t["map_index"] >= 0 else t["task_id"]: t for t in tasks}
        ends = [datetime.fromisoformat(run[key]) for key in ("start_date", "end_date")]
        found = {
            "state": run["state"],
            "note": run["note"] or "",
            "tasks": {name: task["state"] for name, task in names.items()},
            "night": self.read(f"nights/{run_id}.json"),
            "seconds": (ends[1] - ends[0]).total_seconds(),
            "run_id": run_id,
        }
        if found["state"] == "failed":
            bad = [t for t in tasks if t["state"] == "failed"]
            print("\n".join(line for t in bad for line in [t["task_id"], *self.airflow.log(t, 30)]))
        row = {"dropped": what, "outcome": found["night"]["outcome"], "seconds": round(found["seconds"], 1),
               "bytes": found["night"].get("bytes", 0)}  # fmt: skip
        self.table.append(row)
        print(json.dumps(row))
        return found

    def record(self, run_id: str) -> Any:
        return self.read(f"runs/{DAG}/{run_id}.json")


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    folder = tmp_path_factory.mktemp("nights")
    layout = Layout(local=folder / "local", dags=CHECKOUT / "dags", preferred_ports=ports.choose(PREFERRED, {}))
    usual = services.settings

    def settings(layout: Layout, state: State) -> dict[str, str]:
        small = {"SER_CONFIGS": str(CHECKOUT / "tests" / "configs"), "SER_NIGHTLY_CONFIG": "nights"}
        return usual(layout, state) | small | {"HF_HUB_OFFLINE": "1"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "settings", settings)
        try:
            state = supervise.up(layout)
            corpora = make_demo_corpora(folder / "demo", crema_d_actors=6, ravdess_actors=1, iemocap_sessions=3)
            client = objects.s3_client(state)
            for actor in range(1001, 1006):
                upload(client, corpora["demo_crema_d"], actor)
            objects.upload_folder(client, corpora["demo_iemocap"], "ser", "raw/demo_iemocap")
            clips = sorted(path.stem for path in corpora["demo_crema_d"].rglob("*.wav"))
            airflow = Airflow(state)
            wait_for_dag(airflow)
            yield Nights(layout, state, airflow, corpora, clips)
        finally:
            supervise.down(layout)


def upload(client: Any, folder: Path, actor: int) -> None:
    """The side files and one actor's clips of the demo's CREMA-D."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix != ".wav" or path.name.startswith(str(actor))):
            key = f"raw/demo_crema_d/{path.relative_to(folder).as_posix()}"
            client.put_object(Bucket="ser", Key=key, Body=path.read_bytes())


def wait_for_dag(airflow: Airflow) -> None:
    deadline = time.monotonic() + 120
    while not airflow.call("GET", f"dags/{DAG}", missing_ok=True):
        assert time.monotonic() < deadline, airflow.call("GET", "importErrors")
        time.sleep(0.5)
    airflow.call("PATCH", f"dags/{DAG}", json={"is_paused": False})
    # Switched on, the schedule makes the night that was due last.
    time.sleep(5)
    for run in airflow.call("GET", f"dags/{DAG}/dagRuns")["dag_runs"]:
        while airflow.run(DAG, run["dag_run_id"])["state"] not in ENDED:
            time.sleep(1)


def rows(clips: list[str], rating: int, day: int, annotator: str = "a1") -> str:
    return "".join(f"{clip},{annotator},rudeness,{rating},1-5,2026-01-{day:02d}T00:00:00Z,test\n" for clip in clips)


def new_versions(found: dict[str, Any]) -> set[str]:
    return {item["name"] for item in found["night"].get("registered", []) if item["new"]}


def test_first_night_then_skip_then_a_drop_then_the_same_again(nights: Nights) -> None:
    first = nights.night("nothing; the first night")
    if first["night"]["outcome"] == "skipped":  # the schedule's own run came before
        assert "nothing new" in first["note"]
    skipped = nights.night("nothing")
    assert skipped["state"] == "success"
    assert skipped["night"]["outcome"] == "skipped"
    assert "nothing new since the last night: skipped" in skipped["note"]
    assert {state for name, state in skipped["tasks"].items() if name != "intake"} == {"skipped"}
    assert skipped["seconds"] < 30

    train = nights.clips[:72]
    nights.drop("one.csv", HEAD + rows(train, 4, 1) + rows(train[:20], 2, 1, "a2"))
    trained = nights.night("92 good ratings")
    assert trained["state"] == "success"
    assert trained["night"]["outcome"] == "trained"
    assert "ser-wav2vec2" in new_versions(trained)
    assert "agreement on rudeness" in trained["note"]
    assert trained["night"]["bytes"] > 0

    nights.drop("the same.csv", HEAD + rows(train, 4, 1) + rows(train[:20], 2, 1, "a2"))
    again = nights.night("the same under another name")
    assert again["night"]["outcome"] == "skipped"
    assert "the same as one.csv, changes nothing" in again["note"]
