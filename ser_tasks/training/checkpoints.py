"""The state of a training after an epoch, as safetensors and JSON.

Each checkpoint is a folder `epoch-<n>`: written under another name, then renamed, so that one that has its name is
whole. Random state needs no place in it: the loop seeds every epoch from the training's seed and the epoch's number.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ser_tasks.errors import BadInput

KEPT = 2
_log = logging.getLogger(__name__)


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


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `folder/epoch-<n>` for the last finished epoch; keep the newest two."""
    final = folder / f"epoch-{len(checkpoint.history):04d}"
    partial = folder / f"{final.name}.partial"
    for stale in (partial, final):
        shutil.rmtree(stale, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(_storable(checkpoint.model), partial / "model.safetensors")
    save_file(_storable(checkpoint.best), partial / "best.safetensors")
    tensors, numbers = _split_optimiser(checkpoint.optimiser)
    save_file(tensors, partial / "optimiser.safetensors")
    state = {"training": checkpoint.training, "history": checkpoint.history, "optimiser": numbers}
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
    partial.rename(final)
    for old in sorted(folder.glob("epoch-[0-9][0-9][0-9][0-9]"))[:-KEPT]:
        shutil.rmtree(old)


def load_newest(folder: Path, training: str) -> Checkpoint | None:
    """Load the newest checkpoint that is whole; None where there is none.

    Raises:
        BadInput: It belongs to another training.
    """
    for path in sorted(folder.glob("epoch-[0-9][0-9][0-9][0-9]"), reverse=True):
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            checkpoint = Checkpoint(
                state["training"],
                state["history"],
                load_file(path / "model.safetensors"),
                load_file(path / "best.safetensors"),
                _join_optimiser(load_file(path / "optimiser.safetensors"), state["optimiser"]),
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            _log.warning("%s cannot be read (%s): going back to the checkpoint before it", path, error)
            continue
        if checkpoint.training != training:
            raise BadInput(
                f"{path}: belongs to a training with other options, clips or weights: "
                "remove the folder, or choose another"
            )
        return checkpoint
    return None


def _storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _split_optimiser(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by 'parameter number/name', and the rest, which is plain numbers."""
    tensors = {f"{number}/{name}": value for number, held in state["state"].items() for name, value in held.items()}
    return _storable(tensors), {"param_groups": state["param_groups"]}


def _join_optimiser(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = tensor
    return {"state": state, **numbers}


def copy_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy that further training does not change."""
    return {name: torch.clone(tensor.detach()) for name, tensor in tensors.items()}
