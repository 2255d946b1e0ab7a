"""The embedded stack, started for real in a folder of its own: one stack serves this module, the last test ends it."""

import io
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from include.stack import drive, health, objects, ports, processes, supervise
from include.stack.airflow import Airflow
from include.stack.layout import Layout, State

# Away from those of tests/conftest.py and the ports 10,000 above them, which another process may be taking meanwhile.
PREFERRED = {
    "airflow": 22080,
    "mlflow": 22000,
    "s3": 22333,
    "s3_master": 23333,
    "s3_volume": 23340,
    "s3_filer": 22888,
    "s3_admin": 23350,
}

# A study in small: mapped tasks, a detached child that outlives its task, a report in the store and a run record.
TOY_DAG = """
import json
import subprocess
import tempfile
from pathlib import Path

from airflow.sdk import dag, task


@dag(dag_id="ser_study", params={"config": "demo"})
def toy():
    @task
    def plan(params=None):
        if params["config"] == "bad":
            raise ValueError("corpus toy: the manifest is empty")
        return [1, 2]

    @task(pool="gpu")
    def train(fold):
        return fold

    @task
    def report(folds, run_id=None):
        from ser_tasks.store import Store

        subprocess.Popen(["sleep", "600"], start_new_session=True)
        store = Store.from_env()
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "index.html").write_text("<p>the report</p>")
            ref, _ = store.publish("report", "0" * 64, Path(folder), {})
        row = {"model": "toy", "corpus": "toy_corpus", "relation": "within", "uar": 0.5, "low": 0.4, "high": 0.6,
               "n": 100, "speakers": 4, "chance": 0.25, "note": ""}
        auc = {"one_clip": {"name": "AUC of one clip", "value": 0.8, "low": 0.7, "high": 0.9}}
        trait = {"trait": "rudeness", "groups": "", "auc": auc, "n": 80, "speakers": 10}
        summary = {"synthetic": True, "note": "These corpora are synthetic.", "rows": [row], "rudeness": trait,
                   "report": str(ref), "mlflow_run_url": "http://mlflow.example/run"}
        store.put(f"runs/ser_study/{run_id}.json", json.dumps({"summary": summary}).encode())

    report(train.expand(fold=plan()))


toy()
"""


