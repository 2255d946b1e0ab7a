"""Probabilities and embeddings: of one clip, of many files, or of a packed corpus."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import nn

from ser_tasks.audio.decode import SAMPLE_RATE_HZ, THREADS, decode
from ser_tasks.audio.packed import PackedAudio
from ser_tasks.errors import BadInput
from ser_tasks.models.adapted import FEWEST_CLIPS, AdaptedHead, standardised
from ser_tasks.models.files import ModelSpec
from ser_tasks.training.apply import apply_to_clips
from ser_tasks.training.batches import prediction_batches
from ser_tasks.training.device import choose_device

_BATCH_SECONDS = 60.0  # most audio in a batch, padding included; it changes no result


def predict_packed(
    model: nn.Module,
    audio: PackedAudio,
    indices: Sequence[int],
    device: str = "auto",
    batch_seconds: float | None = None,
    *,
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Classify clips of a packed corpus.

    Args:
        model: As `load_model` gives it; it is moved to the device and put in evaluation mode.
        audio: Where the clips are.
        indices: Which clips; the result keeps their order.
        device: auto | cpu | cuda.
        batch_seconds: Most seconds in a batch, padding included; None: what suits the device. It changes no result.
        precision: auto | float32 | bf16. With bf16 a clip's result depends a little on its batch.

    Returns:
        Probabilities float32 [len(indices), classes].
    """
    place = choose_device(device)
    logits = apply_to_clips(model.to(place).eval(), audio, indices, place, batch_seconds, precision=precision)
    probabilities: NDArray[np.float32] = logits.softmax(dim=1).numpy()
    return probabilities


def predict_and_embed_packed(
    model: nn.Module, audio: PackedAudio, indices: Sequence[int], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What `predict_packed` and `embed_packed` give, for one pass over the clips.

    Args:
        model: Any of `build_model`.
        audio: Where the clips are.
        indices: Which clips; the results keep their order.
        classes: Of the model.

    Returns:
        Probabilities float32 [len(indices), classes] and embeddings float32 [len(indices), dim].
    """
    place = choose_device("auto")
    own: Any = model.to(place).eval()
    both = apply_to_clips(lambda *given: torch.cat(own.forward_with_embedding(*given), 1), audio, indices, place, None)
    return both[:, :classes].softmax(dim=1).numpy(), both[:, classes:].numpy()


def embed_packed(
    model: nn.Module,
    audio: PackedAudio,
    indices: Sequence[int],
    device: str = "auto",
    batch_seconds: float | None = None,
    *,
    precision: str = "float32",
) -> NDArray[np.float32]:
    """Embed clips of a packed corpus: mean and standard deviation over time of the model's or encoder's last layer.

    Args:
        model: An `Encoder`, or any model of `build_model`.
        audio: Where the clips are.
        indices: Which clips; the result keeps their order.
        device: auto | cpu | cuda.
        batch_seconds: Most seconds in a batch, padding included; None: what suits the device. It changes no result.
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


@dataclass(frozen=True)
class Windows:
    """How long audio is cut for a timeline, in seconds.

    A clip of at most `window_s` is classified whole. The last window ends where the clip ends and may be shorter.
    """

    window_s: float = 10.0
    hop_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.hop_s <= self.window_s:
            raise BadInput(f"predict: hop {self.hop_s} s, window {self.window_s} s: 0.1 s <= hop <= window must hold")

    def spans(self, samples: int, rate: int) -> list[tuple[int, int]]:
        """First sample and the one after the last, of every window of a clip."""
        window, hop = round(self.window_s * rate), round(self.hop_s * rate)
        starts = range(0, max(samples - window, 0) + hop, hop) if samples > window else range(1)
        return [(start, min(start + window, samples)) for start in starts]


def predict_waveform(
    model: nn.Module,
    spec: ModelSpec,
    samples: NDArray[np.float32],
    sample_rate: int,
    windows: Windows | None = None,
) -> dict[str, Any]:
    """Classify one clip, where the model is.

    Args:
        model: As `load_model` gives it.
        spec: Of the model.
        samples: float32 [n] in [-1, 1], mono.
        sample_rate: Of `samples`, in Hz; it is resampled where the model takes another.
        windows: How to cut long audio; None: the defaults.

    Returns:
        {"label": the most probable one, "probabilities": {label: probability}, "duration_s": of the clip,
        "timeline": [{"start_s", "end_s", "label", "probabilities"}]}, and where the model has a second head "tone", on
        the scale of the ratings that it learnt from. For audio longer than a window the timeline has every window, and
        the clip's probabilities and tone are their mean, weighted by their durations; else it is empty.

    Raises:
        BadInput: There are no samples, or one is not a number.
    """
    return _predict(model, spec, [_prepared(samples, sample_rate, spec)], windows or Windows())[0]


def predict_file(
    model: nn.Module, spec: ModelSpec, source: Path | bytes, windows: Windows | None = None
) -> dict[str, Any]:
    """Classify one audio file of any rate, or its bytes; see `predict_waveform`."""
    return predict_waveform(model, spec, decode(source).samples, SAMPLE_RATE_HZ, windows)


def predict_folder(
    model: nn.Module,
    spec: ModelSpec,
    names: Iterable[str],
    read: Callable[[str], bytes],
    windows: Windows | None = None,
    *,
    chunk: int = 8,
) -> list[dict[str, Any]]:
    """Classify many files; one that cannot be used never stops the others.

    Args:
        model: As `load_model` gives it; it computes where it is.
        spec: Of the model.
        names: Of the files.
        read: Gives the bytes of a file by name; called in several threads.
        windows: How to cut long audio; None: the defaults.
        chunk: So many files are in memory at once, and are computed in common batches.

    Returns:
        A row for each name, in order: {"path", "error": "" or why there is no result}, and without an error what
        `predict_waveform` gives.
    """
    listed = list(names)
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(listed), chunk):
            part = listed[start : start + chunk]
            opened = list(pool.map(lambda name: _opened(name, read, spec), part))
            clips = [clip for clip in opened if not isinstance(clip, str)]
            results = iter(_predict(model, spec, clips, windows or Windows()))
            for name, clip in zip(part, opened, strict=True):
                rows.append(
                    {"path": name, "error": clip}
                    if isinstance(clip, str)
                    else {"path": name, "error": "", **next(results)}
                )
    return rows


