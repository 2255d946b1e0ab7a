"""Stored predictions, as evaluation takes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_tasks.data.learnt import names
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


def of_role(folder: Path, labels: Sequence[str], role: str, include_seen: bool = False) -> Predicted:
    """Predictions of one role, by default without clips that the model has seen.

    Raises:
        BadInput: There are none, or the model has seen them all.
    """
    frame = role_rows(folder, role)
    if frame.empty:
        raise BadInput(f"evaluation: {folder} holds no prediction with role {role}")
    kept = frame[counts(frame, folder, include_seen)]
    if kept.empty:
        people = sorted(set(frame["speaker_id"]))
        raise BadInput(
            f"evaluation: the model has learnt from all {len(people)} {role} speaker(s) of {frame['corpus'].iloc[0]} "
            f"({names(people)}), so that no result on them is an estimate for new speakers: test on other speakers; "
            "to see the result all the same, give 'ser test' the option --include-seen"
        )
    return predicted(kept, labels)


def role_rows(folder: Path, role: str) -> pd.DataFrame:
    """All rows of predictions.parquet of one role, as a table whose index is unique."""
    frame = with_seen(pd.read_parquet(folder / "predictions.parquet"))
    return frame[frame["role"] == role].reset_index(drop=True)


def with_seen(frame: pd.DataFrame) -> pd.DataFrame:
    """The column `seen` is empty in predictions that were stored before there was one."""
    return frame if "seen" in frame else frame.assign(seen="")


def counts(rows: pd.DataFrame, folder: Path, include_seen: bool) -> "pd.Series[bool]":
    """Which rows a result is of: clips that the model has not seen, or all.

    In a speaker-dependent split everybody is in every role; that is said of its results (the taint), and only clips
    that the model has learnt from themselves are left out.
    """
    if include_seen:
        return pd.Series(True, index=rows.index)
    if json.loads((folder / "protocol.json").read_text(encoding="utf-8")).get("speaker_dependent"):
        return rows["seen"] != "clip"
    return rows["seen"] == ""
