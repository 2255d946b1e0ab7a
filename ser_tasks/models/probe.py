"""A frozen encoder with a linear classifier on top: what the encoder knows without being trained for the task."""

from typing import Any

import torch
from torch import Tensor, nn

from ser_tasks.errors import BadInput
from ser_tasks.models.encoder import Encoder
from ser_tasks.models.linear import StandardisedLinear


class Probe(nn.Module):
    """Mean and standard deviation over time of one layer, standardised, then linear.

    Fit on `embed`, then `probe.linear.set(mean, scale, weight, bias)`.
    """

    def __init__(self, encoder: Encoder, n_classes: int, layer: int = -1) -> None:
        super().__init__()
        if not -encoder.layers - 1 <= layer <= encoder.layers:
            raise BadInput(f"probe: layer {layer}: the encoder has layers 0 (its input) to {encoder.layers}")
        self.encoder = encoder.requires_grad_(False)
        self.layer = layer
        self.linear = StandardisedLinear(2 * encoder.dim, n_classes)

    def describe(self) -> dict[str, Any]:
        """Options that build this model again, its encoder's configuration among them."""
        return {"layer": self.layer, "encoder": self.encoder.describe()}

    @torch.no_grad()
    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Features that the classifier takes: float32 [batch, 2 * dim], means first."""
        return self.encoder.embed(waveforms, lengths, self.layer)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify clips: float32 [batch, samples] and int64 [batch] -> logits float32 [batch, classes]."""
        return self.forward_with_embedding(waveforms, lengths)[0]

    def forward_with_embedding(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `embed` give, for one pass through the encoder."""
        embedding = self.embed(waveforms, lengths)
        return self.linear(embedding), embedding
