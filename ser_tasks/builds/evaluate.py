"""Step `evaluate`: stored predictions of one model on one corpus -> metrics.json, confusion.csv."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.errors import BadInput
from ser_tasks.evaluation.metrics import FEW_SPEAKERS, METRICS, confusion_by_speaker, estimate, recalls


def test_confusion(predictions: Path, labels: list[str]) -> Any:
    """Confusion by speaker of a predictions file's rows with role test: int64 [speakers, classes, classes]."""
    frame = pd.read_parquet(predictions / "predictions.parquet")
    frame = frame[frame["role"] == "test"]
    if frame.empty:
        raise BadInput(f"evaluation: {predictions} holds no prediction with role test")
    index = {label: i for i, label in enumerate(labels)}
    predicted = frame[[f"p_{label}" for label in labels]].to_numpy().argmax(axis=1)
    target = frame["target"].map(index).to_numpy().astype(np.int64)
    return confusion_by_speaker(target, predicted, list(frame["speaker_id"]), len(labels))


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: predictions, model. Params: model, corpus, relation, labels, resamples, seed."""
    labels = params["labels"]
    by_speaker = test_confusion(inputs["predictions"], labels)
    confusion = by_speaker.sum(axis=0)
    spec = json.loads((inputs["model"] / "model.json").read_text())
    protocol = json.loads((inputs["predictions"] / "protocol.json").read_text())
    present = confusion.sum(axis=1) > 0
    metrics = {
        "model": params["model"],
        "title": spec["title"],
        "note": "; ".join(part for part in (spec["note"], protocol["taint"]) if part),
        "protocol": protocol["description"],
        "corpus": params["corpus"],
        "relation": params["relation"],
        "role": "test",
        "clips": int(confusion.sum()),
        "speakers": len(by_speaker),
        "interval": "95 %, bootstrap over speakers" + (
            f"; with {len(by_speaker)} speakers it means little" if len(by_speaker) < FEW_SPEAKERS else ""
        ),
        "chance_uar": float(1 / present.sum()),
        **{name: asdict(estimate(name, by_speaker, params["resamples"], params["seed"])) for name in METRICS},
        "recall": {
            label: float(value) for label, value in zip(labels, recalls(confusion), strict=True) if not np.isnan(value)
        },
    }  # fmt: skip
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))
    table = pd.DataFrame(confusion, index=pd.Index(labels, name="true \\ predicted"), columns=labels)
    table.to_csv(out / "confusion.csv")
