"""A small convolutional network on log-mel features."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ser_tasks.audio.augment import Augment, AugmentOptions, AugmentRoom, RoomOptions
from ser_tasks.audio.logmel import normalised
from ser_tasks.audio.padding import frame_mask, is_recorded
from ser_tasks.audio.voice import EXTRA_CHANNELS, FLOOR, FrontEnd, Voice, VoiceOptions
from ser_tasks.errors import BadInput
from ser_tasks.models.pooling import masked_mean_std


@dataclass(frozen=True)
class CnnOptions(RoomOptions, AugmentOptions):
    """Size, and what is changed while it trains: see `AugmentOptions` and `RoomOptions`.

    Attributes:
        front_end: See `FrontEnd`.
        n_mels: Mel bins.
        channels: Of the four convolutional layers.
        dropout: Before the linear head.
        tone: A second head with one output, for the mean rating of a social tone.
    """

    front_end: FrontEnd = "speech"
    n_mels: int = 64
    channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    dropout: float = 0.3
    tone: bool = False


_SHORTEST = 32  # frames: the stride and four poolings leave one of them


class _Block(nn.Module):
    """Convolution, the greatest of every 2 bins by 2 frames, batch normalisation, ReLU.

    Pooling comes before normalisation because all that follows it then costs a quarter. An odd last frame is dropped.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.relu(self.norm(self.pool(self.convolution(features))))
        counts = (counts + self.stride - 1) // self.stride // 2
        return features * frame_mask(counts, features.shape[3])[:, None, None, :], counts


class Cnn(nn.Module):
    """Log-mel features of a clip's speech, four convolutional layers, pooling over time, one fully connected layer.

    Activations past a clip's end are set to 0 after every layer, just as its convolutions would find them if the clip
    were alone, so that a clip's output does not depend on the batch that it sits in. A clip below a third of a second
    is completed with frames of 0.
    """

    def __init__(self, options: CnnOptions, n_classes: int) -> None:
        super().__init__()
        self.options = options
        self.voice = Voice(VoiceOptions(front_end=options.front_end, n_mels=options.n_mels, pitch=False))
        self.augment_room = AugmentRoom(options, self.voice.filters, self.voice.options.speech.sample_rate_hz / 2)
        self.augment = Augment(options)
        first, second, third, fourth = options.channels
        self.blocks = nn.ModuleList(
            [
                _Block(1, first, kernel=5, stride=2),  # the stride makes everything after it four times as cheap
                _Block(first, second, kernel=3, stride=1),
                _Block(second, third, kernel=3, stride=1),
                _Block(third, fourth, kernel=3, stride=1),
            ]
        )
        # measured: a training step takes two thirds of the time
        self.blocks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dropout = nn.Dropout(options.dropout)
        pooled = 2 * options.channels[-1]
        self.classifier = nn.Linear(pooled, n_classes)
        self.tone_head = nn.Linear(pooled, 1) if options.tone else None

    def describe(self) -> dict[str, Any]:
        """Options that `CnnOptions` takes back."""
        return asdict(self.options)

    @property
    def has_fixed_features(self) -> bool:
        """Whether training leaves `features` of a clip as they are, so that they may be computed once and kept."""
        return True

    def features_made_of(self) -> tuple[dict[str, Any], list[nn.Module]]:
        """All that decides the bits of `features`: options, and modules with weights (none)."""
        return {"voice": asdict(self.voice.options)}, []

    def features(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mel power of the clips' speech: see `Voice`."""
        found: tuple[Tensor, Tensor] = self.voice(waveforms, lengths)
        return found

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Mean and standard deviation over time of the last layer: float32 [batch, 2 * channels]."""
        return self._pooled(*self.features(waveforms, lengths))

    def _pooled(self, features: Tensor, counts: Tensor) -> Tensor:
        if features.device.type == "cpu" and not is_recorded():  # a GPU would have to be waited for
            features = features[:, : int(counts.max())]
        power, counts = self.augment_room(features[:, :, :-EXTRA_CHANNELS], counts)
        log = normalised(power.transpose(1, 2).clamp(min=FLOOR[self.options.front_end]).log(), counts)
        log, counts = self.augment(log, counts)
        counts = counts.clamp(min=_SHORTEST)
        missing = _SHORTEST - log.shape[2]
        if missing > 0:
            log = nn.functional.pad(log, (0, missing))
        hidden = log[:, None]
        for block in self.blocks:
            hidden, counts = block(hidden, counts)
        return masked_mean_std(hidden.mean(dim=2).transpose(1, 2), counts)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify clips.

        Args:
            waveforms: float32 [batch, samples] in [-1, 1], 16 kHz.
            lengths: int64 [batch], samples.

        Returns:
            Logits float32 [batch, classes].
        """
        return self.forward_features(*self.features(waveforms, lengths))

    def forward_with_embedding(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `embed` give, for one pass through the network."""
        embedding = self.embed(waveforms, lengths)
        return self.classifier(self.dropout(embedding)).float(), embedding

    def forward_features(self, features: Tensor, counts: Tensor) -> Tensor:
        """Logits float32 [batch, classes] of clips whose `features` and numbers of frames are at hand."""
        logits: Tensor = self.classifier(self.dropout(self._pooled(features, counts)))
        return logits.float()

    def forward_features_with_tone(self, features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and tone, as `forward_with_tone`, of clips whose `features` are at hand."""
        if self.tone_head is None:
            raise BadInput("cnn: this model has no head for a tone: build it with the option tone")
        pooled = self.dropout(self._pooled(features, counts))
        return self.classifier(pooled).float(), self.tone_head(pooled)[:, 0].float()

    def forward_with_tone(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float32 [batch, classes], and a tone float32 [batch] on the scale that it was trained on."""
        return self.forward_features_with_tone(*self.features(waveforms, lengths))
