"""Nights through the real scheduler, on the embedded stack with corpora and models in small."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.stack import objects, ports, services, supervise
from include.stack.airflow import Airflow
from include.stack.layout import CHECKOUT, Layout, State
from ser_tasks import registry
from ser_tasks.annotations.ledger import Drop
from ser_tasks.corpora.demo import make_demo_corpora
from ser_tasks.tracking import READY
from tests.dags.test_promote import DAG as PROMOTE
from tests.dags.test_promote import Review, until

pytestmark = pytest.mark.timeout(3600)  # a night is a whole study, and may share its cores
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
CNN, WAV2VEC2 = "ser-cnn", "ser-wav2vec2"


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

    def start(self, **conf: str) -> str:
        run_id = f"night_{time.time_ns()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self.airflow.call("POST", f"dags/{DAG}/dagRuns", json=body)
        return run_id

    def wait(self, run_id: str, seconds: float = 1500) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (run := self.airflow.run(DAG, run_id))["state"] not in ENDED:
            assert time.monotonic() < deadline, f"{run_id} has not ended: {run}"
            time.sleep(0.5)
        return run

    def night(self, what: str, **conf: str) -> dict[str, Any]:
        """Run a night; gives its state, note, tasks (id and index to state), object and seconds of work."""
        return self.outcome(self.start(**conf), what)

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
               "bytes": found["night"]["spent"]["added"], "requests": found["night"]["spent"]["requests"]}  # fmt: skip
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
            patch.setenv("MLFLOW_TRACKING_URI", state.mlflow_url)
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
    assert "nothing new since the last night: skipped\n0.0 MB added, " in skipped["note"]
    assert {state for name, state in skipped["tasks"].items() if name != "intake"} == {"skipped"}
    assert skipped["seconds"] < 30

    train = nights.clips[:72]
    nights.drop("one.csv", HEAD + rows(train, 4, 1) + rows(train[:20], 2, 1, "a2"))
    trained = nights.night("92 good ratings")
    assert trained["state"] == "success"
    assert trained["night"]["outcome"] == "trained"
    assert {WAV2VEC2, "ser-trait-rudeness"} <= new_versions(trained)
    assert trained["note"].startswith(f"{DAG}/{trained['run_id']}: trained\n")
    assert "agreement on rudeness" in trained["note"]
    assert trained["night"]["evaluation"] == nights.record(trained["run_id"])["summary"]["evaluation"] != ""
    spent = trained["night"]["spent"]
    assert spent["added"] > 1e6 > spent["requests"] > 100
    assert f"{spent['added'] / 1e6:.1f} MB added, {spent['requests']} requests to the store" in trained["note"]

    nights.drop("the same.csv", HEAD + rows(train, 4, 1) + rows(train[:20], 2, 1, "a2"))
    again = nights.night("the same under another name")
    assert again["night"]["outcome"] == "skipped"
    assert "1 file(s) the same as earlier ones, which changes nothing: the same.csv as one.csv" in again["note"]
    page = page_of_nights(nights)
    for night in (skipped, trained, again):
        assert f"{DAG}/{night['run_id']}</td>" in page


def kill_task(nights: Nights, run_id: str, task_id: str) -> None:
    """SIGKILL the process of a task's first try, as soon as it runs."""
    deadline = time.monotonic() + 400
    while True:
        assert time.monotonic() < deadline, f"{task_id} of {run_id} never ran"
        (task,) = [t for t in nights.airflow.tasks(DAG, run_id) if t["task_id"] == task_id] or [{"state": ""}]
        if task["state"] == "running" and task["pid"]:
            time.sleep(1)
            os.kill(task["pid"], signal.SIGKILL)
            return
        assert task["state"] not in ENDED, f"{task_id} ended before it could be killed"
        time.sleep(0.2)


@pytest.mark.prove
def test_a_drop_with_bad_rows_lists_them_and_the_night_goes_on(nights: Nights) -> None:
    text = HEAD + rows(nights.clips[:5], 1, 2, "a3") + "u,a1,rudeness,9,1-5,,x\nu,,rudeness,3,1-5,,x\n"
    nights.drop("bad rows.csv", text)
    found = nights.night("5 good rows, 2 bad ones")
    assert found["night"]["outcome"] == "trained"
    ledger = nights.read("refs/annotations.json")["ledger"].split("/")
    (drop,) = [Drop(**item) for item in read_blob(nights, *ledger[:2], "ledger.json") if item["name"] == "bad rows.csv"]
    assert (drop.accepted, drop.listed) == (5, 2)


