"""Which clips are high on a trait and which are low: by ratings, or by emotions that stand in for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.data.ratings import mean_ratings


def in_groups(manifest: pd.DataFrame, ratings: pd.DataFrame | None, params: Mapping[str, Any]) -> pd.DataFrame:
    """The clips that have a place on either side.

    Args:
        manifest: utterance_id and emotion among its columns.
        ratings: utterance_id, annotator_id, rating; None for a stand-in.
        params: threshold and label_by, or high and low, as in config.Trait.

    Returns:
        The manifest's rows with `rating` (mean, or NaN) and `high` (bool).
    """
    if ratings is None:
        standing = manifest[manifest["emotion"].isin([*params["high"], *params["low"]])]
        return standing.assign(rating=np.nan, high=standing["emotion"].isin(params["high"]))
    means = mean_ratings(ratings)[["utterance_id", "mean"]].rename(columns={"mean": "rating"})
    above = (ratings["rating"] > params["threshold"]).groupby(ratings["utterance_id"]).mean()
    rated = manifest.merge(means, on="utterance_id")
    if params["label_by"] == "majority":
        return rated.assign(high=rated["utterance_id"].map(above) > 0.5)
    return rated.assign(high=rated["rating"] > params["threshold"])


def groups_in_words(params: Mapping[str, Any], *, rated: bool) -> str:
    """How the two groups were made."""
    if not rated:
        return f"stand-in without ratings: {', '.join(params['high'])} against {', '.join(params['low'])}"
    if params["label_by"] == "majority":
        return f"rated above {params['threshold']:g} by most annotators against the rest"
    return f"mean rating above {params['threshold']:g} against the rest"
