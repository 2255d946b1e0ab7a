"""Step `rows`: a split -> the one table of rows that a stage may see."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: split. Params: rows (fit, gate or test)."""
    shutil.copyfile(inputs["split"] / f"{params['rows']}.parquet", out / "rows.parquet")