def predict_folder_adapted(
    model: nn.Module,
    spec: ModelSpec,
    head: AdaptedHead,
    names: Iterable[str],
    read: Callable[[str], bytes],
    *,
    chunk: int = 8,
) -> list[dict[str, Any]]:
    """Classify many files that were recorded alike, each compared with all of them: see `ser_tasks.models.adapted`.

    Args:
        model: As `load_model` gives it.
        spec: Of the model.
        head: That lies beside the model.
        names: Of the files.
        read: Gives the bytes of a file by name; called in several threads.
        chunk: So many files are in memory at once.

    Returns:
        Rows as `predict_folder` gives them, without timelines: a clip is embedded as a whole.

    Raises:
        BadInput: Fewer than `FEWEST_CLIPS` of the files can be used.
    """
    listed, rows, embedded = list(names), [], []
    own: Any = model.eval()
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(listed), chunk):
            part = listed[start : start + chunk]
            for name, clip in zip(part, pool.map(lambda name: _opened(name, read, spec), part), strict=True):
                row: dict[str, Any] = {"path": name, "error": clip if isinstance(clip, str) else ""}
                if not isinstance(clip, str):
                    embedded.append(_embedded(own, clip))
                    row |= {"duration_s": len(clip) / spec.sample_rate_hz, "timeline": []}
                rows.append(row)
    if len(embedded) < FEWEST_CLIPS:
        raise BadInput(
            f"predict: {len(embedded)} of {len(listed)} files can be used, and to compare each with all takes "
            f"{FEWEST_CLIPS}: take --normalise clip"
        )
    found = iter(head.probabilities(standardised(np.stack(embedded), [""] * len(embedded))))
    return [row if row["error"] else row | _labelled(spec, next(found)) for row in rows]


