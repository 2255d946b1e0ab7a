"""The state of a training after an epoch, as safetensors and JSON.

Where checkpoints are kept is the caller's: a folder or the object store, see `ser_tasks.checkpoint_store`. Random state
needs no place in them: the loop seeds every piece of every batch from the training's seed and its place in the order.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ser_tasks.errors import BadInput

_log = logging.getLogger(__name__)


class Checkpoints(Protocol):
    """Keeps the newest checkpoints of one training."""

    @property
    def place(self) -> str:
        """Where they are, for messages; no other training's are there."""

    def save(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a folder and keep it, visible whole or not at all."""

    def newest_first(self) -> Iterator[Path]:
        """Folders whose every byte is what was saved; each is there until the next one is asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to go on.

    Attributes:
        training: Identifies options, clips and model: a checkpoint of another training is refused.
        history: One plain dictionary for each finished epoch.
        model: Weights after the last finished epoch.
        best: Weights after the best one.
        optimiser: `state_dict()` of the optimiser.
    """

    training: str
    history: list[dict[str, Any]]
    model: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: dict[str, Any]


def save_checkpoint(checkpoints: Checkpoints, checkpoint: Checkpoint) -> None:
    """Save the state after the last finished epoch."""

    def write(folder: Path) -> None:
        # Named after their place, tensors are never the same file as another training's or as a published model:
        # what is deleted with a checkpoint is missed by nobody.
        about = {"checkpoint_of": checkpoints.place}
        tensors, numbers = _split_optimiser(checkpoint.optimiser)
        for name, held in (("model", checkpoint.model), ("best", checkpoint.best), ("optimiser", tensors)):
            save_file(_storable(held), folder / f"{name}.safetensors", metadata=about)
        state = {**about, "training": checkpoint.training, "history": checkpoint.history, "optimiser": numbers}
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    checkpoints.save(len(checkpoint.history), write)


def load_newest(checkpoints: Checkpoints, training: str) -> Checkpoint | None:
    """Load the newest checkpoint that is whole; None where there is none.

    Raises:
        BadInput: It belongs to another training.
    """
    for folder in checkpoints.newest_first():
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            checkpoint = Checkpoint(
                state["training"],
                state["history"],
                load_file(folder / "model.safetensors"),
                load_file(folder / "best.safetensors"),
                _join_optimiser(load_file(folder / "optimiser.safetensors"), state["optimiser"]),
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            _log.warning("%s: a checkpoint cannot be read (%s): trying the one before it", checkpoints.place, error)
            continue
        if checkpoint.training != training:
            raise BadInput(
                f"{checkpoints.place}: holds checkpoints of a training with other options, clips or weights (another "
                "version of torch or transformers begins with others): remove them, or choose another place; in "
                "Airflow trigger with rebuild=[<step>], which trains anew under a key of its own"
            )
        return checkpoint
    return None


def _storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _split_optimiser(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by 'parameter number/name', and the rest, which is plain numbers."""
    tensors = {f"{number}/{name}": value for number, held in state["state"].items() for name, value in held.items()}
    return tensors, {"param_groups": state["param_groups"]}


def _join_optimiser(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = tensor
    return {"state": state, **numbers}


def copy_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy that further training does not change."""
    return {name: torch.clone(tensor.detach()) for name, tensor in tensors.items()}
