"""A small convolutional network on log-mel features."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ser_tasks.audio.augment import Augment, AugmentOptions, AugmentWaveform, WaveformOptions
from ser_tasks.audio.logmel import LogMel, LogMelOptions, frame_mask
from ser_tasks.errors import BadInput
from ser_tasks.models.pooling import masked_mean_std


@dataclass(frozen=True)
class CnnOptions:
    """Size and augmentation; see `AugmentOptions` and `WaveformOptions` for the latter's units.

    Attributes:
        n_mels: Mel bins.
        channels: Of the four convolutional layers.
        dropout: Before the linear head.
        tone: A second head with one output, for the mean rating of a social tone.
    """

    n_mels: int = 64
    channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    dropout: float = 0.3
    time_masks: int = 2
    time_mask_fraction: float = 0.15
    bin_masks: int = 2
    bin_mask_width: int = 8
    stretch: float = 0.15
    bin_shift: int = 2
    time_shift: float = 0.0
    noise: float = 0.0
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
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
    """Log-mel features, four convolutional layers, pooling over time, one fully connected layer.

    Activations past a clip's end are set to 0 after every layer, just as its convolutions would find them if the clip
    were alone, so that a clip's output does not depend on the batch that it sits in. A clip below a third of a second
    is completed with frames of 0.
    """

    def __init__(self, options: CnnOptions, n_classes: int) -> None:
        super().__init__()
        self.options = options
        self.augment_waveform = AugmentWaveform(
            WaveformOptions(options.time_shift, options.noise, options.noise_snr_db)
        )
        self.logmel = LogMel(LogMelOptions(n_mels=options.n_mels))
        self.augment = Augment(
            AugmentOptions(
                options.time_masks,
                options.time_mask_fraction,
                options.bin_masks,
                options.bin_mask_width,
                options.stretch,
                options.bin_shift,
            )
        )
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

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Mean and standard deviation over time of the last layer: float32 [batch, 2 * channels]."""
        waveforms = self.augment_waveform(waveforms, lengths)
        features, counts = self.augment(*self.logmel(waveforms, lengths))
        counts = counts.clamp(min=_SHORTEST)
        missing = _SHORTEST - features.shape[2]
        if missing > 0:
            features = nn.functional.pad(features, (0, missing))
        features = features[:, None]
        for block in self.blocks:
            features, counts = block(features, counts)
        return masked_mean_std(features.mean(dim=2).transpose(1, 2), counts)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify clips.

        Args:
            waveforms: float32 [batch, samples] in [-1, 1], 16 kHz.
            lengths: int64 [batch], samples.

        Returns:
            Logits float32 [batch, classes].
        """
        logits: Tensor = self.classifier(self.dropout(self.embed(waveforms, lengths)))
        return logits.float()

    def forward_with_tone(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float32 [batch, classes], and a tone float32 [batch] on the scale that it was trained on."""
        if self.tone_head is None:
            raise BadInput("cnn: this model has no head for a tone: build it with the option tone")
        pooled = self.dropout(self.embed(waveforms, lengths))
        return self.classifier(pooled).float(), self.tone_head(pooled)[:, 0].float()
