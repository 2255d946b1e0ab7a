"""Step `validate`: a manifest -> results.json and docs/; a critical failure stops the run before any training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks.data.drift import MEASURES
from ser_tasks.data.validation import refuse_critical, tables_to_validate, validate
from ser_tasks.errors import BadInput

FIRST_VERSION = "first version"


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: scan, accepted (a scan, optional). Params: corpus, suite, labels, label_map, max_drift.

    Raises:
        BadInput: A critical expectation fails; names rows. Or the manifest is none.
    """
    rejected = pd.read_csv(inputs["scan"] / "rejected.csv")
    accepted = _read(inputs["accepted"], ["emotion", *MEASURES]) if "accepted" in inputs else None
    tables = tables_to_validate(_read(inputs["scan"]), rejected, params["labels"], params["label_map"], accepted)
    outcome = validate(tables, params["suite"], params["corpus"], out / "docs")
    refuse_critical(outcome, params["corpus"])
    drift = (
        {"bound": params["max_drift"], "features": _records(tables["drift"])} if "drift" in tables else FIRST_VERSION
    )
    results = {"corpus": params["corpus"], **outcome, "drift": drift, "docs": "docs/index.html"}
    (out / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False), encoding="utf-8")


def _read(scan: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """The manifest as the file has it: no column is added or converted on the way."""
    path = scan / "manifest.parquet"
    try:
        frame: pd.DataFrame = pq.read_table(path, columns=columns).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} is no manifest: {error}; run the step 'scan' again") from error
    return frame


def _records(drift: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()} for row in drift.to_dict("records")
    ]