@pytest.mark.prove
def test_corrections_train_anew(nights: Nights) -> None:
    nights.drop("corrections.csv", HEAD + rows(nights.clips[:10], 1, 3))
    found = nights.night("10 corrections")
    assert WAV2VEC2 in new_versions(found)


@pytest.mark.prove
def test_a_new_speaker_moves_nobody_and_adds_one_shard(nights: Nights) -> None:
    before = last_record(nights)
    upload(nights.client, nights.corpora["demo_crema_d"], 1006)
    found = nights.night("a new speaker's 36 clips")
    assert found["night"]["outcome"] == "trained"
    after = nights.record(found["run_id"])
    roles = [read_step(nights, record, "split", "", "roles.json")["demo_crema_d"] for record in (before, after)]
    assert roles[1].keys() - roles[0].keys() == {"1006"}
    assert {name: roles[1][name] for name in roles[0]} == roles[0]
    packed = [files_of(nights, record, "pack", "demo_crema_d") for record in (before, after)]
    shards = [{f["sha256"] for f in files if f["name"] != "fingerprints.parquet"} for files in packed]
    assert shards[0] <= shards[1]
    assert len(shards[1] - shards[0]) == 1


@pytest.mark.prove
@pytest.mark.parametrize("task_id", ["intake", "train_wav2vec2"])
def test_killed_tasks_are_run_again_and_nothing_is_lost_or_doubled(nights: Nights, task_id: str) -> None:
    day = {"intake": 5, "train_wav2vec2": 6}[task_id]
    nights.drop(f"kill at {task_id}.csv", HEAD + rows(nights.clips[:30], 3 + day % 2, day))
    version = nights.read("refs/annotations.json")["version"]
    run_id = nights.start()
    kill_task(nights, run_id, task_id)
    found = nights.outcome(run_id, f"30 corrections, SIGKILL at {task_id}")
    assert found["state"] == "success"
    assert nights.read("refs/annotations.json")["version"] == version + 1
    registered = [item for item in found["night"]["registered"] if item["name"] == WAV2VEC2]
    assert len(registered) == 1
    assert registered[0]["new"]
    assert nights.night("nothing, after the kill")["night"]["outcome"] == "skipped"


@pytest.mark.prove
def test_killed_between_registering_and_alias_a_night_ends_with_one_version_and_one_alias(nights: Nights) -> None:
    known = len(registry.versions(WAV2VEC2))
    nights.drop("kill before the alias.csv", HEAD + rows(nights.clips[:30], 2, 7))
    with no_alias_written(nights.layout):
        run_id = nights.start()
        until(lambda: len(registry.versions(WAV2VEC2)) > known, "no new version", seconds=1500)
        kill_registration(nights, run_id)
        made = registry.versions(WAV2VEC2)[0]
        assert READY not in made["tags"]
        assert not made["aliases"]
    found = nights.outcome(run_id, "30 corrections, SIGKILL between registering and alias")
    assert found["state"] == "success"
    assert registration(nights, run_id)["try_number"] == 2
    versions = registry.versions(WAV2VEC2)
    assert len(versions) == known + 1
    assert versions[0]["tags"][READY]
    assert registry.aliases(WAV2VEC2)[registry.CHALLENGER] == made["version"]
    registered = [item for item in found["night"]["registered"] if item["name"] == WAV2VEC2]
    assert registered == [{"name": WAV2VEC2, "version": made["version"], "new": True}]
    assert len(requests_about(nights, WAV2VEC2, made["version"])) == 1
    assert nights.night("nothing, after the kill")["night"]["outcome"] == "skipped"


REFUSE_ALIASES = """
CREATE TRIGGER no_new_alias BEFORE INSERT ON registered_model_aliases BEGIN SELECT * FROM no_such_table; END;
CREATE TRIGGER no_moved_alias BEFORE UPDATE ON registered_model_aliases BEGIN SELECT * FROM no_such_table; END;
"""


@contextmanager
def no_alias_written(layout: Layout) -> Iterator[None]:
    """MLflow's database refuses aliases until the block ends, as if it was busy: clients try again and again."""
    with closing(sqlite3.connect(layout.mlflow / "mlflow.db", timeout=60)) as database:
        database.executescript(REFUSE_ALIASES)
        try:
            yield
        finally:
            database.executescript("DROP TRIGGER no_new_alias; DROP TRIGGER no_moved_alias;")


