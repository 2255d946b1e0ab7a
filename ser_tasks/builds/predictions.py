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
from ser_tasks.evaluation.labels import among, open_answers


@dataclass(frozen=True)
class Predicted:
    """Clips in the order of their ids, judged among some labels.

    Attributes:
        utterance_id: Of each clip.
        speaker: Of each clip.
        target: int64 [clips], number of the label.
        probabilities: float64 [clips, labels].
    """

    utterance_id: list[str]
    speaker: list[str]
    target: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def chosen(self) -> NDArray[np.int64]:
        """The most probable label of each clip, int64 [clips]."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class Stored:
    """What a model gave for clips of one role, in the order of their ids.

    Attributes:
        labels: Of the model.
        utterance_id: Of each clip.
        speaker: Of each clip.
        label: True one of each clip; the model may not have it.
        probabilities: float64 [clips, labels].
    """

    labels: list[str]
    utterance_id: list[str]
    speaker: list[str]
    label: list[str]
    probabilities: NDArray[np.float64]

    def among(self, shared: Sequence[str], answers: Sequence[str] | None = None) -> Predicted:
        """Clips of the shared labels, the model choosing among these, or among other `answers` that hold them."""
        answers = answers or shared
        kept, number = self._of(shared), {label: i for i, label in enumerate(answers)}
        return Predicted(
            [self.utterance_id[i] for i in kept],
            [self.speaker[i] for i in kept],
            np.array([number[self.label[i]] for i in kept], dtype=np.int64),
            among(self.probabilities[kept], self.labels, answers),
        )

    def open_answers(self, shared: Sequence[str]) -> NDArray[np.int64]:
        """What the model says of the same clips when it may answer any of its labels: see evaluation.labels."""
        return open_answers(self.probabilities[self._of(shared)], self.labels, shared)

    def _of(self, shared: Sequence[str]) -> NDArray[np.intp]:
        return np.flatnonzero(np.isin(self.label, list(shared)))


def predicted(frame: pd.DataFrame, order: Sequence[str]) -> Stored:
    """Rows of predictions.parquet; the model's labels stand in `order`, and those that it does not name after it."""
    frame = frame.sort_values("utterance_id")
    held = [name.removeprefix("p_") for name in frame.columns if name.startswith("p_")]
    labels = sorted(held, key=lambda label: list(order).index(label) if label in order else len(order))
    return Stored(
        labels,
        list(frame["utterance_id"]),
        list(frame["speaker_id"]),
        list(frame["target"]),
        frame[[f"p_{label}" for label in labels]].to_numpy().astype(np.float64),
    )


def of_role(folder: Path, order: Sequence[str], role: str, include_seen: bool = False) -> Stored:
    """Predictions of one role, by default without clips that the model has seen. `order` as in `predicted`.

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
    return predicted(kept, order)


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
