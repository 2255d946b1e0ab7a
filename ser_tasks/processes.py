"""A training in several processes on this machine, one for each GPU: torchrun starts them, they share every batch."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_tasks import errors
from ser_tasks.errors import BadInput, SerError

PROCESSES = "SER_TRAIN_PROCESSES"
"""Environment of a worker: how many processes a training takes there. No part of a training's key: it decides where
and how fast it runs, not which one it is."""


def wanted_processes() -> int:
    """What the environment asks for; 1 in a process that a launcher has started. Raises BadInput."""
    given = "1" if "RANK" in os.environ else os.environ.get(PROCESSES) or "1"
    if not given.isdecimal() or int(given) < 1:
        raise BadInput(f"{PROCESSES} is {given!r}: must be a number of processes, at least 1")
    return int(given)


def is_first() -> bool:
    """Whether this process is the only one, or the one of several that publishes and reports."""
    return os.environ.get("RANK", "0") == "0"


def launch(processes: int, module: str, arguments: Sequence[str]) -> int:
    """Run a module in several processes beside each other, to its end; the exit status.

    When one of them fails, torchrun ends the others. Where OMP_NUM_THREADS is not set they share the cores.
    """
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    command = [*launcher, "-m", module, *arguments]
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - this interpreter, our module


def in_processes(processes: int, module: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Have a module answer a question in several processes.

    Args:
        processes: How many.
        module: Called with a folder: reads what `asked` leaves there and calls `answer` in its first process.
        asked: JSON values.

    Returns:
        The answer.

    Raises:
        SerError: Of the kind that the first process raised; or a process ended without a word.
    """
    with tempfile.TemporaryDirectory(prefix="ser-processes-") as folder:
        Path(folder, "asked.json").write_text(json.dumps(asked), encoding="utf-8")
        status = launch(processes, module, [folder])
        try:
            told: dict[str, Any] = json.loads(Path(folder, "told.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SerError(
                f"training: one of {processes} processes ended with status {status}: what it said stands above"
            ) from None
    if "error" in told:
        raise getattr(errors, told["error"])(told["message"])
    answer: dict[str, Any] = told["answer"]
    return answer


def asked_of(folder: Path) -> dict[str, Any]:
    """What a module that `in_processes` started is asked."""
    asked: dict[str, Any] = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    return asked


def answer(folder: Path, told: Mapping[str, Any] | SerError) -> None:
    """Leave an answer, or why there is none, for the process that asked."""
    if isinstance(told, SerError):
        said: dict[str, Any] = {"error": type(told).__name__, "message": str(told)}
    else:
        said = {"answer": dict(told)}
    (folder / "told.json").write_text(json.dumps(said), encoding="utf-8")
