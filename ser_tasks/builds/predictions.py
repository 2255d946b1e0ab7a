"""Stored predictions, as evaluation takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_tasks.errors import BadInput


@dataclass(frozen=True)
class Predicted:
    """Clips of one role, in the order of their ids.

    Attributes:
        utterance_id: Of each clip.
        speaker: Of each clip.
        target: int64 [clips], number of the label.
        probabilities: float64 [clips, classes].
    """

    utterance_id: list[str]
    speaker: list[str]
    target: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def chosen(self) -> NDArray[np.int64]:
        """The most probable class of each clip, int64 [clips]."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)


def predicted(frame: pd.DataFrame, labels: Sequence[str]) -> Predicted:
    """Rows of predictions.parquet, with targets as numbers."""
    frame = frame.sort_values("utterance_id")
    index = {label: i for i, label in enumerate(labels)}
    return Predicted(
        list(frame["utterance_id"]),
        list(frame["speaker_id"]),
        frame["target"].map(index).to_numpy().astype(np.int64),
        frame[[f"p_{label}" for label in labels]].to_numpy().astype(np.float64),
    )


def of_role(folder: Path, labels: Sequence[str], role: str) -> Predicted:
    """Predictions of one role. Raises BadInput when there are none."""
    frame = pd.read_parquet(folder / "predictions.parquet")
    frame = frame[frame["role"] == role]
    if frame.empty:
        raise BadInput(f"evaluation: {folder} holds no prediction with role {role}")
    return predicted(frame, labels)
