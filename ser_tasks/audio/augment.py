"""Random changes to waveforms and features while a model trains; nothing is changed in evaluation mode.

Every draw comes from torch's default generator, which the training loop seeds for each epoch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ser_tasks.audio.logmel import frame_mask


@dataclass(frozen=True)
class WaveformOptions:
    """What is changed before features are taken, and how strongly. Zero switches a change off."""

    time_shift: float = (
        0.0  # greatest shift either way, as a part of the clip; what leaves at one end enters at the other
    )
    noise: float = 0.0  # share of clips that get white noise
    noise_snr_db: tuple[float, float] = (10.0, 30.0)  # power of speech over power of noise is drawn between these


class AugmentWaveform(nn.Module):
    """Shift in time and white noise; drawn anew for every clip."""

    def __init__(self, options: WaveformOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Change waveforms in training mode, else give them back: float32 [batch, samples], int64 [batch]."""
        if self.training and self.options.time_shift > 0:
            waveforms = _shift(waveforms, lengths, self.options.time_shift)
        if self.training and self.options.noise > 0:
            waveforms = _add_noise(waveforms, lengths, self.options)
        return waveforms


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


def _shift(waveforms: Tensor, lengths: Tensor, most: float) -> Tensor:
    """Turn each clip in a circle."""
    shift = ((2 * _uniform(lengths) - 1) * most * lengths).long()[:, None]
    place = torch.arange(waveforms.shape[1], device=waveforms.device)[None, :]
    turned = (place - shift) % lengths[:, None]
    return waveforms.gather(1, torch.where(place < lengths[:, None], turned, place))


def _add_noise(waveforms: Tensor, lengths: Tensor, options: WaveformOptions) -> Tensor:
    """White noise at a drawn level below the clip's own power."""
    low, high = options.noise_snr_db
    mask = frame_mask(lengths, waveforms.shape[1])
    power = (waveforms * mask).square().sum(dim=1) / lengths
    snr_db = low + (high - low) * _uniform(lengths)
    level = (power * 10 ** (-snr_db / 10)).sqrt() * (_uniform(lengths) < options.noise)
    return waveforms + level[:, None] * torch.randn(waveforms.shape).to(waveforms.device) * mask


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
