"""From frames to one vector per clip, over real frames only."""

import torch
from torch import Tensor

from ser_tasks.audio.logmel import frame_mask


def masked_mean(frames: Tensor, counts: Tensor) -> Tensor:
    """Mean over real frames. frames float [batch, frames, dim], counts int64 [batch] -> float32 [batch, dim]."""
    mask = frame_mask(counts, frames.shape[1])[:, :, None]
    return frames.float().masked_fill(~mask, 0.0).sum(dim=1) / counts[:, None]


def masked_mean_std(frames: Tensor, counts: Tensor) -> Tensor:
    """Mean and standard deviation over real frames, one after the other: float32 [batch, 2 * dim]."""
    mask = frame_mask(counts, frames.shape[1])[:, :, None]
    mean = masked_mean(frames, counts)
    deviations = (frames.float() - mean[:, None, :]).masked_fill(~mask, 0.0)
    # the small constant keeps the gradient finite where all frames are equal
    std = (deviations.square().sum(dim=1) / counts[:, None] + 1e-8).sqrt()
    return torch.cat([mean, std], dim=1)
