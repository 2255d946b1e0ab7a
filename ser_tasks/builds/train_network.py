"""Steps `train_cnn` and `train_wav2vec2`: train and dev clips -> a model, adapted.safetensors and history.jsonl.

Beside them lie learnt.json and learnt.parquet, which say what the model has learnt from.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.builds.adapt import fit_adapted
from ser_tasks.builds.rows import examples, keep_learnt, rows_to_fit, unpacked
from ser_tasks.builds.scaling import scale_model
from ser_tasks.data.ratings import mean_ratings
from ser_tasks.data.votes import HEARD, vote_counts
from ser_tasks.errors import BadInput
from ser_tasks.inference.predict import embed_packed, predict_and_embed_packed
from ser_tasks.live import history_file
from ser_tasks.models.adapted import save_adapted
from ser_tasks.models.files import ModelSpec, build_model, load_model, save_model
from ser_tasks.training.checkpoints import Checkpoints
from ser_tasks.training.fit import EpochMetrics, Examples, FitOptions, fit

_log = logging.getLogger(__name__)
OnEpoch = Callable[[Mapping[str, Any]], None]
_HEARD = (*HEARD, "audio_visual")
"""Whose votes are learnt from, the first that a clip has: raters who only heard it come before those who saw it too."""


def build_cnn(
    inputs: Mapping[str, Path],
    params: Mapping[str, Any],
    out: Path,
    checkpoints: Checkpoints | None = None,
    on_epoch: OnEpoch | None = None,
) -> None:
    """Inputs: rows, audio, ratings (optional: of a tone). Params: labels, seed, title, note, options, fit."""
    spec = ModelSpec("cnn", dict(params["options"]), params["labels"], title=params["title"])
    _train(spec, inputs, params, out, checkpoints, on_epoch)


def build_wav2vec2(
    inputs: Mapping[str, Path],
    params: Mapping[str, Any],
    out: Path,
    checkpoints: Checkpoints | None = None,
    on_epoch: OnEpoch | None = None,
) -> None:
    """Inputs: as build_cnn, and encoder (optional). Params: as build_cnn, and offline_encoder."""
    options: dict[str, Any] = dict(params["options"])
    if "encoder" not in inputs:
        options["encoder"] = {"random": params["offline_encoder"]}
    spec = ModelSpec("wav2vec2", options, params["labels"], title=params["title"], note=params["note"])
    _train(spec, inputs, params, out, checkpoints, on_epoch)


def _train(
    spec: ModelSpec,
    inputs: Mapping[str, Path],
    params: Mapping[str, Any],
    out: Path,
    checkpoints: Checkpoints | None,
    on_epoch: OnEpoch | None,
) -> None:
    options = FitOptions(**params["fit"], seed=params["seed"])
    train, dev = rows_to_fit(inputs["rows"])
    if options.tone_weight:
        spec, options = _with_second_head(spec, options, inputs.get("ratings"), train)
    speakers = sorted({*train["speaker_id"], *dev["speaker_id"]})
    model = build_model(spec, inputs.get("encoder"), params["seed"])
    write = history_file(out / "history.jsonl")

    def report(metrics: EpochMetrics) -> None:
        write(asdict(metrics))
        if on_epoch:
            on_epoch(asdict(metrics))

    if "start" in inputs:
        _start_from(inputs, model, spec, speakers)
    with unpacked(inputs["audio"], speakers) as audio:
        fitted, selecting = (_examples(audio, rows, spec.labels, options, inputs) for rows in (train, dev))
        history = fit(
            model,
            fitted,
            selecting,
            spec.labels,
            options,
            checkpoints=checkpoints,
            cache_folder=Path(os.environ.get("SER_CACHE_DIR", ".local/cache")) / "features",
            on_epoch=report,
        )
        said, embedded = predict_and_embed_packed(model, audio, selecting.clips, len(spec.labels))
        adapted = fit_adapted(
            [embed_packed(model, audio, fitted.clips), embedded],
            [side.targets.numpy() for side in (fitted, selecting)],
            [list(rows["speaker_id"]) for rows in (train, dev)],
            len(spec.labels),
        )
        spec = scale_model(model, spec, said, selecting.targets.numpy())
        keep_learnt(inputs, [train, dev], audio, out)
    save_model(out, model, spec)
    if adapted:
        save_adapted(out, adapted)
    (out / "history.jsonl").write_text("".join(json.dumps(asdict(epoch)) + "\n" for epoch in history))


def _with_second_head(
    spec: ModelSpec, options: FitOptions, ratings: Path | None, train: pd.DataFrame
) -> tuple[ModelSpec, FitOptions]:
    """The model with a head for the tone; without one where there is nothing that it could learn, and a remark."""
    if ratings is not None and bool(_tones(ratings, train).isfinite().any()):
        return replace(spec, options={**spec.options, "tone": True}), options
    remark = "no second head: no clip that the model learnt from is rated for a tone"
    _log.warning("%s", remark)
    return replace(spec, remark=remark), replace(options, tone_weight=0.0)


def _start_from(inputs: Mapping[str, Path], model: torch.nn.Module, spec: ModelSpec, speakers: Sequence[str]) -> None:
    """Give a model the weights of an earlier one, unless that one has learnt from speakers who now test it."""
    earlier, its = load_model(inputs["start"])
    if list(its.labels) != list(spec.labels):
        raise BadInput("training: the champion has other labels: set nights.start to encoder")
    heard = {speaker for part in rows_to_fit(inputs["start_rows"]) for speaker in part["speaker_id"]}
    if strangers := sorted(heard - set(speakers)):
        raise BadInput(
            f"training: the champion has learnt from {', '.join(strangers[:5])}, who do not train today: "
            "its results on them would mean nothing; set nights.start to encoder"
        )
    other = BadInput("training: the champion is another network: set nights.start to encoder")
    described: list[Any] = [each.describe() for each in (earlier, model)]  # type: ignore[operator]
    if described[0]["front_end"] != described[1]["front_end"]:
        raise BadInput("training: the champion hears another part of a clip (front_end): set nights.start to encoder")
    try:
        differing = model.load_state_dict(earlier.state_dict(), strict=False)
    except RuntimeError as error:
        raise other from error
    # the second head comes with the first ratings, and begins anew then
    if any(not name.startswith("tone_head.") for name in [*differing.missing_keys, *differing.unexpected_keys]):
        raise other


def _examples(
    audio: PackedAudio, rows: pd.DataFrame, labels: Sequence[str], options: FitOptions, inputs: Mapping[str, Path]
) -> Examples:
    """Rows of a split with the targets that the options ask for."""
    found = examples(audio, rows, labels)
    if options.soft_weight:
        if "votes" not in rows:
            raise BadInput("training: soft_weight is set, but this corpus has no raters' votes: set it to 0")
        found = replace(found, soft=torch.tensor([vote_shares(votes, labels) for votes in rows["votes"]]))
    if options.tone_weight:
        found = replace(found, tone=_tones(inputs["ratings"], rows))
    return found


def vote_shares(votes: object, labels: Sequence[str]) -> list[float]:
    """Shares of the raters' votes among the labels; NaN where nobody voted for any of them.

    Args:
        votes: JSON of a manifest's column `votes`: {"voice": {"counts": {"angry": 3}, ...}, ...}; or missing.
        labels: Canonical emotions.
    """
    given = vote_counts(votes, labels, _HEARD)
    return [count / sum(given) for count in given] if sum(given) else [float("nan")] * len(labels)


def _tones(ratings: Path, rows: pd.DataFrame) -> Tensor:
    """Mean rating of each row's utterance, NaN where there is none: float32 [rows]."""
    means = mean_ratings(pd.read_parquet(ratings / "ratings.parquet")).set_index("utterance_id")["mean"]
    return torch.tensor(means.reindex(rows["utterance_id"]).to_numpy(dtype="float32"))
