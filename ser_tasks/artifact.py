"""What an artifact is: its key, its content digest, the build that makes it. Pure functions."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ser_tasks.errors import BadInput


@dataclass(frozen=True)
class Ref:
    """A reference to an artifact: small enough for an XCom, exact enough for ever."""

    kind: str
    key: str
    digest: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}/{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "Ref":
        """Raises BadInput when the text is no reference."""
        parts = text.split("/")
        if len(parts) != 3 or not all(len(part) == 64 for part in parts[1:]):
            raise BadInput(f"store: {text!r} is no artifact reference (kind/key/digest)")
        return cls(*parts)


class Build(Protocol):
    """A pure function over folders: reads inputs, writes its result into `out`, touches nothing else."""

    def __call__(self, inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None: ...


@dataclass(frozen=True)
class Built:
    """What `materialise` gives back."""

    ref: Ref
    hit: bool
    built_by: str
    built_at: str
    seconds: float


def canonical_json(value: Any) -> bytes:
    """One spelling for equal values, so that equal values have equal hashes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def artifact_key(kind: str, version: int, params: Mapping[str, Any], inputs: Mapping[str, Ref], salt: str = "") -> str:
    """SHA-256 of what was asked for. A salt (a run's id) asks for it anew."""
    asked = {
        "kind": kind,
        "version": version,
        "params": params,
        "inputs": {name: ref.digest for name, ref in inputs.items()},
        **({"salt": salt} if salt else {}),
    }
    return hashlib.sha256(canonical_json(asked)).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> list[dict[str, Any]]:
    """Every file under a folder as {name, size, sha256}, sorted by name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        {"name": path.relative_to(folder).as_posix(), "size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in paths
    ]


def content_digest(files: list[dict[str, Any]]) -> str:
    """SHA-256 of the sorted (name, size, sha256) list."""
    return hashlib.sha256(canonical_json([[f["name"], f["size"], f["sha256"]] for f in files])).hexdigest()


def code_versions() -> dict[str, str]:
    """The commit of this checkout and the versions of the libraries that shape results."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"commit": git_commit()}
    for package in (
        "torch",
        "torchaudio",
        "transformers",
        "librosa",
        "pandas",
        "numpy",
        "scikit-learn",
        "soundfile",
        "soxr",
    ):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def git_commit() -> str:
    """The checkout's commit, read from .git without running git; 'unknown' outside a checkout."""
    git = Path(__file__).parents[1] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = git / name
        if loose.is_file():
            return loose.read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "unknown")
    except OSError:
        return "unknown"
