"""A small convolutional network on log-mel features."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ser_tasks.audio.augment import Augment, AugmentOptions
from ser_tasks.audio.logmel import LogMel, LogMelOptions, frame_mask
from ser_tasks.models.pooling import masked_mean_std


@dataclass(frozen=True)
class CnnOptions:
    """Size and augmentation; see `AugmentOptions` for the latter's units."""

    n_mels: int = 64
    channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    dropout: float = 0.3
    time_masks: int = 2
    time_mask_fraction: float = 0.15
    bin_masks: int = 2
    bin_mask_width: int = 8
    stretch: float = 0.15
    bin_shift: int = 2


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
        self.classifier = nn.Linear(2 * options.channels[-1], n_classes)

    def describe(self) -> dict[str, Any]:
        """Options that `CnnOptions` takes back."""
        return asdict(self.options)

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Mean and standard deviation over time of the last layer: float32 [batch, 2 * channels]."""
        features, counts = self.augment(*self.logmel(waveforms, lengths))
        counts = counts.clamp(min=_SHORTEST)
        features = nn.functional.pad(features, (0, max(0, _SHORTEST - features.shape[2])))[:, None]
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
