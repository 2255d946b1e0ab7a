"""Steps `ratings` and `tones`: a corpus's own file and today's version of the dropped ratings -> ratings.parquet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.data.ratings import read_ratings
from ser_tasks.errors import BadInput


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: raw, annotations (optional). Params: trait, file."""
    own = (inputs["raw"] / params["file"]).resolve()
    if not own.is_relative_to(inputs["raw"].resolve()):
        raise BadInput(f"ratings: trait.ratings {params['file']!r} lies outside the corpus folder")
    dropped = pd.read_parquet(inputs["annotations"] / "ratings.parquet") if "annotations" in inputs else None
    ratings = read_ratings(own if own.is_file() else None, params["trait"], dropped)
    ratings.to_parquet(out / "ratings.parquet", index=False)


def build_tones(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: ratings, rows. The ratings of clips that training may see, so that others start no training anew."""
    ratings = pd.read_parquet(inputs["ratings"] / "ratings.parquet")
    seen = pd.read_parquet(inputs["rows"] / "rows.parquet", columns=["utterance_id"])["utterance_id"]
    kept = ratings[ratings["utterance_id"].isin(seen)].reset_index(drop=True)
    kept.to_parquet(out / "ratings.parquet", index=False)
