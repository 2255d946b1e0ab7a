"""Embeddings of every layer of an encoder, written to disk batch by batch: memory does not grow with the corpus."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.errors import BadInput
from ser_tasks.models.encoder import Encoder
from ser_tasks.models.pooling import masked_mean_std
from ser_tasks.training.batches import applied_seconds, collate, prediction_batches
from ser_tasks.training.device import autocast, choose_device

LAYERS = "layers.npy"
"""float16 [utterances, layers, 2 * dim]: means over time first, then standard deviations."""
UTTERANCES = "utterances.json"
LARGEST = float(np.finfo(np.float16).max)

Half = npt.NDArray[np.float16]


def layer_function(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """The function (waveforms, lengths) -> [batch, layers, 2 * dim] of a model.

    An encoder, and a model built on one, gives what enters its first layer and the output of each (after training,
    where it was trained); a model without an encoder gives its one representation.
    """
    encoder = model if isinstance(model, Encoder) else getattr(model, "encoder", None)
    if isinstance(encoder, Encoder):

        def every_layer(waveforms: Tensor, lengths: Tensor) -> Tensor:
            states, counts = encoder(waveforms, lengths)
            return torch.stack([masked_mean_std(state, counts) for state in states], dim=1)

        return every_layer
    embed: Any = model.embed
    return lambda waveforms, lengths: embed(waveforms, lengths)[:, None, :]


@torch.inference_mode()
def write_layers(
    model: nn.Module,
    audio: PackedAudio,
    indices: Sequence[int],
    out: Path,
    *,
    device: str = "auto",
    batch_seconds: float | None = None,
    precision: str = "float32",
) -> Half:
    """Embed clips in batches of similar length and write each batch where its clips belong.

    Args:
        model: As `load_model` or `load_encoder` gives it; it is moved to the device and put in evaluation mode.
        audio: Where the clips are.
        indices: Which clips; the rows keep their order.
        out: The folder that gets `LAYERS` and `UTTERANCES`, the latter last.
        device: auto | cpu | cuda.
        batch_seconds: Most seconds in a batch, padding included; None: what suits the device. It changes no result and
            bounds the memory.
        precision: auto | float32 | bf16. With bf16 a clip's result depends a little on its batch.

    Returns:
        The file as a memory map, float16 [len(indices), layers, 2 * dim].

    Raises:
        BadInput: There is no clip to embed, or a clip's embedding is not finite.
    """
    if not len(indices):
        raise BadInput("embed: there is no clip to embed")
    place = choose_device(device)
    function = layer_function(model.to(place).eval())
    layers: Half = np.empty(0, dtype=np.float16)
    most = batch_seconds or applied_seconds(place)
    for batch in prediction_batches([audio.length(i) for i in indices], most):
        waveforms, lengths = collate(audio, [indices[position] for position in batch])
        with autocast(place, precision):
            values = function(waveforms.to(place), lengths.to(place)).float().cpu().numpy()
        for position, finite in zip(batch, np.isfinite(values).all(axis=(1, 2)), strict=True):
            if not finite:
                raise BadInput(
                    f"embed: {audio.utterance_ids[indices[position]]} gives an embedding that is not finite: "
                    "leave the clip out, or embed with precision float32"
                )
        if not layers.size:
            shape = (len(indices), *values.shape[1:])
            layers = open_memmap(out / LAYERS, mode="w+", dtype=np.float16, shape=shape)
        layers[batch] = np.clip(values, -LARGEST, LARGEST)
    layers.flush()  # type: ignore[attr-defined]
    (out / UTTERANCES).write_text(json.dumps([audio.utterance_ids[i] for i in indices]), encoding="utf-8")
    return layers


def read_layers(folder: Path) -> tuple[list[str], Half]:
    """Utterance ids and the memory map [n, layers, 2 * dim] of a folder that `write_layers` or `join_layers` filled.

    Raises:
        BadInput: The folder does not hold both.
    """
    if not (folder / UTTERANCES).is_file() or not (folder / LAYERS).is_file():
        raise BadInput(f"{folder}: no {LAYERS} with {UTTERANCES}: run the step 'embed' again")
    names = list(json.loads((folder / UTTERANCES).read_text(encoding="utf-8")))
    return names, np.load(folder / LAYERS, mmap_mode="r", allow_pickle=False)


def join_layers(parts: Sequence[Path], out: Path) -> Half:
    """Put the parts that several workers embedded one after the other, a block of rows at a time.

    Raises:
        BadInput: There is no part, an utterance is in two of them, or they are of different encoders.
    """
    if not parts:
        raise BadInput("embed: there is no part to join")
    opened = [read_layers(part) for part in parts]
    names = [name for part, _ in opened for name in part]
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise BadInput(f"embed: utterance {twice} is in two parts: embed each speaker in one part")
    shapes = {layers.shape[1:] for _, layers in opened}
    if len(shapes) > 1:
        raise BadInput(f"embed: parts of different shapes {sorted(shapes)}: embed all of them with one model")
    joined: Half = open_memmap(out / LAYERS, mode="w+", dtype=np.float16, shape=(len(names), *shapes.pop()))
    start = 0
    for _, layers in opened:
        for first in range(0, len(layers), 1024):
            block = layers[first : first + 1024]
            joined[start : start + len(block)] = block
            start += len(block)
    joined.flush()  # type: ignore[attr-defined]
    (out / UTTERANCES).write_text(json.dumps(names), encoding="utf-8")
    return joined
