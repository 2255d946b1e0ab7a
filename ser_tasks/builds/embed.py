"""Step `embed`: a model and audio shards -> every layer of every clip.

Writes layers.npy (float16 [n, layers, 2 * dim]), embeddings.npy (the layer that the model itself uses, [n, 2 * dim]),
utterances.json and about.json. Many workers share a corpus by parts of its speakers, which `join` puts together.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ser_tasks.builds.rows import unpacked
from ser_tasks.data.manifest import read_manifest
from ser_tasks.errors import BadInput
from ser_tasks.models.files import load_model
from ser_tasks.rudeness.embeddings import Half, join_layers, write_layers


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: model, audio; manifest for a part. Params: part ([i, of], i from 0; optional), precision (optional)."""
    model, spec = load_model(inputs["model"])
    speakers = _part(inputs["manifest"], *params["part"]) if params.get("part") else None
    with unpacked(inputs["audio"], speakers) as audio:
        layers = write_layers(model, audio, range(len(audio)), out, precision=params.get("precision", "float32"))
    layer = int(getattr(model, "layer", -1))
    about = {"title": spec.title, "note": spec.note, "layer": layer}
    (out / "about.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
    _write_own_layer(layers, layer, out)


def join(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: part/<i> for each part. No params."""
    parts = [inputs[name] for name in sorted(inputs, key=lambda name: int(name.rpartition("/")[2]))]
    layers = join_layers(parts, out)
    shutil.copyfile(parts[0] / "about.json", out / "about.json")
    about = json.loads((out / "about.json").read_text(encoding="utf-8"))
    _write_own_layer(layers, about["layer"], out)


def _part(manifest: Path, i: int, of: int) -> list[str]:
    """Every `of`-th speaker, counted from `i`."""
    speakers = sorted(set(read_manifest(manifest / "manifest.parquet")["speaker_id"]))
    if not speakers[i::of]:
        raise BadInput(f"embed: part {i} of {of} has no speaker: the corpus has {len(speakers)}; plan fewer parts")
    return speakers[i::of]


def _write_own_layer(layers: Half, layer: int, out: Path) -> None:
    np.save(out / "embeddings.npy", layers[:, layer], allow_pickle=False)
