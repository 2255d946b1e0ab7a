"""A finished training in small, ready to be registered."""

from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.model_card import Card
from ser_tasks.models.encoders import EncoderShape
from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.tracking import Training

ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6}


OPTIONS: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [4, 4, 4, 4]},
    "wav2vec2": {"encoder": {"random": vars(EncoderShape(16, 1, 2, 16, 8))}},
}
"""Of the smallest models."""


def make_training(folder: Path, name: str, architecture: str = "cnn") -> Training:
    """A network that has learnt nothing, with invented figures; `name`: of the registered model."""
    spec = ModelSpec(architecture, OPTIONS[architecture], ["angry", "sad"], title="small")
    save_model(folder, build_model(spec, None, 0), spec)
    scan = folder / "scan"
    scan.mkdir()
    row = {"utterance_id": "u", "speaker_id": "s", "emotion": "sad", "duration_s": 1.0}
    pd.DataFrame([row]).to_parquet(scan / "manifest.parquet")
    calibration = {"temperature": 1.0, "fitted_on": "9 dev clips", "binning": "15 bins"}
    calibration |= {"ece": {"raw": ESTIMATE, "scaled": ESTIMATE}}
    metrics = {"corpus": "c", "relation": "within", "clips": 1, "speakers": 1} | dict.fromkeys(
        ("uar", "accuracy", "macro_f1"), ESTIMATE
    )
    metrics |= {"classes": [{"label": "sad"}], "chance_uar": 0.5, "variants": [], "slices": [], "interval": "95 %"}
    metrics |= {"calibration": calibration, "open": None, "collapse": "", "answers": ""}
    metrics |= {"labels_protocol": {"sentence": "UAR over all 2 labels of the model"}}
    card = Card(
        name=name, key="k" * 64, title="small", note="", synthetic=[], metrics=[metrics],
        licences={"c": "CC BY-NC-SA 4.0"}, commercial=[], digests={"c": "d" * 64}, gate=None,
        known_issues=[], shown=1, links={},
    )  # fmt: skip
    return Training(
        name=name, experiment=name, key="k" * 64, folder=folder, params={}, history=[], metrics=[metrics],
        datasets={"c": (scan, "d" * 64)}, pictures=[], config={}, card=card,
        tags={"ser.key": "k" * 64, "ser.data": "synthetic", "ser.test": "t"},
    )  # fmt: skip
