"""The model as MLflow serves it: audio bytes in, label and probabilities out. Logged as code, without pickle."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from ser_tasks.inference.predict import predict_file
from ser_tasks.models.files import load_model


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Loads a model folder and classifies a column `audio` of WAV or FLAC bytes."""

    def load_context(self, context: Any) -> None:
        """Load model.json and model.safetensors from the logged artifacts."""
        self.model, self.spec = load_model(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row a clip: label, and p_<label> for every label."""
        rows = []
        for body in model_input["audio"]:
            result = predict_file(self.model, self.spec, bytes(body))
            rows.append({"label": result["label"], **{f"p_{k}": p for k, p in result["probabilities"].items()}})
        return pd.DataFrame(rows)


mlflow.models.set_model(ServedModel())
