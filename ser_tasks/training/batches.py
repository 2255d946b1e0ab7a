"""Batches of clips of similar length, so that little of a batch is padding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ser_tasks.audio.packed import SAMPLE_RATE_HZ, PackedAudio

_WIDTH = 4_000  # batches are padded to a multiple of this many samples: kernels are made anew for every new shape
_POOL = 16  # batches' worth of clips that are sorted by length together: enough to save padding, few enough to mix


def collate(audio: PackedAudio, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Read clips into one batch.

    Returns:
        Waveforms float32 [batch, samples], padded with zeros; lengths int64 [batch].
    """
    lengths = torch.tensor([audio.length(i) for i in indices])
    waveforms = torch.zeros(len(indices), -(-int(lengths.max()) // _WIDTH) * _WIDTH)
    for row, i in enumerate(indices):
        waveforms[row, : audio.length(i)] = torch.from_numpy(audio.waveform(i))
    return waveforms, lengths


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
