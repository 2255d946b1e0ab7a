"""Steps `embed` and `embeddings`: an encoder or a model and audio shards -> every layer of every clip.

Writes layers.npy (float16 [n, layers, 2 * dim]), embeddings.npy (the layer that the model itself uses, [n, 2 * dim]),
utterances.json and about.json; for a model that has learnt labels, seen.parquet says from which clips. Tasks share a
corpus by its speakers; `join` puts what they made together.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from ser_tasks.audio.shards import shard_speakers
from ser_tasks.builds.learnt_clips import SEEN, taint, write_seen
from ser_tasks.builds.rows import unpacked
from ser_tasks.data.learnt import read_learnt
from ser_tasks.errors import BadInput
from ser_tasks.models.encoders import load_encoder
from ser_tasks.models.files import load_model
from ser_tasks.rudeness.embeddings import LAYERS, UTTERANCES, Half, join_layers, write_layers

ABOUT = "about.json"
BLOCK = 1024
"""Rows of layers.npy in memory at a time."""


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: encoder or model, audio. Params: title (of an encoder), corpus (for a model), part ([i, of], i from 0),
    precision.

    A part that gets no speaker, since there are fewer speakers than parts, is an empty list of utterances.
    """
    speakers = shard_speakers(inputs["audio"])[params["part"][0] :: params["part"][1]]
    if not speakers:
        (out / UTTERANCES).write_text("[]", encoding="utf-8")
        return
    learnt = None
    if "encoder" in inputs:
        encoder = load_encoder(inputs["encoder"])
        model: nn.Module = encoder
        about = {"title": params["title"], "note": "", "layer": -1, "front_end": encoder.front_end}
    else:
        model, spec = load_model(inputs["model"])
        about = {"title": spec.title, "note": spec.note, "layer": int(getattr(model, "layer", -1))}
        if spec.architecture != "probe":  # its encoder is frozen, and only that one's layers are taken
            learnt = read_learnt(inputs["model"])
            about |= {"trained": True, "note": "; ".join(filter(None, (spec.note, taint(learnt))))}
    with unpacked(inputs["audio"], speakers) as audio:
        write_layers(model, audio, range(len(audio)), out, precision=params["precision"])
        if learnt is not None:
            write_seen(learnt, audio, inputs["audio"], speakers, params["corpus"], out)
    (out / ABOUT).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")


def join(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: part/<i> for each part. No params."""
    folders = [inputs[name] for name in sorted(inputs, key=lambda name: int(name.rpartition("/")[2]))]
    parts = [folder for folder in folders if (folder / LAYERS).is_file()]
    if not parts:
        raise BadInput("embeddings: no part holds a clip: run the step 'pack' again")
    layers = join_layers(parts, out)
    shutil.copyfile(parts[0] / ABOUT, out / ABOUT)
    if (parts[0] / SEEN).is_file():
        pd.concat([pd.read_parquet(part / SEEN) for part in parts]).to_parquet(out / SEEN, index=False)
    _write_own_layer(layers, json.loads((out / ABOUT).read_text(encoding="utf-8"))["layer"], out)


def _write_own_layer(layers: Half, layer: int, out: Path) -> None:
    shape = (layers.shape[0], layers.shape[2])
    own = np.lib.format.open_memmap(out / "embeddings.npy", mode="w+", dtype=np.float16, shape=shape)
    for first in range(0, len(layers), BLOCK):
        own[first : first + BLOCK] = layers[first : first + BLOCK, layer]
    own.flush()
