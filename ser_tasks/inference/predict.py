"""Probabilities and embeddings, of one clip or of a packed corpus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import nn

from ser_tasks.audio.decode import decode
from ser_tasks.audio.packed import PackedAudio
from ser_tasks.errors import BadInput
from ser_tasks.models.files import ModelSpec
from ser_tasks.training.apply import apply_to_clips
from ser_tasks.training.device import choose_device


def predict_packed(
    model: nn.Module,
    audio: PackedAudio,
    indices: Sequence[int],
    device: str = "auto",
    batch_seconds: float = 120.0,
    *,
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Classify clips of a packed corpus.

    Args:
        model: As `load_model` gives it; it is moved to the device and put in evaluation mode.
        audio: Where the clips are.
        indices: Which clips; the result keeps their order.
        device: auto | cpu | cuda.
        batch_seconds: Most seconds in a batch, padding included. It changes no result.
        precision: auto | float32 | bf16. With bf16 a clip's result depends a little on its batch.

    Returns:
        Probabilities float32 [len(indices), classes].
    """
    place = choose_device(device)
    logits = apply_to_clips(model.to(place).eval(), audio, indices, place, batch_seconds, precision=precision)
    probabilities: NDArray[np.float32] = logits.softmax(dim=1).numpy()
    return probabilities


def embed_packed(
    model: nn.Module,
    audio: PackedAudio,
    indices: Sequence[int],
    device: str = "auto",
    batch_seconds: float = 120.0,
    *,
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Embed clips of a packed corpus: mean and standard deviation over time of the model's or encoder's last layer.

    Args:
        model: An `Encoder`, or any model of `build_model`.
        audio: Where the clips are.
        indices: Which clips; the result keeps their order.
        device: auto | cpu | cuda.
        batch_seconds: Most seconds in a batch, padding included. It changes no result.
        precision: auto | float32 | bf16. With bf16 a clip's result depends a little on its batch.

    Returns:
        Embeddings float32 [len(indices), 2 * dim], means first.
    """
    place = choose_device(device)
    embed: Any = model.to(place).eval().embed
    embeddings: NDArray[np.float32] = apply_to_clips(
        embed, audio, indices, place, batch_seconds, precision=precision
    ).numpy()
    return embeddings


def predict_waveform(
    model: nn.Module, spec: ModelSpec, samples: NDArray[np.float32], sample_rate: int
) -> dict[str, Any]:
    """Classify one clip, where the model is.

    Args:
        model: As `load_model` gives it.
        spec: Of the model.
        samples: float32 [n] in [-1, 1], mono.
        sample_rate: Of `samples`, in Hz; it is resampled where the model takes another.

    Returns:
        {"label": the most probable one, "probabilities": {label: probability}}.

    Raises:
        BadInput: There are no samples, or one is not a number.
    """
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise BadInput(f"predict: samples {samples.shape} are empty, not mono or not finite: nothing to predict from")
    if sample_rate != spec.sample_rate_hz:
        samples = soxr.resample(samples, sample_rate, spec.sample_rate_hz)
    place = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    waveforms = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))[None].to(place)
    with torch.inference_mode():
        logits = model.eval()(waveforms, torch.tensor([waveforms.shape[1]], device=place))
    probabilities = logits[0].softmax(dim=0).tolist()
    by_label = dict(zip(spec.labels, probabilities, strict=True))
    return {"label": max(by_label, key=by_label.__getitem__), "probabilities": by_label}


def predict_file(model: nn.Module, spec: ModelSpec, source: Path | bytes) -> dict[str, Any]:
    """Classify one audio file, or its bytes; see `predict_waveform`."""
    return predict_waveform(model, spec, decode(source).samples, spec.sample_rate_hz)
