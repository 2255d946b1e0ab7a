"""Step `transfer`: a direction and another corpus -> scores.parquet and metrics.json: does it hold there?"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.builds.learnt_clips import marked
from ser_tasks.data.manifest import read_manifest
from ser_tasks.errors import BadInput
from ser_tasks.rudeness.embeddings import read_layers
from ser_tasks.rudeness.groups import groups_in_words, in_groups
from ser_tasks.rudeness.traitfile import load_trait
from ser_tasks.rudeness.transfer import transfer

COLUMNS = ["utterance_id", "speaker_id", "emotion", "rating", "high"]


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: trait, embeddings, manifest, ratings (optional). Params: corpus, label_by, threshold, high, low,
    permutations, resamples, seed; without ratings and without emotions every clip is scored and no AUC is given.
    """
    trait = load_trait(inputs["trait"])
    heard = json.loads((inputs["embeddings"] / "about.json").read_text(encoding="utf-8")).get("front_end")
    if heard and heard != trait.about.get("front_end", "whole"):  # directions had none before there was a choice
        raise BadInput(f"transfer: the direction was fitted before encoders heard {heard} alone: fit the trait again")
    names, layers = read_layers(inputs["embeddings"])
    position = pd.Series(range(len(names)), index=names)
    manifest = read_manifest(inputs["manifest"] / "manifest.parquet")
    ratings = pd.read_parquet(inputs["ratings"] / "ratings.parquet") if "ratings" in inputs else None
    labelled = ratings is not None or bool(params["high"])
    groups = in_groups(manifest, ratings, params) if labelled else manifest.assign(rating=float("nan"), high=None)
    clips = groups.loc[groups["utterance_id"].isin(position.index), COLUMNS].reset_index(drop=True)
    if clips.empty:
        raise BadInput(f"transfer: no embedded clip of {params['corpus']} has a rating or an emotion of either group")
    words = groups_in_words(params, rated=ratings is not None) if labelled else "no labels: scored only"
    clips, told = marked(clips, inputs["embeddings"])
    if told:  # scored, but a clip that the embedder has learnt from says nothing of how well the direction holds
        clips["high"] = clips["high"].astype(object).where(clips["seen"] == "", None)
        words = f"{words}; {told['sentence'].rstrip('.')}"
    drawn = {name: params[name] for name in ("permutations", "resamples", "seed")}
    metrics, scored = transfer(trait, layers[position[clips["utterance_id"]].to_numpy()], clips, **drawn)
    found = {"corpus": params["corpus"], "groups": words, "clips": len(clips), "seen": told, **metrics}
    scored.to_parquet(out / "scores.parquet", index=False)
    (out / "metrics.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
