"""Step `figures`: metrics, models, embeddings, trait -> figures (PNG, SVG) with their data, and index.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.data.manifest import read_manifest
from ser_tasks.report.embedding_figures import embedding_pictures
from ser_tasks.report.figures import Picture, Scene, style, write_pictures
from ser_tasks.report.model_figures import calibration_picture, confusion_picture, learning_picture, uar_picture
from ser_tasks.report.trait_figures import evidence_pictures, prosody_picture, score_picture


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: metrics/<model>@<corpus>, model/<model> (none in a run for the trait alone); manifest, embeddings,
    trait (optional).

    Params: seed, trait (its name, or empty), synthetic (list of the corpora that are).
    """
    synthetic = frozenset(params["synthetic"])
    evaluations = {name: folder for name, folder in inputs.items() if name.startswith("metrics/")}
    results = [json.loads((folder / "metrics.json").read_text()) for folder in evaluations.values()]
    with style():
        pictures = [uar_picture(results, synthetic)] if results else []
        for result, folder in zip(results, evaluations.values(), strict=True):
            confusion = pd.read_csv(folder / "confusion.csv", index_col=0)
            pictures.append(confusion_picture(result, confusion, result["corpus"] in synthetic))
        for corpus in dict.fromkeys(result["corpus"] for result in results):
            here = [result for result in results if result["corpus"] == corpus]
            pictures.append(calibration_picture(here, corpus, corpus in synthetic))
        trained_on = next((result["corpus"] for result in results if result["relation"] == "within"), "")
        for name, folder in inputs.items():
            if results and name.startswith("model/") and (folder / "history.jsonl").is_file():
                spec = json.loads((folder / "model.json").read_text())
                history = pd.read_json(folder / "history.jsonl", lines=True)
                model = name.removeprefix("model/")
                pictures.append(learning_picture(model, spec, history, trained_on, trained_on in synthetic))
        pictures += _trait_pictures(inputs, params, synthetic)
        write_pictures(pictures, out)


def _trait_pictures(inputs: Mapping[str, Path], params: Mapping[str, Any], synthetic: frozenset[str]) -> list[Picture]:
    """What the trait corpus gives: embeddings need no trait, its scores need no embeddings."""
    if "manifest" not in inputs:
        return []
    corpus = json.loads((inputs["manifest"] / "summary.json").read_text())["corpus"]
    scene = Scene(params["trait"], corpus, corpus in synthetic, params["seed"])
    scores = pd.read_parquet(inputs["trait"] / "scores.parquet") if "trait" in inputs else None
    pictures: list[Picture] = []
    if "embeddings" in inputs:
        names = json.loads((inputs["embeddings"] / "utterances.json").read_text())
        about = json.loads((inputs["embeddings"] / "about.json").read_text())
        embeddings = np.load(inputs["embeddings"] / "embeddings.npy")
        clips = (
            read_manifest(inputs["manifest"] / "manifest.parquet").set_index("utterance_id").loc[names].reset_index()
        )
        pictures += embedding_pictures(embeddings, clips, about, scores, scene)
    if scores is not None:
        metrics = json.loads((inputs["trait"] / "metrics.json").read_text())
        pictures.append(score_picture(scores, metrics, scene))
        pictures.append(prosody_picture(scores, metrics, scene))
        pictures += evidence_pictures(inputs["trait"], metrics, scene)
    return pictures