@pytest.fixture(scope="module", autouse=True)
def own_environment() -> Iterator[None]:
    """What a study's end leaves in the environment is not for other modules."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    folder = tmp_path_factory.mktemp("embedded")
    dags = folder / "dags"
    dags.mkdir()
    (dags / "toy.py").write_text(TOY_DAG)
    # Preferred ports that nothing but this module's own blockers take.
    return Layout(local=folder / "local", dags=dags, preferred_ports=ports.choose(PREFERRED, {}))


@pytest.fixture(scope="module")
def state(layout: Layout) -> Iterator[State]:
    with ExitStack() as blockers:
        for name in ("airflow", "mlflow", "s3"):
            blocker = blockers.enter_context(socket.socket())
            blocker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            blocker.bind(("127.0.0.1", layout.preferred_ports[name]))
            blocker.listen()
        try:
            yield supervise.up(layout)
        finally:
            supervise.down(layout)


def pid_of(layout: Layout, program: str) -> int:
    """Its process id; 0 while the supervisor is about to start it."""
    word, _, rest = supervise.status(layout)[program].partition(" ")
    return int(rest.split(",")[0]) if word == "pid" else 0


def wait_until(met: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not met after {seconds} s"
        time.sleep(0.2)


def test_every_part_answers(layout: Layout, state: State) -> None:
    names = supervise.status(layout).keys()
    assert len(names) == 6
    assert {name: health.trouble(name, state, 0.0) for name in names} == dict.fromkeys(names, "")


def test_taken_ports_are_stepped_around(layout: Layout, state: State) -> None:
    for name in ("airflow", "mlflow", "s3"):
        assert state.ports[name] > layout.preferred_ports[name]
    assert state.ports["s3_master"] == layout.preferred_ports["s3_master"]


def test_every_port_is_on_loopback_and_known(layout: Layout, state: State) -> None:
    listening = {
        connection.laddr
        for process in processes.find(layout)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.ip for address in listening} == {"127.0.0.1"}
    servers = set(state.ports.values())
    assert {address.port for address in listening} <= servers | {port + ports.GRPC_OFFSET for port in servers}


def test_secrets_are_the_owners_alone(layout: Layout, state: State) -> None:
    for folder in (layout.local, layout.stack, layout.airflow, layout.logs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    secrets = [value.encode() for value in vars(state.secrets).values()]
    holders = [
        path
        for path in layout.local.rglob("*")
        if path.is_file() and any(secret in path.read_bytes() for secret in secrets)
    ]
    assert {path.name for path in holders} >= {"state.json", "env", "s3.json", layout.airflow_passwords.name}
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in holders} == {path.name: 0o600 for path in holders}


def test_secrets_are_in_no_log_and_on_no_command_line(layout: Layout, state: State) -> None:
    told = b"".join(log.read_bytes() for log in layout.logs.iterdir())
    told += "\n".join(" ".join(process.cmdline()) for process in processes.find(layout)).encode()
    assert [name for name, secret in vars(state.secrets).items() if secret.encode() in told] == []


def test_a_second_up_changes_nothing_and_returns_at_once(layout: Layout, state: State) -> None:
    before, begin = supervise.status(layout).keys(), time.monotonic()
    pids = {name: pid_of(layout, name) for name in before}
    assert supervise.up(layout).ports == state.ports
    assert time.monotonic() - begin < 5
    assert {name: pid_of(layout, name) for name in before} == pids


def test_a_folder_is_sent_once_and_then_only_what_differs(state: State, tmp_path: Path) -> None:
    (tmp_path / "Actor_01").mkdir()
    (tmp_path / "Actor_01" / "a.wav").write_bytes(b"aaaa")
    (tmp_path / "Actor_01" / "b.wav").write_bytes(b"bbbb")
    (tmp_path / ".hidden").write_bytes(b"")
    client = objects.s3_client(state)
    assert objects.upload_folder(client, tmp_path, "ser", "raw/toy") == objects.Synced(files=2, sent=2)
    assert objects.upload_folder(client, tmp_path, "ser", "raw/toy") == objects.Synced(files=2, sent=0)
    (tmp_path / "Actor_01" / "a.wav").write_bytes(b"AAAA")
    (tmp_path / "Actor_01" / "b.wav").unlink()
    assert objects.upload_folder(client, tmp_path, "ser", "raw/toy") == objects.Synced(files=1, sent=1)
    assert client.get_object(Bucket="ser", Key="raw/toy/Actor_01/a.wav")["Body"].read() == b"AAAA"
    assert client.get_object(Bucket="ser", Key="raw/toy/Actor_01/b.wav")["Body"].read() == b"bbbb"


def test_a_study_is_followed_to_its_table_and_report(layout: Layout, state: State) -> None:
    told = io.StringIO()
    assert drive.run_study("demo", [], layout, state, Console(file=told, width=132))
    text = told.getvalue()
    for word in ("train [1]", "success", "These corpora are synthetic.", "0.500 [0.400, 0.600]", "rudeness", "0.800"):
        assert word in text
    (page,) = layout.local.glob("reports/*/index.html")
    assert page.read_text() == "<p>the report</p>"
    assert str(page) in text


def test_a_failed_study_names_the_task_and_ends_with_its_log(layout: Layout, state: State) -> None:
    told = io.StringIO()
    assert not drive.run_study("bad", [], layout, state, Console(file=told, width=132))
    assert "Task plan failed" in told.getvalue()
    assert "ValueError: corpus toy: the manifest is empty" in told.getvalue()
    (command,) = [line for line in told.getvalue().splitlines() if line.startswith("To see more: less ")]
    assert Path(command.removeprefix("To see more: less ").strip("'")).is_file()


def test_the_pool_for_trainings_has_one_slot(state: State) -> None:
    assert Airflow(state).call("GET", "pools/gpu")["slots"] == 1


def test_a_config_outside_its_folder_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine")
    with pytest.raises(supervise.StackError, match="put it there"):
        drive.study_uploads(tmp_path / "mine.yaml", {})


def test_a_killed_program_is_started_again(layout: Layout, state: State) -> None:
    before = pid_of(layout, "seaweedfs")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: pid_of(layout, "seaweedfs") not in (0, before), 20)
    wait_until(lambda: not health.trouble("seaweedfs", state, 0.0), 20)


def test_down_ends_everything_even_after_the_supervisor_was_killed_and_nothing_else(
    layout: Layout, state: State
) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], cwd=layout.stack)
    members = processes.find(layout)
    # The toy's detached `sleep` is found too, though it has a session of its own and its parent is long gone.
    assert "sleep" in {member.name() for member in members}
    (supervisor,) = [member for member in members if "supervisor.supervisord" in member.cmdline()]
    supervisor.kill()
    try:
        assert supervise.down(layout) > 0
        assert [member for member in members if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []
        assert all(map(ports.is_free, state.ports.values()))
        assert all(ports.is_free(port + ports.GRPC_OFFSET) for name, port in state.ports.items() if "s3" in name)
        assert bystander.poll() is None
        assert supervise.down(layout) == 0
    finally:
        bystander.kill()
        bystander.wait()
