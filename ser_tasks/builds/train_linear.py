"""Steps `train_baseline` and `train_probe`: fixed features and a logistic regression -> model.json, model.safetensors.

Beside them lie learnt.json and learnt.parquet, which say what the model has learnt from.
The regularisation is chosen on dev UAR, as everything is that is chosen.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ser_tasks.builds.adapt import fit_adapted
from ser_tasks.builds.regression import best_regression
from ser_tasks.builds.rows import examples, keep_learnt, rows_to_fit, unpacked
from ser_tasks.builds.scaling import scale_model
from ser_tasks.inference.predict import embed_packed
from ser_tasks.models.adapted import save_adapted, spread
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
        sides = (fitted, selecting)
        embeddings = [embed_packed(model, audio, side.clips).astype(np.float64) for side in sides]
        targets = [side.targets.numpy() for side in sides]
        fit_linear(model, embeddings, targets)
        spec = scale_model(model, spec, _probabilities(model, embeddings[1]), targets[1])
        speakers_of = [list(rows["speaker_id"]) for rows in (train, dev)]
        adapted = fit_adapted(embeddings, targets, speakers_of, len(spec.labels))
        keep_learnt(inputs, [train, dev], audio, out)
    save_model(out, model, spec)
    if adapted:
        save_adapted(out, adapted)


def _probabilities(model: Any, embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    logits: torch.Tensor = model.linear(torch.from_numpy(embeddings.astype(np.float32)))
    return logits.double().softmax(dim=1).numpy()


def fit_linear(model: Any, embeddings: Sequence[NDArray[np.float64]], targets: Sequence[NDArray[np.int64]]) -> None:
    """Fit a model's linear classifier to its embeddings of train and dev clips: trained on train, selected on dev."""
    mean, scale = embeddings[0].mean(axis=0), spread(embeddings[0])
    train, dev = (((values - mean) / scale, target) for values, target in zip(embeddings, targets, strict=True))
    weight, bias = best_regression(train, dev, STRENGTHS, len(model.linear.bias))
    model.linear.set(mean, scale, weight, bias)