def registration(nights: Nights, run_id: str) -> dict[str, Any]:
    """The task that registers wav2vec2."""
    tasks = nights.airflow.tasks(DAG, run_id)
    return next(t for t in tasks if t["task_id"] == "register" and t["rendered_map_index"] == "wav2vec2")


def kill_registration(nights: Nights, run_id: str) -> None:
    task = registration(nights, run_id)
    assert task["state"] == "running"
    process = psutil.Process(task["pid"])
    process.kill()
    psutil.wait_procs([process], timeout=10)
    time.sleep(1)  # a request that it had sent is answered by now


def requests_about(nights: Nights, model: str, version: int) -> list[str]:
    """Runs of ser_promote about a version."""
    runs = nights.airflow.call("GET", f"dags/{PROMOTE}/dagRuns", params={"limit": 100})["dag_runs"]
    return [run["dag_run_id"] for run in runs if (run["conf"]["model"], run["conf"]["version"]) == (model, version)]


@pytest.mark.prove
def test_of_two_at_once_one_waits(nights: Nights) -> None:
    nights.drop("two at once.csv", HEAD + rows(nights.clips[:3], 5, 8))
    runs = [nights.start(), nights.start()]
    found = [nights.outcome(run_id, "3 corrections, two nights at once") for run_id in runs]
    assert [item["night"]["outcome"] for item in found] == ["trained", "skipped"]


@pytest.mark.prove
def test_an_approval_waits_while_nights_go_on_and_a_newer_challenger_closes_the_older_one(nights: Nights) -> None:
    ((_, asked),) = waiting(CNN)
    while len(nights_since(nights, asked)) < 3:
        nights.night("nothing, while an approval waits")
    assert all(run["state"] == "success" for run in nights_since(nights, asked))
    until(lambda: len(waiting(WAV2VEC2)) == 1, "the older challengers are not closed")
    ((newest, last_asked),) = waiting(WAV2VEC2)
    until(lambda: unanswered(nights) == {asked, last_asked}, f"{unanswered(nights)} wait")
    assert registry.aliases(WAV2VEC2) == {registry.CHALLENGER: newest}
    older = [row["tags"][registry.REVIEW] for row in registry.versions(WAV2VEC2) if row["version"] < newest]
    assert older == ["superseded"] * (newest - 1)


def unanswered(nights: Nights) -> set[str]:
    """Runs of ser_promote that wait for a person."""
    open_ones = {"response_received": False, "state": "awaiting_input"}
    found = nights.airflow.call("GET", f"dags/{PROMOTE}/dagRuns/~/hitlDetails", params=open_ones)["hitl_details"]
    return {item["task_instance"]["dag_run_id"] for item in found}


def waiting(model: str) -> list[tuple[int, str]]:
    """Versions that wait for an answer, and the run of ser_promote that asks."""
    tags = {row["version"]: row["tags"] for row in registry.versions(model)}
    return [
        (version, each[registry.REVIEW_RUN]) for version, each in tags.items() if each.get(registry.REVIEW) == "waiting"
    ]


def nights_since(nights: Nights, asked: str) -> list[dict[str, Any]]:
    """Nights that began and ended after a request was made."""
    since = nights.airflow.run(PROMOTE, asked)["start_date"]
    runs = nights.airflow.call("GET", f"dags/{DAG}/dagRuns", params={"limit": 100})["dag_runs"]
    return [run for run in runs if run["state"] in ENDED and run["start_date"] > since]


@pytest.mark.prove
def test_approved_and_rolled_back_the_next_nights_gate_compares_with_the_champion_of_then(nights: Nights) -> None:
    review = Review(nights.airflow, nights.layout, nights.state, WAV2VEC2)
    ((newest, asked),) = waiting(WAV2VEC2)
    assert review.ended(review.start(action="promote", version=1)) == "promoted"
    review.answer(asked, "Approve", "heard ten clips")
    assert review.ended(asked) == "promoted"
    assert review.aliases() == {"champion": newest, "previous": 1}
    assert review.review(newest) == ("promoted", "admin", "heard ten clips")
    assert review.ended(review.start(action="rollback", reason="worse in use")) == "promoted"
    assert review.aliases() == {"champion": 1, "previous": newest}

    nights.drop("after the rollback.csv", HEAD + rows(nights.clips[:3], 1, 9))
    found = nights.night("3 corrections, after a rollback")
    assert WAV2VEC2 in new_versions(found)
    aliases = review.aliases()
    assert (aliases["champion"], aliases["previous"]) == (1, newest)
    first = registry.tags_of(WAV2VEC2, 1)["ser.artifact"]
    record = nights.record(found["run_id"])
    gate = manifest_of(nights, record, "gate", "wav2vec2")
    assert gate["inputs"]["champion"] == first
    assert gate["inputs"]["challenger"] == registry.tags_of(WAV2VEC2, newest + 1)["ser.artifact"]
    assert registry.tags_of(WAV2VEC2, newest)[registry.GATE] == "first"
    assert registry.tags_of(WAV2VEC2, newest + 1)[registry.GATE] in ("pass", "fail", "undecided")


