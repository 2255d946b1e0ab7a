"""A wav2vec2-family encoder, fine-tuned for classification."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ser_tasks.errors import BadInput
from ser_tasks.models.encoders import Encoder, Wav2Vec2Encoder
from ser_tasks.models.pooling import masked_mean, masked_mean_std


@dataclass(frozen=True)
class Wav2Vec2Options:
    """What lies on top of the encoder, and what of it is trained."""

    freeze_feature_encoder: bool = True
    layers: Literal["last", "weighted"] = "last"  # weighted: a learned average over all layers (Pepino et al. 2021)
    dropout: float = 0.1


class Wav2Vec2Classifier(nn.Module):
    """Encoder, mean over real frames, one linear layer."""

    def __init__(self, encoder: Encoder, options: Wav2Vec2Options, n_classes: int) -> None:
        super().__init__()
        if not isinstance(encoder, Wav2Vec2Encoder):
            raise BadInput("wav2vec2: this encoder is not of the wav2vec2 family: use it as a frozen probe")
        self.options = options
        self.encoder = encoder
        if options.freeze_feature_encoder:
            encoder.freeze_feature_encoder()
        self.layer_weights = nn.Parameter(torch.zeros(encoder.layers + 1)) if options.layers == "weighted" else None
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(encoder.dim, n_classes)

    def describe(self) -> dict[str, Any]:
        """Options that build this model again, its encoder's configuration among them."""
        return {
            "freeze_feature_encoder": self.options.freeze_feature_encoder,
            "layers": self.options.layers,
            "dropout": self.options.dropout,
            "encoder": self.encoder.describe(),
        }

    def _frames(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        states, counts = self.encoder(waveforms, lengths)
        if self.layer_weights is None:
            return states[-1], counts
        return torch.einsum("l,lbfd->bfd", self.layer_weights.softmax(dim=0), torch.stack(states).float()), counts

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Mean and standard deviation over time: float32 [batch, 2 * dim]."""
        return masked_mean_std(*self._frames(waveforms, lengths))

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify clips: float32 [batch, samples] and int64 [batch] -> logits float32 [batch, classes]."""
        pooled = masked_mean(*self._frames(waveforms, lengths))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits.float()