@torch.inference_mode()
def _embedded(model: Any, clip: NDArray[np.float32]) -> NDArray[np.float64]:
    place = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    samples = torch.from_numpy(clip)[None].to(place)
    embedding: NDArray[np.float64] = (
        model.embed(samples, torch.tensor([len(clip)], device=place))[0].double().cpu().numpy()
    )
    return embedding


def _opened(name: str, read: Callable[[str], bytes], spec: ModelSpec) -> NDArray[np.float32] | str:
    """Samples of a file, or why there are none."""
    try:
        return _prepared(decode(read(name), name).samples, SAMPLE_RATE_HZ, spec)
    except Exception as error:  # whatever is wrong with one file
        return str(error) or type(error).__name__


def _prepared(samples: NDArray[np.float32], sample_rate: int, spec: ModelSpec) -> NDArray[np.float32]:
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise BadInput(f"predict: samples {samples.shape} are empty, not mono or not finite: nothing to predict from")
    if sample_rate != spec.sample_rate_hz:
        samples = soxr.resample(samples, sample_rate, spec.sample_rate_hz)
    return np.ascontiguousarray(samples, dtype=np.float32)


def _predict(
    model: nn.Module, spec: ModelSpec, clips: Sequence[NDArray[np.float32]], windows: Windows
) -> list[dict[str, Any]]:
    spans = [windows.spans(len(clip), spec.sample_rate_hz) for clip in clips]
    pieces = [clip[a:b] for clip, cut in zip(clips, spans, strict=True) for a, b in cut]
    outputs = iter(_classify(model, pieces))
    return [
        _result(spec, cut, np.stack([next(outputs) for _ in cut]), len(clip))
        for clip, cut in zip(clips, spans, strict=True)
    ]


@torch.inference_mode()
def _classify(model: nn.Module, pieces: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Probabilities [pieces, classes], in batches of pieces of similar length; a tone is one more column."""
    own: Any = model.eval()
    with_tone = getattr(own, "tone_head", None) is not None
    place = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    found: dict[int, NDArray[np.float64]] = {}
    for batch in prediction_batches([len(piece) for piece in pieces], _BATCH_SECONDS):
        lengths = torch.tensor([len(pieces[i]) for i in batch])
        waveforms = torch.zeros(len(batch), int(lengths.max()))
        for row, i in enumerate(batch):
            waveforms[row, : len(pieces[i])] = torch.from_numpy(pieces[i])
        given = (waveforms.to(place), lengths.to(place))
        logits, *tone = own.forward_with_tone(*given) if with_tone else (own(*given),)
        columns = [logits.double().softmax(dim=1), *(each.double()[:, None] for each in tone)]
        found |= dict(zip(batch, torch.cat(columns, dim=1).cpu().numpy(), strict=True))
    return np.array([found[i] for i in range(len(pieces))])


def _result(
    spec: ModelSpec, spans: Sequence[tuple[int, int]], outputs: NDArray[np.float64], samples: int
) -> dict[str, Any]:
    rate = spec.sample_rate_hz
    durations = np.array([b - a for a, b in spans], dtype=np.float64)
    timeline = [
        {"start_s": a / rate, "end_s": b / rate, **_labelled(spec, row)}
        for (a, b), row in zip(spans, outputs, strict=True)
    ]
    return {
        **_labelled(spec, durations @ outputs / durations.sum()),
        "duration_s": samples / rate,
        "timeline": timeline if len(timeline) > 1 else [],
    }


def _labelled(spec: ModelSpec, outputs: NDArray[np.float64]) -> dict[str, Any]:
    probabilities, tone = outputs[: len(spec.labels)].tolist(), outputs[len(spec.labels) :].tolist()
    by_label = dict(zip(spec.labels, probabilities, strict=True))
    said = {"label": max(by_label, key=by_label.__getitem__), "probabilities": by_label}
    return said | ({"tone": tone[0]} if tone else {})
