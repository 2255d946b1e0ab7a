"""Steps `train_baseline` and `train_probe`: fixed features and a logistic regression -> model.json, model.safetensors.

Beside them lie learnt.json and learnt.parquet, which say what the model has learnt from.
The regularisation is chosen on dev UAR, as everything is that is chosen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.builds.adapt import fit_adapted
from ser_tasks.builds.regression import best_regression
from ser_tasks.builds.rows import examples, keep_learnt, rows_to_fit, unpacked
from ser_tasks.inference.predict import embed_packed
from ser_tasks.models.adapted import save_adapted, spread
from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.training.examples import Examples

STRENGTHS = (1.0, 0.1, 0.01)
"""Inverse regularisation strengths that are tried, the usual one first."""


def build_baseline(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: rows, audio. Params: labels, seed, title."""
    _train(ModelSpec("baseline", {}, params["labels"], title=params["title"]), None, inputs, params, out)


def build_probe(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: rows, audio, encoder. Params: labels, seed, title."""
    _train(ModelSpec("probe", {}, params["labels"], title=params["title"]), inputs["encoder"], inputs, params, out)


def _train(
    spec: ModelSpec, encoder: Path | None, inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path
) -> None:
    train, dev = rows_to_fit(inputs["rows"])
    speakers = sorted({*train["speaker_id"], *dev["speaker_id"]})
    model: Any = build_model(spec, encoder, params["seed"])
    with unpacked(inputs["audio"], speakers) as audio:
        fitted, selecting = examples(audio, train, spec.labels), examples(audio, dev, spec.labels)
        fit_linear(model, audio, fitted, selecting)
        who = (list(train["speaker_id"]), list(dev["speaker_id"]))
        adapted = fit_adapted(model, audio, fitted, selecting, who, len(spec.labels))
        keep_learnt(inputs, [train, dev], audio, out)
    save_model(out, model, spec)
    if adapted:
        save_adapted(out, adapted)


def fit_linear(model: Any, audio: PackedAudio, train: Examples, dev: Examples) -> None:
    """Fit a model's linear classifier to its embeddings: trained on train, selected on dev."""
    features = embed_packed(model, audio, [*train.clips, *dev.clips]).astype(np.float64)
    n = len(train.clips)
    mean, scale = features[:n].mean(axis=0), spread(features[:n])
    standard = (features - mean) / scale
    learnt, selecting = (standard[:n], np.asarray(train.targets)), (standard[n:], np.asarray(dev.targets))
    weight, bias = best_regression(learnt, selecting, STRENGTHS, len(model.linear.bias))
    model.linear.set(mean, scale, weight, bias)
