"""Where the stack keeps its files, and what it remembers between two starts."""

import base64
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

# A process belongs to the stack when its environment carries this variable with the stack's folder as value: children
# inherit it, so none is lost when a parent is killed, and no recycled pid is taken for one of ours.
MARK = "SER_STACK_MARK"

PREFERRED_PORTS: Mapping[str, int] = {
    "airflow": 8080,
    "mlflow": 5000,
    "s3": 8333,
    "s3_master": 9333,
    "s3_volume": 9340,
    "s3_filer": 8888,
    "s3_admin": 9350,
}


@dataclass(frozen=True)
class Layout:
    """The folders of one stack.

    Attributes:
        local: everything the stack makes lies under this folder.
        dags: the DAG files that Airflow serves.
        preferred_ports: taken when free, otherwise the next free one above is.
    """

    local: Path = CHECKOUT / ".local"
    dags: Path = CHECKOUT / "dags"
    preferred_ports: Mapping[str, int] = field(default_factory=lambda: PREFERRED_PORTS)

    @property
    def stack(self) -> Path:
        return self.local / "stack"

    @property
    def airflow(self) -> Path:
        return self.local / "airflow"

    @property
    def mlflow(self) -> Path:
        return self.local / "mlflow"

    @property
    def seaweedfs(self) -> Path:
        return self.local / "seaweedfs"

    @property
    def logs(self) -> Path:
        return self.local / "logs"

    @property
    def cache(self) -> Path:
        return self.local / "cache"

    @property
    def state_file(self) -> Path:
        return self.stack / "state.json"

    @property
    def env_file(self) -> Path:
        return self.stack / "env"

    @property
    def airflow_passwords(self) -> Path:
        return self.airflow / "simple_auth_manager_passwords.json.generated"

    @property
    def mark(self) -> str:
        return str(self.stack)

    def make(self) -> None:
        """Make the folders, closed to other users."""
        self.local.mkdir(parents=True, exist_ok=True)
        for folder in (self.local, self.stack, self.airflow, self.mlflow, self.seaweedfs, self.logs, self.cache):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time start or stop this stack."""
        self.stack.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.stack / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass
class Secrets:
    """Made on the spot at the first start, kept in the state file (mode 0600)."""

    s3_access_key: str = field(default_factory=lambda: "ser" + secrets.token_hex(8))
    s3_secret_key: str = field(default_factory=_secret)
    airflow_password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    airflow_fernet_key: str = field(default_factory=lambda: base64.urlsafe_b64encode(os.urandom(32)).decode())
    airflow_jwt_secret: str = field(default_factory=_secret)
    airflow_secret_key: str = field(default_factory=_secret)


@dataclass
class State:
    """What is remembered between two starts."""

    secrets: Secrets = field(default_factory=Secrets)
    ports: dict[str, int] = field(default_factory=dict)
    socket: str = ""
    fingerprint: str = ""
    password_shown: bool = False

    @classmethod
    def load(cls, layout: Layout) -> "State":
        """Read the state file; a stack that was never started has a new state."""
        if not layout.state_file.exists():
            return cls()
        kept = json.loads(layout.state_file.read_text())
        return cls(**{**kept, "secrets": Secrets(**kept["secrets"])})

    def save(self, layout: Layout) -> None:
        write_private(layout.state_file, json.dumps(asdict(self), indent=1))

    @property
    def s3_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['mlflow']}"

    @property
    def airflow_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['airflow']}"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
