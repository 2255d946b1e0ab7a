"""While a training runs: where its checkpoints are kept, and where each epoch is reported."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ser_tasks.checkpoint_store import StoreCheckpoints
from ser_tasks.processes import is_first
from ser_tasks.store import Store
from ser_tasks.tracking import stream


@contextmanager
def training_under(key: str, *, store: Store, experiment: str, name: str) -> Iterator[dict[str, Any]]:
    """What a training's build is given besides inputs and parameters; see `During` in `ser_tasks.materialise`.

    Checkpoints lie in the store under the key, so that a retry on any machine goes on, and are deleted when the block
    ends well: the model is published then. Epochs go to a file and to MLflow, from the first of several processes.

    Args:
        key: Of the training's artifact.
        store: The object store.
        experiment: Name of the experiment in MLflow.
        name: Of the registered model.

    The build's `on_epoch` and its checkpoints raise Busy once another run has taken over the lease on the key.
    """
    checkpoints = StoreCheckpoints(store, key)
    if not is_first():
        yield {"checkpoints": checkpoints}
        return
    write = history_file(live_folder() / f"{name}-{key[:12]}.jsonl")
    with stream(experiment, name, key) as log:

        def on_epoch(epoch: Mapping[str, Any]) -> None:
            store.leases.check(key)  # between checkpoints too
            write(epoch)
            log(epoch)

        yield {"checkpoints": checkpoints, "on_epoch": on_epoch}
    checkpoints.clear()


def live_folder() -> Path:
    """Where trainings of this machine report: $SER_LIVE_DIR, or .local/live."""
    return Path(os.environ.get("SER_LIVE_DIR", ".local/live"))


def history_file(path: Path) -> Callable[[Mapping[str, Any]], None]:
    """A JSON Lines file that grows by a line an epoch; a training that goes on replaces the epochs it does again."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(epoch: Mapping[str, Any]) -> None:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        earlier = [line for line in lines if line.endswith("\n") and json.loads(line)["epoch"] < epoch["epoch"]]
        if len(earlier) == len(lines):
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(epoch) + "\n")
        else:
            path.write_text("".join([*earlier, json.dumps(epoch) + "\n"]), encoding="utf-8")

    return write
