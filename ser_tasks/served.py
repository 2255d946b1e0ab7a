"""The model as MLflow serves it: audio in, label and probabilities out. Logged as code, without pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from ser_tasks.errors import BadInput
from ser_tasks.inference.predict import predict_file, predict_waveform
from ser_tasks.models.files import load_model


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Loads a model folder and classifies clips."""

    def load_context(self, context: Any) -> None:
        """Load model.json and model.safetensors from the logged artifacts."""
        self.model, self.spec = load_model(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row a clip: label, p_<label> for every label, and tone where the model has a second head.

        A row has its clip in one of three ways: `audio`, the bytes of a WAV or FLAC file of any rate; `path`, where
        such a file lies on this machine; `samples`, numbers in [-1, 1] of one channel, with their `sample_rate` in Hz.

        Raises:
            BadInput: A row has none of them or several, or its audio cannot be read. The message names the row.
        """
        rows = []
        for number, row in enumerate(model_input.to_dict("records")):
            try:
                result = self._classify(row)
            except BadInput as error:
                raise BadInput(f"row {number}: {error}") from error
            said = {"label": result["label"], **{f"p_{k}": p for k, p in result["probabilities"].items()}}
            rows.append(said | ({"tone": result["tone"]} if "tone" in result else {}))
        return pd.DataFrame(rows)

    def _classify(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        given = [name for name in ("audio", "path", "samples") if _is_there(row.get(name))]
        if len(given) != 1:
            raise BadInput(f"give one of audio, path or samples, not {' and '.join(given) or 'none'}")
        if given == ["audio"]:
            return predict_file(self.model, self.spec, bytes(row["audio"]))
        if given == ["path"]:
            return predict_file(self.model, self.spec, Path(row["path"]))
        if not _is_there(row.get("sample_rate")):
            raise BadInput("samples need their sample_rate in Hz beside them")
        samples = np.asarray(row["samples"], dtype=np.float32)
        return predict_waveform(self.model, self.spec, samples, int(row["sample_rate"]))


def _is_there(value: Any) -> bool:
    """A cell that is neither absent nor None nor NaN: tables fill what a row does not have."""
    return value is not None and not (isinstance(value, float) and np.isnan(value))


mlflow.models.set_model(ServedModel())
