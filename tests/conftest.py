"""A real SeaweedFS for the tests, the same program with the same settings as in the embedded stack."""

import os
import signal
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from include.stack.layout import Layout, State
from include.stack.objects import s3_client
from include.stack.ports import choose
from include.stack.services import environment, programs, settings, write_files
from ser_tasks.store import Store

TEST_PORTS = {
    "airflow": 18080,
    "mlflow": 15000,
    "s3": 18333,
    "s3_master": 19333,
    "s3_volume": 19340,
    "s3_filer": 18888,
    "s3_admin": 19350,
}
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Of the processes that share the test files: each has servers of its own, which must not look for the same ports."""
os.environ.pop("COLUMNS", None)
"""Set for those processes as the width of a terminal: tables would be cut to it."""
SHARED_CORPORA = Path(os.environ.get("SER_TEST_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, State]:
    """Folders, ports and secrets of the servers that tests start one by one."""
    layout = Layout(local=tmp_path_factory.mktemp("stack"))
    layout.make()
    state = State(ports=choose({name: port + 100 * WORKER for name, port in TEST_PORTS.items()}, {}))
    write_files(layout, state)
    return layout, state


@contextmanager
def running(parts: tuple[Layout, State], name: str, healthy: Callable[[], object]) -> Iterator[None]:
    """Run one program of the stack until the block ends; `healthy` raises as long as it is not up."""
    layout, state = parts
    program = next(program for program in programs(layout, state) if program.name == name)
    env = {key: value for key, value in environment(layout, state).items() if key not in program.without}
    log = layout.logs / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            program.command, cwd=layout.stack, env=env, stdout=file, stderr=file, start_new_session=True
        )
    deadline = time.monotonic() + program.seconds
    try:
        while True:
            try:
                healthy()
                break
            except Exception:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{name} did not come up:\n{log.read_text()[-2000:]}") from None
                time.sleep(0.2)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# A server lives as long as one file of tests: idle, SeaweedFS takes a fifth of a core, and files that start stacks of
# their own need both cores.
@pytest.fixture(scope="module")
def seaweedfs(parts: tuple[Layout, State]) -> Iterator[dict[str, str]]:
    """A running SeaweedFS; gives the variables that make a process its client."""
    client = s3_client(parts[1], retries=1)
    with running(parts, "seaweedfs", lambda: client.put_object(Bucket="ser", Key="health", Body=b"up")):
        yield settings(*parts)


@pytest.fixture(scope="module")
def mlflow_url(parts: tuple[Layout, State], seaweedfs: dict[str, str]) -> Iterator[str]:
    """A running MLflow server with its artifacts in SeaweedFS."""
    url = parts[1].mlflow_url
    with running(parts, "mlflow", lambda: urllib.request.urlopen(f"{url}/health", timeout=2).read()):
        yield url


@pytest.fixture
def make_store(
    seaweedfs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Store]]:
    """Gives stores on one fresh bucket, each with a cache of its own."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    for name, value in seaweedfs.items():
        if name.startswith(("SER_", "AWS_", "MLFLOW_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("SER_S3_BUCKET", bucket)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    caches = iter(range(100))

    def make() -> Store:
        monkeypatch.setenv("SER_CACHE_DIR", str(tmp_path / f"cache{next(caches)}"))
        return Store.from_env()

    client = make().client
    client.create_bucket(Bucket=bucket)
    yield make
    # Every bucket holds a volume, and a disk has few: SeaweedFS has a volume for each free GB.
    client.delete_bucket(Bucket=bucket)


@pytest.fixture
def store(make_store: Callable[[], Store]) -> Store:
    """A store on a fresh bucket."""
    return make_store()


@pytest.fixture(scope="session")
def ravdess() -> Path:
    """The real RAVDESS; where it is absent, tests that need it are skipped."""
    folder = SHARED_CORPORA / "ravdess"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the real RAVDESS cannot be downloaded here (set SER_TEST_CORPORA)")
    return folder
