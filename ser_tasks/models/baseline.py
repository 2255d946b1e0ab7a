"""The baseline that every other model has to beat: a linear classifier on statistics of a clip's speech."""

from typing import Any

import torch
from torch import Tensor, nn

from ser_tasks.audio.augment import AugmentRoom, RoomOptions
from ser_tasks.audio.voice import EXTRA_CHANNELS, FLOOR, FrontEnd, Voice, VoiceOptions
from ser_tasks.models.linear import StandardisedLinear
from ser_tasks.models.pooling import masked_mean_std
from ser_tasks.models.statistics import VoiceStatistics

CEPSTRUM = 20
LIMIT = 3.0
"""Standard deviations from the mean, beyond which a feature counts no more. Chosen on development folds."""


class Baseline(nn.Module):
    """`VoiceStatistics`, standardised, then linear. Fit on `embed`, then `linear.set(mean, scale, weight, bias)`.

    Of the whole clip (`FrontEnd`) the features are those that models had before: mean and standard deviation over time
    of every log-mel bin.
    """

    def __init__(
        self, n_classes: int, n_mels: int = 64, front_end: FrontEnd = "speech", limit: float | None = LIMIT
    ) -> None:
        super().__init__()
        self.n_mels, self.front_end, self.limit = n_mels, front_end, limit
        self.voice = Voice(VoiceOptions(front_end=front_end, n_mels=n_mels))
        of_speech = VoiceStatistics(n_mels, min(CEPSTRUM, n_mels), FLOOR[front_end])
        self.statistics = of_speech if front_end == "speech" else None
        self.linear = StandardisedLinear(self.statistics.size if self.statistics else 2 * n_mels, n_classes, limit)
        # the ends stay where they are: pitch and speech are known by frame
        self.augment_room = AugmentRoom(
            RoomOptions(silence=0.0), self.voice.filters, self.voice.options.speech.sample_rate_hz / 2
        )

    def describe(self) -> dict[str, Any]:
        """Options that build this model again."""
        return {"n_mels": self.n_mels, "front_end": self.front_end, "limit": self.limit}

    @torch.no_grad()
    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Features that the classifier takes: float32 [batch, features]."""
        return self._embedded(*self.voice(waveforms, lengths))

    @torch.no_grad()
    def embed_changed(self, waveforms: Tensor, lengths: Tensor, copies: int) -> Tensor:
        """As `embed`, of clips that other microphones heard in other rooms: float32 [batch, 1 + copies, features].

        The clips as they are come first. The changes are those of `AugmentRoom`, and drawn from torch's generator.
        """
        features, counts = self.voice(waveforms, lengths)
        power, about = features[:, :, :-EXTRA_CHANNELS], features[:, :, -EXTRA_CHANNELS:]
        room = self.augment_room.train()
        changed = [torch.cat([room(power, counts)[0], about], dim=2) for _ in range(copies)]
        return torch.stack([self._embedded(each, counts) for each in (features, *changed)], dim=1)

    def _embedded(self, features: Tensor, counts: Tensor) -> Tensor:
        if self.statistics is not None:
            found: Tensor = self.statistics(features, counts)
            return found
        return masked_mean_std(features[:, :, :-EXTRA_CHANNELS].clamp(min=FLOOR[self.front_end]).log(), counts)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify clips: float32 [batch, samples] and int64 [batch] -> logits float32 [batch, classes]."""
        return self.forward_with_embedding(waveforms, lengths)[0]

    def forward_with_embedding(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `embed` give."""
        embedding = self.embed(waveforms, lengths)
        return self.linear(embedding), embedding
