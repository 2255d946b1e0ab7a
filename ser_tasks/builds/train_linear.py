"""Steps `train_baseline` and `train_probe`: fixed features and a logistic regression -> model.json, model.safetensors.

Beside them lie learnt.json and learnt.parquet, which say what the model has learnt from.
The regularisation is chosen on dev UAR, as everything is that is chosen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

from ser_tasks.builds.adapt import fit_adapted
from ser_tasks.builds.rows import examples, keep_learnt, rows_to_fit, unpacked
from ser_tasks.inference.predict import embed_packed
from ser_tasks.models.adapted import save_adapted
from ser_tasks.models.files import ModelSpec, build_model, save_model

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
        indices = [index for index, _ in [*fitted.rows, *selecting.rows]]
        features = embed_packed(model, audio, indices).astype(np.float64)
        adapted = fit_adapted(model, audio, fitted, selecting, (list(train["speaker_id"]), list(dev["speaker_id"])))
        keep_learnt(inputs, [train, dev], audio, out)
    targets = np.array([target for _, target in [*fitted.rows, *selecting.rows]])
    n = len(fitted.rows)
    mean, scale = features[:n].mean(axis=0), features[:n].std(axis=0) + 1e-6
    standard = (features - mean) / scale
    best = max((_fit(standard, targets, n, strength) for strength in STRENGTHS), key=lambda fit: fit[0])[1]
    weight = np.zeros((len(spec.labels), features.shape[1]))
    bias = np.full(len(spec.labels), -1e9)  # a class that was never seen is never predicted
    weight[best.classes_], bias[best.classes_] = best.coef_, best.intercept_
    model.linear.set(mean, scale, weight, bias)
    save_model(out, model, spec)
    if adapted:
        save_adapted(out, adapted)


def _fit(features: Any, targets: Any, n: int, strength: float) -> tuple[float, LogisticRegression]:
    """A regression on the first n rows and its UAR on the rest."""
    regression = LogisticRegression(C=strength, max_iter=2000, class_weight="balanced").fit(features[:n], targets[:n])
    score = recall_score(targets[n:], regression.predict(features[n:]), average="macro", zero_division=0)
    return float(score), regression
