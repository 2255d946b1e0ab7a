"""Step `embed`: a model and audio shards -> embeddings.npy (float16 [n, dim]), utterances.json, about.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ser_tasks.builds.rows import unpacked
from ser_tasks.inference.predict import embed_packed
from ser_tasks.models.files import load_model


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: model, audio."""
    model, spec = load_model(inputs["model"])
    with unpacked(inputs["audio"]) as audio:
        embeddings = embed_packed(model, audio, range(len(audio)))
        (out / "utterances.json").write_text(json.dumps(audio.utterance_ids))
    np.save(out / "embeddings.npy", embeddings.astype(np.float16), allow_pickle=False)
    (out / "about.json").write_text(json.dumps({"title": spec.title, "note": spec.note}))
