"""Step `trait`: embeddings, prosody and ratings -> a direction and the evidence for and against it.

Writes trait.safetensors and trait.json (the direction), scores.parquet (one row a clip), metrics.json, and what the
pictures need: null.parquet, curve.parquet, effects.parquet.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from ser_tasks.builds.learnt_clips import marked, refuse_too_little_unseen
from ser_tasks.data.manifest import read_manifest
from ser_tasks.errors import BadInput
from ser_tasks.rudeness.embeddings import read_layers
from ser_tasks.rudeness.evidence import Evidence, Options, examine
from ser_tasks.rudeness.folds import Layers
from ser_tasks.rudeness.groups import groups_in_words, in_groups
from ser_tasks.rudeness.null import AUC_NAMES
from ser_tasks.rudeness.prosody import MEASURES
from ser_tasks.rudeness.traitfile import fit_vector, pooled, save_trait

POOLINGS = ("mean", "mean and sd")


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: embeddings, manifest, prosody, ratings (optional). Params: those of config.Trait, resamples, seed."""
    names, layers = read_layers(inputs["embeddings"])
    about = json.loads((inputs["embeddings"] / "about.json").read_text())
    prosody = pd.read_parquet(inputs["prosody"] / "prosody.parquet")
    ratings = pd.read_parquet(inputs["ratings"] / "ratings.parquet") if "ratings" in inputs else None
    position = pd.Series(range(len(names)), index=names)
    clips = in_groups(read_manifest(inputs["manifest"] / "manifest.parquet"), ratings, params)
    clips = clips[clips["utterance_id"].isin(position.index)].reset_index(drop=True)
    if clips.empty:
        raise BadInput(f"trait: no embedded clip of {params['corpus']} has a rating or an emotion of either group")
    clips, told = marked(clips, inputs["embeddings"])
    if told:
        refuse_too_little_unseen(clips, told, params["corpus"])
        about["note"] = "; ".join(filter(None, (about["note"], told["sentence"].rstrip("."))))
    clips = clips[clips["seen"] == ""].drop(columns="seen").reset_index(drop=True)
    measures = [name for name in MEASURES if name in prosody]
    clips = clips.drop(columns=[m for m in measures if m in clips]).merge(prosody, on="utterance_id", how="left")
    rows = position[clips["utterance_id"]].to_numpy()
    candidates = [(layer, pooling) for layer in range(layers.shape[1]) for pooling in POOLINGS]

    def read(candidate: int) -> npt.NDArray[np.float32]:
        layer, pooling = candidates[candidate]
        return pooled(layers[rows, layer : layer + 1], 0, pooling)

    options = Options(params["permutations"], params["resamples"], params["seed"], stand_in=ratings is None)
    named = Layers([f"layer {layer}, {pooling}" for layer, pooling in candidates], read)
    found = examine(named, clips, measures, ratings, options)
    scores = clips[["utterance_id", "speaker_id", "session", "emotion", "rating", "high", *measures]]
    scores = scores.assign(score=found.score)
    metrics = _metrics(params, about, scores, found, ratings is not None) | {"seen": told}
    layer, pooling = candidates[found.candidate]
    summary = {
        key: metrics[key] for key in ("embeddings", "note", "groups", "clips", "speakers", "auc", "explained_by")
    }
    high = clips["high"].to_numpy(dtype=bool)
    summary["percentile_of"] = (
        f"{len(clips)} clips of {params['corpus']}, each scored by a direction fitted without its "
        f"{metrics['left_out_together']}"
    )
    summary |= {"corpus": params["corpus"]} | {key: about[key] for key in ("front_end",) if key in about}
    vector = fit_vector(params["name"], layer, pooling, read(found.candidate), high, found.raw, summary)
    save_trait(vector, out)
    scores.to_parquet(out / "scores.parquet", index=False)
    for name in ("null", "curve", "effects"):
        getattr(found, name).to_parquet(out / f"{name}.parquet", index=False)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))


def _metrics(
    params: Mapping[str, Any], about: Mapping[str, str], scores: pd.DataFrame, found: Evidence, rated: bool
) -> dict[str, Any]:
    held_out = next(iter(found.metrics["left_out"]))
    section = found.metrics["left_out"][held_out]
    pairs = {"inside_speakers": section["within_speaker"], "one_clip": section["one_clip"]}
    high = scores["high"].to_numpy(dtype=bool)
    loud = [name for name in ("rms_db", "centroid_hz") if name in scores]
    return {
        "trait": params["name"],
        "groups": groups_in_words(params, rated=rated),
        "embeddings": about["title"],
        "note": about["note"],
        "left_out_together": held_out,
        "auc": {
            name: {"name": AUC_NAMES[name]} | {key: value[key] for key in ("value", "low", "high", "p")}
            for name, value in pairs.items()
        },
        "interval": "95 %, the wider of the jackknife over speakers and of shuffled labels",
        "explained_by": found.metrics["verdict"]["explained_by"],
        "clips": len(scores),
        "high_clips": int(high.sum()),
        "speakers": int(scores["speaker_id"].nunique()),
        "spearman": {name: _spearman(scores["score"], scores[name]) for name in ("rating", *loud)},
        "prosody_means": {
            name: {"high": float(scores.loc[high, name].mean()), "low": float(scores.loc[~high, name].mean())}
            for name in loud
        },
        "evidence": found.metrics,
    }


def _spearman(first: pd.Series, second: pd.Series) -> dict[str, float] | None:
    """Without a p-value, which would take clips of one speaker as independent: evidence.rating has one."""
    both = pd.DataFrame({"first": first, "second": second}).dropna()
    if len(both) < 3 or both.nunique().min() < 2:
        return None
    result = spearmanr(both["first"], both["second"])
    return {"rho": float(result.statistic), "clips": len(both)}
