"""One of several processes that run a step together: `torchrun ... -m ser_tasks.step_process FOLDER`.

The first looks the key up, holds the lease and publishes, the others take part in its build: see `materialise`.
"""

import logging
import sys
from pathlib import Path

from ser_tasks.errors import SerError
from ser_tasks.processes import answer, asked_of, is_first
from ser_tasks.running import run_step
from ser_tasks.store import Store


def main(folder: Path) -> None:
    """Run the step that the folder asks for."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("ser_tasks").setLevel(logging.INFO if is_first() else logging.WARNING)
    asked = asked_of(folder)
    try:
        result = run_step(asked["name"], asked["given"], asked["about"], Store.from_env(), asked["by"])
    except SerError as error:
        if is_first():
            answer(folder, error)
        raise
    if is_first():
        answer(folder, result)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
