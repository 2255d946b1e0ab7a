"""Steps `train_baseline` and `train_probe`: fixed features and a logistic regression -> model.json, model.safetensors.

Beside them lie learnt.json and learnt.parquet, which say what the model has learnt from.
The regularisation is chosen on dev UAR, as everything is that is chosen.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.builds.adapt import fit_adapted
from ser_tasks.builds.regression import best_regression
from ser_tasks.builds.rows import examples, keep_learnt, rows_to_fit, unpacked
from ser_tasks.builds.scaling import scale_model
from ser_tasks.inference.predict import embed_packed
from ser_tasks.models.adapted import save_adapted, spread
from ser_tasks.models.baseline import Baseline
from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.training.apply import apply_to_clips
from ser_tasks.training.device import choose_device

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STRENGTHS = (1.0, 0.1, 0.01)
"""Inverse regularisation strengths that are tried for a probe, the usual one first."""
BASELINE_STRENGTHS = (0.03, 0.01, 0.003)
_BATCH_S = 240.0  # seconds of audio: copies draw by batches, and a batch must be the same on every device
COPIES = 4
"""Of every clip that the baseline learns from, besides the clip: see `Baseline.embed_changed`. This, the strengths and
the features' limit were chosen on development folds, see tests/benchmarks/conditions.py."""


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
        sides = (examples(audio, train, spec.labels), examples(audio, dev, spec.labels))
        targets = [side.targets.numpy() for side in sides]
        fit = fit_baseline if isinstance(model, Baseline) else fit_probe
        embeddings = fit(model, audio, [side.clips for side in sides], targets, params["seed"])
        spec = scale_model(model, spec, _probabilities(model, embeddings[1]), targets[1])
        speakers_of = [list(rows["speaker_id"]) for rows in (train, dev)]
        adapted = fit_adapted(embeddings, targets, speakers_of, len(spec.labels))
        keep_learnt(inputs, [train, dev], audio, out)
    save_model(out, model, spec)
    if adapted:
        save_adapted(out, adapted)


def _probabilities(model: Any, embeddings: Floats) -> Floats:
    logits: torch.Tensor = model.linear(torch.from_numpy(embeddings.astype(np.float32)))
    return logits.double().softmax(dim=1).numpy()


def fit_probe(
    model: Any, audio: PackedAudio, clips: Sequence[Sequence[int]], targets: Sequence[Ints], seed: int
) -> list[Floats]:
    """Fit the linear classifier of a model to what it makes of train and dev clips; `seed` decides nothing.

    Args:
        model: As `build_model` makes it.
        audio: Where the clips are.
        clips: Of train and of dev.
        targets: Their labels, int64 [clips] each.
        seed: Of random draws.

    Returns:
        The model's embeddings of the clips of train and of dev, float64 [clips, features] each.
    """
    embeddings = [embed_packed(model, audio, side).astype(np.float64) for side in clips]
    fit_linear(model, embeddings, targets, STRENGTHS)
    return embeddings


def fit_baseline(
    model: Baseline, audio: PackedAudio, clips: Sequence[Sequence[int]], targets: Sequence[Ints], seed: int
) -> list[Floats]:
    """As `fit_probe`, from every clip as it is and from changed copies of it."""
    place = choose_device("auto")
    model.to(place).eval()
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        found = [
            apply_to_clips(partial(model.embed_changed, copies=COPIES), audio, side, place, _BATCH_S).double().numpy()
            for side in clips
        ]
    everything = [values.reshape(-1, values.shape[2]) for values in found]
    fit_linear(model, everything, [target.repeat(1 + COPIES) for target in targets], BASELINE_STRENGTHS)
    return [values[:, 0] for values in found]


def fit_linear(model: Any, embeddings: Sequence[Floats], targets: Sequence[Ints], strengths: Sequence[float]) -> None:
    """Fit a model's linear classifier to features of train and dev clips: trained on train, selected on dev."""
    model.cpu()
    mean, scale = embeddings[0].mean(axis=0), spread(embeddings[0])
    weight, bias = np.zeros((len(model.linear.bias), len(mean))), np.zeros(len(model.linear.bias))
    model.linear.set(mean, scale, weight, bias)
    train, dev = (
        (model.linear.standardised(torch.from_numpy(values)).numpy(), target)
        for values, target in zip(embeddings, targets, strict=True)
    )
    model.linear.set(mean, scale, *best_regression(train, dev, strengths, len(bias)))
