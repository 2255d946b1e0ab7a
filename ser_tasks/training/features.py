"""Convolutional features of a frozen feature encoder, computed once and kept on disk.

They are 36 % of a forward pass of wav2vec2-base, and the same in every epoch. Stored in the precision in which they are
computed, so that training on them is training without them. A cache is a folder `<digest>`: `features.bin` (frames of
all clips end to end) and `index.json`; it appears whole or not at all, and an unfinished one is done again.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.audio.padding import padded_width
from ser_tasks.training.batches import collate, prediction_batches
from ser_tasks.training.device import autocast, wants_bf16
from ser_tasks.training.options import FitOptions

_VERSION = 4  # raise it when `features` of an encoder gives other numbers: what lies in caches is then made anew
_ABANDONED_S = 86_400  # an unfinished cache that nothing was written to for so long belongs to nobody
_log = logging.getLogger(__name__)

Inputs = Callable[[Sequence[int]], tuple[Tensor, Tensor]]
"""Clips to what a network takes: inputs and lengths on the device."""


def can_cache(model: nn.Module, options: FitOptions) -> bool:
    """Whether features stay the same from epoch to epoch: a frozen feature encoder, and waveforms nobody changes."""
    frozen = bool(getattr(model, "has_fixed_features", False))
    return frozen and options.cache_features and options.mixup == 0 and options.epochs > 1


def cached_features(
    model: nn.Module, audio: PackedAudio, clips: Sequence[int], options: FitOptions, device: torch.device, folder: Path
) -> Inputs | None:
    """Open the cache of these clips, filling it first if it is not there.

    Args:
        model: On `device`; has `features`, see `ser_tasks.models`.
        audio: Where the clips are.
        clips: All that will be asked for.
        options: precision, threads, batch_seconds, cache_gb.
        device: Where to compute, and where batches are wanted.
        folder: Where caches lie; the oldest ones are deleted to make room within cache_gb.

    Returns:
        Gives features [clips, frames, channels], padded with zeros, and numbers of frames; None where it would need
        more than cache_gb, which is said.
    """
    clips = sorted(set(clips))
    place = folder / _digest(model, audio, clips, options, device)
    if not (place / "index.json").is_file():
        needed = _size(model, audio, clips, options, device)
        if needed > options.cache_gb * 1e9:
            _log.warning(
                "features of %d clips need %.1f GB, cache_gb allows %.1f: they are computed in every epoch",
                len(clips), needed / 1e9, options.cache_gb,
            )  # fmt: skip
            return None
        started = time.perf_counter()
        try:
            _make_room(folder, options.cache_gb * 1e9 - needed)
            _fill(model, audio, clips, options, device, place)
        except OSError as error:
            _log.warning("features cannot be kept in %s (%s): they are computed in every epoch", folder, error)
            return None
        _log.info("features of %d clips: %.2f GB in %.0f s", len(clips), needed / 1e9, time.perf_counter() - started)
    os.utime(place)  # used now: not among the first to go
    return _Cached(place, audio, device)


class _Cached:
    """An `Inputs` that reads a cache through a memory map.

    Batches have as many frames as their longest clip, which is what networks cut them to: dropout draws the same.
    """

    def __init__(self, folder: Path, audio: PackedAudio, device: torch.device) -> None:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.audio, self.device = audio, device
        self.channels = int(index["channels"])
        self.bf16 = bool(index["bf16"])
        self.starts = dict(zip(index["clips"], index["starts"], strict=True))
        self.counts = dict(zip(index["clips"], index["counts"], strict=True))
        self.frames: NDArray[Any] = np.memmap(
            folder / "features.bin", dtype="<i2" if self.bf16 else "<f4", mode="r"
        ).reshape(-1, self.channels)

    def __call__(self, clips: Sequence[int]) -> tuple[Tensor, Tensor]:
        counts = [self.counts[i] for i in clips]
        padded = np.zeros((len(clips), max(counts), self.channels), dtype=self.frames.dtype)
        for row, (i, count) in enumerate(zip(clips, counts, strict=True)):
            padded[row, :count] = self.frames[self.starts[i] : self.starts[i] + count]
        features = torch.from_numpy(padded).to(self.device)
        return features.view(torch.bfloat16) if self.bf16 else features, torch.tensor(counts, device=self.device)


def _fill(
    model: Any, audio: PackedAudio, clips: Sequence[int], options: FitOptions, device: torch.device, place: Path
) -> None:
    """Compute and write, one batch at a time in memory."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
    order: list[int] = []
    all_counts: list[int] = []
    bf16, channels = False, 0
    try:
        with (partial / "features.bin").open("wb") as file, torch.inference_mode():
            model.eval()
            for batch in _batches(audio, clips, options.batch_seconds):
                waveforms, lengths = collate(audio, batch)
                with autocast(device, options.precision):
                    features, counts = model.features(waveforms.to(device), lengths.to(device))
                bf16, channels = features.dtype == torch.bfloat16, features.shape[2]
                features = features.view(torch.int16) if bf16 else features.float()
                for clip, row, count in zip(batch, features.cpu(), counts.tolist(), strict=True):
                    file.write(row[:count].contiguous().numpy().tobytes())
                    order.append(clip)
                    all_counts.append(count)
        starts = np.cumsum([0, *all_counts])[:-1].tolist()
        index = {
            "clips": order, "starts": starts, "counts": all_counts, "channels": channels, "bf16": bf16,
        }  # fmt: skip
        (partial / "index.json").write_text(json.dumps(index), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
    except OSError:
        if not (place / "index.json").is_file():  # else another training filled the same cache first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _batches(audio: PackedAudio, clips: Sequence[int], batch_seconds: float) -> Iterator[list[int]]:
    """Batches of clips that are padded to one width."""
    by_width: dict[int, list[int]] = {}
    for i in clips:
        by_width.setdefault(padded_width(audio.length(i)), []).append(i)
    for held in by_width.values():
        for batch in prediction_batches([audio.length(i) for i in held], batch_seconds):
            yield [held[position] for position in batch]


def _size(model: Any, audio: PackedAudio, clips: Sequence[int], options: FitOptions, device: torch.device) -> int:
    """Bytes that a cache will need, from the frames of the longest clip."""
    longest = max(clips, key=audio.length)
    waveforms, lengths = collate(audio, [longest])
    with torch.inference_mode(), autocast(device, options.precision):
        features, counts = model.features(waveforms.to(device), lengths.to(device))
    per_sample = int(counts[0]) * features.shape[2] / audio.length(longest)
    samples = sum(audio.length(i) for i in clips)
    return int(per_sample * samples * features.element_size())


def _make_room(folder: Path, left: float) -> None:
    """Delete the oldest caches until the rest takes at most `left` bytes. A training that reads one keeps its map."""
    folder.mkdir(parents=True, exist_ok=True)
    caches = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    finished = [path for path in caches if not path.name.startswith(".")]
    for path in caches:
        if path not in finished and time.time() - path.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in finished}
    for path in finished:
        if sum(sizes.values()) <= left:
            break
        shutil.rmtree(path, ignore_errors=True)
        del sizes[path]


def _digest(model: Any, audio: PackedAudio, clips: Iterable[int], options: FitOptions, device: torch.device) -> str:
    """Of all that decides the features' bits: what makes them, the clips, and how they are computed."""
    described, modules = model.features_made_of()
    about = [
        _VERSION, described, torch.__version__, transformers.__version__, device.type,
        wants_bf16(device, options.precision), torch.get_num_threads(), options.batch_seconds,
        [audio.utterance_ids[i] for i in clips],
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    for i in clips:
        digest.update(audio.samples[audio.offsets[i] : audio.offsets[i + 1]].tobytes())
    return digest.hexdigest()
