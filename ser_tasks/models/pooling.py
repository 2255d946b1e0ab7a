"""From frames to one vector per clip, over real frames only."""

import torch
from torch import Tensor, nn

from ser_tasks.audio.padding import frame_mask


def masked_mean(frames: Tensor, counts: Tensor) -> Tensor:
    """Mean over real frames. frames float [batch, frames, dim], counts int64 [batch] -> float32 [batch, dim]."""
    mask = frame_mask(counts, frames.shape[1])[:, :, None]
    return frames.float().masked_fill(~mask, 0.0).sum(dim=1) / counts[:, None]


def masked_mean_std(frames: Tensor, counts: Tensor) -> Tensor:
    """Mean and standard deviation over real frames, one after the other: float32 [batch, 2 * dim]."""
    mask = frame_mask(counts, frames.shape[1])[:, :, None]
    mean = masked_mean(frames, counts)
    deviations = (frames.float() - mean[:, None, :]).masked_fill(~mask, 0.0)
    return torch.cat([mean, _deviation(deviations.square().sum(dim=1) / counts[:, None])], dim=1)


def _deviation(variance: Tensor) -> Tensor:
    """The root of variance + 1e-8: the constant keeps the gradient finite where all frames are equal.

    It is scaled to 1 because ONNX's optimiser takes 1e-8 for 0 and drops it.
    """
    return 1e-4 * (1e8 * variance + 1).sqrt()


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over real frames, weighted by learned attention (Okabe et al. 2018).

    Source: arXiv:1803.10963, equations 4 to 7.
    """

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, size)
        self.score = nn.Linear(size, 1, bias=False)

    def forward(self, frames: Tensor, counts: Tensor) -> Tensor:
        """Pool: frames float [batch, frames, dim], counts int64 [batch] -> float32 [batch, 2 * dim]."""
        mask = frame_mask(counts, frames.shape[1])[:, :, None]
        scores = self.score(torch.tanh(self.hidden(frames))).float()
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
        frames = frames.float().masked_fill(~mask, 0.0)
        mean = (weights * frames).sum(dim=1)
        variance = (weights * (frames - mean[:, None, :]).square()).sum(dim=1)
        return torch.cat([mean, _deviation(variance)], dim=1)
