"""Step `validate`: a manifest -> results.json; a critical failure stops the run before any training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.data.manifest import read_manifest
from ser_tasks.data.validation import refuse_critical, tables_to_validate, validate


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: scan. Params: corpus, suite, labels. Raises BadInput, naming rows, when a critical expectation fails."""
    manifest = read_manifest(inputs["scan"] / "manifest.parquet")
    rejected = pd.read_csv(inputs["scan"] / "rejected.csv")
    outcome = validate(tables_to_validate(manifest, rejected, params["labels"]), params["suite"])
    refuse_critical(outcome, params["corpus"])
    (out / "results.json").write_text(json.dumps({"corpus": params["corpus"], **outcome}, indent=1))
