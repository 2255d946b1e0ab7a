"""Step `ratings`: rating files of a corpus and new drops -> ratings.parquet, one row a rating."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_tasks.data.ratings import read_ratings
from ser_tasks.errors import BadInput


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: raw, incoming (optional). Params: trait, file."""
    first = (inputs["raw"] / params["file"]).resolve()
    if not first.is_relative_to(inputs["raw"].resolve()):
        raise BadInput(f"ratings: trait.ratings {params['file']!r} lies outside the corpus folder")
    drops = sorted(inputs["incoming"].rglob("*.csv")) if "incoming" in inputs else []
    paths = [path for path in [first, *drops] if path.is_file()]
    read_ratings(paths, params["trait"]).to_parquet(out / "ratings.parquet", index=False)
