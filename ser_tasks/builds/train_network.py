"""Steps `train_cnn` and `train_wav2vec2`: train and dev clips -> model.json, model.safetensors, history.jsonl."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ser_tasks.builds.rows import examples, rows_to_fit, unpacked
from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.training.fit import FitOptions, fit


def build_cnn(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: rows, audio. Params: labels, seed, title, note, options, fit."""
    _train(ModelSpec("cnn", params["options"], params["labels"], title=params["title"]), None, inputs, params, out)


def build_wav2vec2(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: rows, audio, encoder (optional). Params: as build_cnn, offline_encoder, freeze_feature_encoder."""
    options: dict[str, Any] = {"freeze_feature_encoder": params["freeze_feature_encoder"]}
    if "encoder" not in inputs:
        options["encoder"] = {"random": params["offline_encoder"]}
    spec = ModelSpec("wav2vec2", options, params["labels"], title=params["title"], note=params["note"])
    _train(spec, inputs.get("encoder"), inputs, params, out)


def _train(
    spec: ModelSpec, encoder: Path | None, inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path
) -> None:
    train, dev = rows_to_fit(inputs["rows"])
    speakers = sorted({*train["speaker_id"], *dev["speaker_id"]})
    model = build_model(spec, encoder, params["seed"])
    with unpacked(inputs["audio"], speakers) as audio:
        history = fit(
            model,
            examples(audio, train, spec.labels),
            examples(audio, dev, spec.labels),
            spec.labels,
            FitOptions(**params["fit"], seed=params["seed"]),
        )
    save_model(out, model, spec)
    (out / "history.jsonl").write_text("".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))
