"""Predictions for many files as tables: JSON, CSV or Parquet."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.errors import BadInput

FORMATS = (".json", ".csv", ".parquet")


def check_format(path: Path) -> None:
    """Raises BadInput when predictions cannot be written in the format that the file's suffix names."""
    if path.suffix not in FORMATS:
        raise BadInput(f"{path}: predictions are written as {', '.join(FORMATS)}: end the name in one of them")


def predictions_table(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> pd.DataFrame:
    """One row a file: path, label, p_<label> for every label, duration_s, error (empty where there is a result).

    Where the model has a second head, `tone` follows the probabilities.
    """
    return pd.DataFrame(
        [
            {
                "path": row["path"],
                **_outputs(row, labels),
                "duration_s": row.get("duration_s"),
                "error": row["error"],
            }
            for row in rows
        ],
        columns=["path", "label", *_columns(rows, labels), "duration_s", "error"],
    ).astype(dict.fromkeys([*_columns(rows, labels), "duration_s"], "float64"))


def timeline_table(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> pd.DataFrame:
    """One row a window of the long files: path, start_s, end_s, label, p_<label> for every label, and tone."""
    return pd.DataFrame(
        [
            {"path": row["path"], "start_s": part["start_s"], "end_s": part["end_s"], **_outputs(part, labels)}
            for row in rows
            for part in row.get("timeline", [])
        ],
        columns=["path", "start_s", "end_s", "label", *_columns(rows, labels)],
    )


def write_predictions(
    rows: Sequence[Mapping[str, Any]], labels: Sequence[str], path: Path, about: Mapping[str, Any]
) -> list[Path]:
    """Write predictions in the format that the file's suffix names.

    Args:
        rows: As `predict_folder` gives them.
        labels: Of the model.
        path: Ends in .json (one document with all), .csv or .parquet; an older file is replaced.
        about: What the document says of the model, for JSON.

    Returns:
        The files written: for CSV and Parquet also `<name>.timeline<suffix>` where a file is long enough for one.

    Raises:
        BadInput: The suffix is another.
    """
    check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(
            json.dumps({**about, "predictions": list(rows)}, indent=1, ensure_ascii=False), encoding="utf-8"
        )
        return [path]
    written = [path]
    _write(predictions_table(rows, labels), path)
    timeline, beside = timeline_table(rows, labels), path.with_name(f"{path.stem}.timeline{path.suffix}")
    if len(timeline):
        _write(timeline, beside)
        written.append(beside)
    else:
        beside.unlink(missing_ok=True)  # of an older run
    return written


def _columns(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    return [*(f"p_{label}" for label in labels), *(["tone"] if any("tone" in row for row in rows) else [])]


def _outputs(row: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    found = row.get("probabilities", {})
    said = {"label": row.get("label"), **{f"p_{label}": found.get(label) for label in labels}}
    return {**said, "tone": row.get("tone")}


def _write(frame: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
