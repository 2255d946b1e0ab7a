"""The mechanism under every step: look a key up; when nothing is there, fetch the inputs, build, publish.

A step's *key* names what was asked for: kind, step version, parameters and the content digests of its inputs.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from ser_tasks.artifact import Built, Ref, artifact_key, code_versions
from ser_tasks.store import Store

During = Callable[[str], AbstractContextManager[Mapping[str, Any]]]
"""Entered with an artifact's key while it is built and published; gives further keyword arguments for its build."""


@dataclass(frozen=True)
class _Asked:
    """What `materialise` was asked for."""

    kind: str
    version: int
    key: str
    build: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Ref]
    by: str
    during: During | None

    def extras(self) -> AbstractContextManager[Mapping[str, Any]]:
        return self.during(self.key) if self.during else nullcontext({})


def materialise(
    store: Store,
    kind: str,
    version: int,
    build: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, Ref],
    *,
    by: str,
    salt: str = "",
    leased: bool = False,
    during: During | None = None,
) -> Built:
    """Look the key up; when it is not there, fetch inputs, build, publish.

    In a process that a launcher (torchrun, `accelerate launch`) started beside a first one, RANK is above 0: the
    first looks up, holds the lease and publishes, the others take part in its build and wait for what comes of it.

    Args:
        store: The object store.
        kind: The step's name.
        version: The step's version.
        build: Import path `module:function` of a `Build`, imported only when it must run.
        params: Everything but the inputs that the result depends on; JSON values.
        inputs: Input name to reference.
        by: Who asks (a run's id), kept in the manifest.
        salt: Asks for the artifact anew under another key.
        leased: Hold a lease while building, so that two runs do not build one key at once.
        during: Entered with the key around building and publishing; gives further keyword arguments for the
            build: where a training keeps its checkpoints and reports its epochs.

    Raises:
        Busy: Another run is building this key.
        BadInput, Damaged: From fetching or from the build.
    """
    key = artifact_key(kind, version, params, inputs, salt)
    asked = _Asked(kind, version, key, build, params, inputs, by, during)
    if os.environ.get("RANK", "0") != "0":
        return _take_part(store, asked)
    found = store.manifest(kind, key)
    if found is None and leased:
        with store.leases.hold(key, by):
            found = store.manifest(kind, key)  # it may have been published while we asked for the lease
            return _hit(found) if found else _build(store, asked)
    return _hit(found) if found else _build(store, asked)


def imported(path: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, function = path.split(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def _build(store: Store, asked: _Asked) -> Built:
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix=f"ser-{asked.kind}-") as out, asked.extras() as extras:
        _run(store, asked, extras, Path(out))
        now = datetime.now(UTC)
        about: dict[str, Any] = {
            "version": asked.version,
            "params": asked.params,
            "inputs": {name: str(ref) for name, ref in asked.inputs.items()},
            "built_by": asked.by,
            "built_at": now.isoformat(timespec="seconds"),
            "seconds": round((now - started).total_seconds(), 2),
            "code": code_versions(),
        }
        ref, _ = store.publish(asked.kind, asked.key, Path(out), about)
    return Built(ref, False, asked.by, about["built_at"], about["seconds"])


def _run(store: Store, asked: _Asked, extras: Mapping[str, Any], out: Path) -> None:
    folders = {name: store.cached(ref) for name, ref in asked.inputs.items()}
    imported(asked.build)(folders, asked.params, out, **extras)


def _take_part(store: Store, asked: _Asked) -> Built:
    """Do as the first process does, which holds a lease in our common name or finds the key published."""
    took_part = False
    while (found := store.manifest(asked.kind, asked.key)) is None:
        lease = store.leases.of(asked.key)
        if not took_part and lease is not None and lease.owner == asked.by:
            with tempfile.TemporaryDirectory(prefix=f"ser-{asked.kind}-") as out, asked.extras() as extras:
                _run(store, asked, extras, Path(out))
            took_part = True
        time.sleep(1)
    return _hit(found)


def _hit(manifest: dict[str, Any]) -> Built:
    ref = Ref(manifest["kind"], manifest["key"], manifest["digest"])
    return Built(ref, True, manifest["built_by"], manifest["built_at"], manifest.get("seconds", 0.0))
