"""A trait's direction as MLflow serves it: audio bytes in, score and percentile out. Logged as code, without pickle."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from ser_tasks.rudeness.scoring import Scorer


class ServedTrait(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Loads a direction and its encoder, and scores a column `audio` of WAV or FLAC bytes."""

    def load_context(self, context: Any) -> None:
        """Load both from the logged artifacts."""
        self.scorer = Scorer.load(Path(context.artifacts["trait"]), Path(context.artifacts["encoder"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row a clip: score (0: the mean of the corpus of the fit, 1: its standard deviation), percentile, and the
        scores that it is a percentile of (percentile_of)."""
        return pd.DataFrame([self.scorer.score(bytes(body)) for body in model_input["audio"]])


mlflow.models.set_model(ServedTrait())
