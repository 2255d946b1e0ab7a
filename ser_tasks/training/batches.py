"""Batches of clips of similar length, so that little of a batch is padding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ser_tasks.audio.packed import FULL_SCALE, SAMPLE_RATE_HZ, PackedAudio
from ser_tasks.audio.padding import padded_width

_RESIDENT = 0.25  # part of a GPU's free memory that a corpus may lie in for the length of a training
_APPLIED_S = {"cpu": 24.0}  # most audio in a batch outside training: what a CPU's cache holds
_APPLIED_ELSEWHERE_S = 120.0
_POOL = 16  # batches' worth of clips that are sorted by length together: enough to save padding, few enough to mix


def collate(audio: PackedAudio, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Read clips into one batch.

    Returns:
        Waveforms float32 [batch, samples], padded with zeros; lengths int64 [batch].
    """
    lengths = torch.tensor([audio.length(i) for i in indices])
    waveforms = torch.zeros(len(indices), padded_width(int(lengths.max())))
    for row, i in enumerate(indices):
        waveforms[row, : audio.length(i)] = torch.from_numpy(audio.waveform(i))
    return waveforms, lengths


class Waveforms:
    """Batches of waveforms on a device.

    A GPU that has room for the whole corpus (int16: CREMA-D takes 0.6 GB) holds it, and cuts batches out of it itself:
    filling batches on the CPU would be slower than a small network.

    Args:
        audio: Where the clips are.
        device: Where batches are wanted.
        resident: Hold the corpus on the device; None: on a GPU with room.
    """

    def __init__(self, audio: PackedAudio, device: torch.device, resident: bool | None = None) -> None:
        self.audio, self.device = audio, device
        if resident is None:
            resident = device.type == "cuda" and audio.samples.nbytes < _RESIDENT * torch.cuda.mem_get_info(device)[0]
        self.samples = torch.tensor(audio.samples, device=device) if resident else None

    def __call__(self, clips: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Waveforms float32 [clips, samples], padded with zeros, and lengths int64 [clips]."""
        if self.samples is None:
            waveforms, lengths = collate(self.audio, clips)
            return waveforms.to(self.device), lengths.to(self.device)
        starts = torch.from_numpy(self.audio.offsets[list(clips)]).to(self.device, non_blocking=True)
        ends = torch.from_numpy(self.audio.offsets[[i + 1 for i in clips]]).to(self.device, non_blocking=True)
        width = padded_width(max(self.audio.length(i) for i in clips))
        places = starts[:, None] + torch.arange(width, device=self.device)
        taken = self.samples[places.clamp(max=len(self.samples) - 1)].float() / FULL_SCALE
        return taken.masked_fill_(places >= ends[:, None], 0.0), ends - starts


def pieces(batch: Sequence[int], count: int) -> list[list[int]]:
    """Cut a batch into `count` runs of about equal size; where it has fewer clips, the last pieces are empty."""
    return [part.tolist() for part in np.array_split(np.asarray(batch, dtype=np.int64), count)]


def training_batches(
    lengths: Sequence[int], batch_size: int, batch_seconds: float, seed: int, epoch: int
) -> list[list[int]]:
    """Put clips into batches in an order that depends on seed and epoch alone.

    Args:
        lengths: Of every clip, in samples.
        batch_size: Most clips in a batch.
        batch_seconds: Most seconds in a batch, padding included; a longer clip makes a batch of its own.
        seed: Of the training.
        epoch: Counted from 0.

    Returns:
        Batches of positions in `lengths`; every position comes once.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths)).tolist()
    batches: list[list[int]] = []
    for start in range(0, len(order), _POOL * batch_size):
        pool = sorted(order[start : start + _POOL * batch_size], key=lambda position: lengths[position])
        batches += _cut(pool, lengths, batch_size, batch_seconds)
    return [batches[i] for i in generator.permutation(len(batches))]


def prediction_batches(lengths: Sequence[int], batch_seconds: float) -> list[list[int]]:
    """Put clips into batches by length, the shortest first; see `training_batches`."""
    order = sorted(range(len(lengths)), key=lambda position: lengths[position])
    return _cut(order, lengths, len(lengths), batch_seconds)


def applied_seconds(device: torch.device) -> float:
    """Most seconds in a batch, padding included, with which a network that is not trained is quick on a device."""
    return _APPLIED_S.get(device.type, _APPLIED_ELSEWHERE_S)


def _cut(order: list[int], lengths: Sequence[int], batch_size: int, batch_seconds: float) -> list[list[int]]:
    """Cut an order of rising length into batches."""
    batches: list[list[int]] = []
    for position in order:
        fits = (
            batches
            and len(batches[-1]) < batch_size
            and (len(batches[-1]) + 1) * lengths[position] <= batch_seconds * SAMPLE_RATE_HZ
        )
        if fits:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches
