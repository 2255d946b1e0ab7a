"""Step `uncertain`: a model and a whole corpus -> predictions.parquet, training clips among them.

It says what is worth hearing, never how good a model is: no evaluation may read it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.builds.rows import unpacked
from ser_tasks.inference.predict import predict_packed
from ser_tasks.models.files import load_model


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: model, audio."""
    model, spec = load_model(inputs["model"])
    with unpacked(inputs["audio"]) as audio:
        probabilities = predict_packed(model, audio, range(len(audio)))
        found = pd.DataFrame(probabilities, columns=[f"p_{label}" for label in spec.labels])
        found.insert(0, "utterance_id", audio.utterance_ids)
    found.to_parquet(out / "predictions.parquet", index=False)
