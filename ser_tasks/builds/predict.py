"""Step `predict`: a model and one corpus -> predictions.parquet (utterance, target, role, probabilities), protocol."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.builds.rows import unpacked
from ser_tasks.errors import BadInput
from ser_tasks.inference.predict import predict_packed
from ser_tasks.models.files import load_model


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: model, split, audio. Params: corpus. Predicts dev, gate and test clips, never training clips."""
    model, spec = load_model(inputs["model"])
    parts = [pd.read_parquet(inputs["split"] / f"{name}.parquet") for name in ("fit", "gate", "test")]
    split = pd.concat([part for part in parts if len(part)])
    rows = split[(split["corpus"] == params["corpus"]) & (split["role"] != "train")].sort_values("utterance_id")
    if rows.empty:
        raise BadInput(f"predict: the split holds no clip of {params['corpus']} to predict")
    with unpacked(inputs["audio"], sorted(set(rows["speaker_id"]))) as audio:
        probabilities = predict_packed(model, audio, [audio.index_of(name) for name in rows["utterance_id"]])
    columns = {f"p_{label}": probabilities[:, i] for i, label in enumerate(spec.labels)}
    frame = rows[["utterance_id", "corpus", "speaker_id", "role"]].assign(target=rows["label"], **columns)
    frame.to_parquet(out / "predictions.parquet", index=False)
    shutil.copyfile(inputs["split"] / "protocol.json", out / "protocol.json")
