"""Random changes to features while a model trains; nothing is changed in evaluation mode.

Every draw comes from torch's default generator, which the training loop seeds for each epoch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ser_tasks.audio.logmel import frame_mask


@dataclass(frozen=True)
class AugmentOptions:
    """What is changed, and how strongly. Zero switches a change off.

    Masking follows SpecAugment (Park et al. 2019, arXiv:1904.08779): the widths are drawn between 0 and the greatest.
    """

    time_masks: int = 2
    time_mask_fraction: float = 0.15  # greatest width of one mask, as a part of the clip
    bin_masks: int = 2
    bin_mask_width: int = 8  # greatest width of one mask, in bins
    stretch: float = 0.15  # tempo is drawn between 1 - stretch and 1 + stretch
    bin_shift: int = 2  # the spectrum is moved up or down by at most so many bins


class Augment(nn.Module):
    """Stretch in time, shift in frequency, SpecAugment masks; drawn anew for every clip."""

    def __init__(self, options: AugmentOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Change features in training mode, else give them back.

        Args:
            features: float [batch, bins, frames], 0 past a clip's last frame.
            counts: int64 [batch], real frames.

        Returns:
            Features and counts in the same shapes; the number of frames may differ.
        """
        if not self.training:
            return features, counts
        options = self.options
        if options.stretch > 0:
            features, counts = _stretch(features, counts, options.stretch)
        if options.bin_shift > 0:
            features = _shift_bins(features, options.bin_shift)
        bins, frames = features.shape[1:]
        masked = torch.zeros(features.shape, dtype=torch.bool, device=features.device)
        for _ in range(options.bin_masks):
            widest = torch.full_like(counts, options.bin_mask_width)
            masked |= _span(torch.full_like(counts, bins), widest, bins)[:, :, None]
        for _ in range(options.time_masks):
            masked |= _span(counts, (counts * options.time_mask_fraction).long(), frames)[:, None, :]
        return features.masked_fill(masked, 0.0), counts


def _uniform(like: Tensor) -> Tensor:
    """Draw on the CPU whatever the device, so that a seed means the same everywhere."""
    return torch.rand(like.shape[0]).to(like.device)


def _span(ends: Tensor, widest: Tensor, size: int) -> Tensor:
    """One random span inside [0, end) for each row: bool [batch, size]."""
    width = (_uniform(ends) * (widest + 1)).long()
    start = (_uniform(ends) * (ends - width + 1).clamp(min=1)).long()
    place = torch.arange(size, device=ends.device)
    return (place >= start[:, None]) & (place < (start + width)[:, None])


def _stretch(features: Tensor, counts: Tensor, most: float) -> tuple[Tensor, Tensor]:
    """Play each clip at its own tempo, by linear interpolation between frames."""
    tempo = 1 + most * (2 * _uniform(counts) - 1)
    stretched = (counts / tempo).long().clamp(min=1)
    place = torch.arange(int(stretched.max()), device=features.device)[None, :] * tempo[:, None]
    place = torch.minimum(place, (counts - 1)[:, None])
    low = place.floor()
    part = (place - low)[:, None, :]
    left = low.long()[:, None, :].expand(-1, features.shape[1], -1)
    right = torch.minimum(left + 1, (counts - 1)[:, None, None])
    mixed = features.gather(2, left) * (1 - part) + features.gather(2, right) * part
    return mixed * frame_mask(stretched, mixed.shape[2])[:, None, :], stretched


def _shift_bins(features: Tensor, most: int) -> Tensor:
    """Move each clip's spectrum by a whole number of bins; the edge bin is repeated."""
    bins = features.shape[1]
    shift = (_uniform(features) * (2 * most + 1)).long() - most
    place = (torch.arange(bins, device=features.device)[None, :] + shift[:, None]).clamp(0, bins - 1)
    return features.gather(1, place[:, :, None].expand(-1, -1, features.shape[2]))