@pytest.mark.prove
def test_votes_for_emotions_make_targets_and_a_new_evaluation_and_networks_start_from_the_champion(
    nights: Nights,
) -> None:
    review = Review(nights.airflow, nights.layout, nights.state, WAV2VEC2)
    if registry.CHAMPION not in review.aliases():
        assert review.ended(review.start(action="promote", version=1)) == "promoted"
    champion = registry.tags_of(WAV2VEC2, review.aliases()[registry.CHAMPION])["ser.artifact"]
    before = nights.night("nothing; another configuration: majority, from the champion", config="nights_heard")
    assert before["night"]["outcome"] == "trained"
    assert (
        manifest_of(nights, nights.record(before["run_id"]), "train_wav2vec2", "wav2vec2")["inputs"]["start"]
        == champion
    )
    heard = [f"{clip},v{n},emotion,sad,,2026-01-09T00:00:00Z,test\n" for clip in nights.clips[::36] for n in range(20)]
    nights.drop("heard.csv", HEAD + "".join(heard))
    found = nights.night("20 votes for an emotion on a clip of every speaker", config="nights_heard")
    assert found["night"]["outcome"] == "trained"
    assert {CNN, WAV2VEC2} <= new_versions(found)
    assert found["night"]["evaluation"] != before["night"]["evaluation"]
    manifest = manifest_of(nights, nights.record(found["run_id"]), "train_wav2vec2", "wav2vec2")
    assert manifest["inputs"]["start"] == champion
    same = nights.night("the same votes, where the corpus's own emotions are the targets")
    assert same["night"]["outcome"] == "skipped"


@pytest.mark.prove
def test_the_page_has_every_night(nights: Nights) -> None:
    page = page_of_nights(nights)
    ran = [key.removeprefix("nights/").removesuffix(".json") for key in keys(nights, "nights/")]
    assert len(ran) > 10
    assert all(f"{DAG}/{run_id}</td>" in page for run_id in ran)
    print(json.dumps(nights.table, indent=1))


def page_of_nights(nights: Nights) -> str:
    kind, key, _ = nights.read("refs/nights-page.json")["page"].split("/")
    files = nights.read(f"artifacts/{kind}/{key}/manifest.json")["files"]
    (blob,) = [f"blobs/sha256/{file['sha256']}" for file in files if file["name"] == "index.html"]
    return str(nights.client.get_object(Bucket="ser", Key=blob)["Body"].read().decode())


def keys(nights: Nights, prefix: str) -> list[str]:
    found = nights.client.list_objects_v2(Bucket="ser", Prefix=prefix).get("Contents", [])
    return [item["Key"] for item in found]


def last_record(nights: Nights) -> Any:
    records = [nights.read(key) for key in keys(nights, f"runs/{DAG}/")]
    return max(records, key=lambda record: record["written_at"])


def files_of(nights: Nights, record: Any, step: str, about: str) -> list[dict[str, Any]]:
    return list(manifest_of(nights, record, step, about)["files"])


def manifest_of(nights: Nights, record: Any, step: str, about: str) -> Any:
    (ref,) = [item["ref"] for item in record["steps"] if (item["step"], item["about"]) == (step, about)]
    kind, key, _ = ref.split("/")
    return nights.read(f"artifacts/{kind}/{key}/manifest.json")


def read_step(nights: Nights, record: Any, step: str, about: str, name: str) -> Any:
    (file,) = [item for item in files_of(nights, record, step, about) if item["name"] == name]
    return nights.read(f"blobs/sha256/{file['sha256']}")


def read_blob(nights: Nights, kind: str, key: str, name: str) -> Any:
    files = nights.read(f"artifacts/{kind}/{key}/manifest.json")["files"]
    (file,) = [item for item in files if item["name"] == name]
    return nights.read(f"blobs/sha256/{file['sha256']}")
