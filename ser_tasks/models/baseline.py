"""The baseline that every other model has to beat: a linear classifier on log-mel statistics."""

from typing import Any

import torch
from torch import Tensor, nn

from ser_tasks.audio.logmel import LogMel, LogMelOptions
from ser_tasks.models.linear import StandardisedLinear
from ser_tasks.models.pooling import masked_mean_std


class LogMelBaseline(nn.Module):
    """Mean and standard deviation over time of every mel bin, standardised, then linear.

    Fit on `embed`, then `baseline.linear.set(mean, scale, weight, bias)`.
    """

    def __init__(self, n_classes: int, n_mels: int = 64) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.logmel = LogMel(LogMelOptions(n_mels=n_mels, normalise=False))  # loudness may be used
        self.linear = StandardisedLinear(2 * n_mels, n_classes)

    def describe(self) -> dict[str, Any]:
        """Options that build this model again."""
        return {"n_mels": self.n_mels}

    @torch.no_grad()
    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Features that the classifier takes: float32 [batch, 2 * n_mels], means first."""
        features, counts = self.logmel(waveforms, lengths)
        return masked_mean_std(features.transpose(1, 2), counts)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify clips: float32 [batch, samples] and int64 [batch] -> logits float32 [batch, classes]."""
        logits: Tensor = self.linear(self.embed(waveforms, lengths))
        return logits
