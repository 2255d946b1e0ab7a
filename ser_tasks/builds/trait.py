"""Step `trait`: embeddings and ratings -> the direction (trait.safetensors), scores.parquet, metrics.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file
from scipy.stats import spearmanr

from ser_tasks.data.manifest import read_manifest
from ser_tasks.data.ratings import mean_ratings
from ser_tasks.rudeness.trait import fit_trait


def _labelled(inputs: Mapping[str, Path], params: Mapping[str, Any]) -> pd.DataFrame:
    """The clips that have a place on either side: the manifest's columns, `rating` (mean, or NaN) and `high`."""
    manifest = read_manifest(inputs["manifest"] / "manifest.parquet")
    if "ratings" in inputs:
        means = mean_ratings(pd.read_parquet(inputs["ratings"] / "ratings.parquet"))
        rated = manifest.merge(means.rename(columns={"mean": "rating"}), on="utterance_id")
        return rated.assign(high=rated["rating"] > params["threshold"])
    standing = manifest[manifest["emotion"].isin([*params["high"], *params["low"]])]
    return standing.assign(rating=np.nan, high=standing["emotion"].isin(params["high"]))


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: embeddings, manifest, prosody, ratings (optional). Params: those of config.Trait, resamples, seed."""
    names = json.loads((inputs["embeddings"] / "utterances.json").read_text())
    about = json.loads((inputs["embeddings"] / "about.json").read_text())
    position = pd.Series(range(len(names)), index=names)
    clips = _labelled(inputs, params)
    clips = clips[clips["utterance_id"].isin(position.index)].reset_index(drop=True)
    embeddings = np.load(inputs["embeddings"] / "embeddings.npy")[position[clips["utterance_id"]]].astype(np.float64)
    by_session = clips["session"].notna().all()
    groups = clips["session"] if by_session else clips["speaker_id"]
    high = clips["high"].to_numpy(dtype=bool)
    fit = fit_trait(embeddings, high, list(groups), list(clips["speaker_id"]), params["resamples"], params["seed"])
    prosody = pd.read_parquet(inputs["prosody"] / "prosody.parquet")
    scores = clips[["utterance_id", "speaker_id", "session", "emotion", "rating", "high"]].assign(
        score=fit.held_out_score
    )
    scores = scores.merge(prosody, on="utterance_id", how="left")
    metrics = {
        "trait": params["name"],
        "groups": _groups_in_words(inputs, params),
        "embeddings": about["title"],
        "note": about["note"],
        "left_out_together": "session" if by_session else "speaker",
        "auc": {"value": fit.auc, "low": fit.low, "high": fit.high},
        "interval": "95 %, bootstrap over speakers",
        "clips": len(scores),
        "high_clips": int(high.sum()),
        "speakers": int(clips["speaker_id"].nunique()),
        "spearman": {
            name: _spearman(scores["score"], scores[name]) for name in ("rating", "rms_db", "centroid_hz")
        },
        "prosody_means": {
            name: {"high": float(scores.loc[high, name].mean()), "low": float(scores.loc[~high, name].mean())}
            for name in ("rms_db", "centroid_hz")
        },
    }  # fmt: skip
    save_file({"vector": fit.vector, "mean": fit.mean, "scale": fit.scale}, out / "trait.safetensors")
    scores.to_parquet(out / "scores.parquet", index=False)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))


def _groups_in_words(inputs: Mapping[str, Path], params: Mapping[str, Any]) -> str:
    if "ratings" in inputs:
        return f"mean rating above {params['threshold']:g} against the rest"
    return f"stand-in without ratings: {', '.join(params['high'])} against {', '.join(params['low'])}"


def _spearman(first: pd.Series, second: pd.Series) -> dict[str, float] | None:
    both = pd.DataFrame({"first": first, "second": second}).dropna()
    if len(both) < 3:
        return None
    result = spearmanr(both["first"], both["second"])
    return {"rho": float(result.statistic), "p": float(result.pvalue), "clips": len(both)}
