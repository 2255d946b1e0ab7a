"""Random changes to spectra and features while a model trains; nothing is changed in evaluation mode.

Every draw comes from torch's default generator, which the training loop seeds for each step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser_tasks.audio.padding import frame_mask


@dataclass(frozen=True)
class RoomOptions:
    """How another microphone, room or line would change a clip, and how often. A share of 0 switches a change off.

    Attributes:
        gain_db: Greatest change of level either way: which quiet cells reach above the features' floor.
        reverb: Share of clips that get a room.
        reverb_s: Its reverberation time, to 60 dB below, is drawn between these.
        noise: Share of clips that get noise: white, pink, or babble of three other clips of the batch, a third each.
        noise_snr_db: Mean power of speech over mean power of noise is drawn between these.
        colour_db: Standard deviation of a microphone's gain at five frequencies, drawn for every clip.
        band: Share of clips whose band is cut: to a telephone's (300 to 3,400 Hz) or to below 4 kHz, half each.
        silence: Share of clips whose ends are moved.
        silence_s: Most that is cut from, or added as silence to, either end.
        time_shift: Greatest shift either way, as a part of the clip; what leaves at one end enters at the other.
    """

    gain_db: float = 3.0
    reverb: float = 0.3
    reverb_s: tuple[float, float] = (0.15, 0.8)
    noise: float = 0.5
    noise_snr_db: tuple[float, float] = (10.0, 45.0)
    colour_db: float = 3.0
    band: float = 0.3
    silence: float = 0.5
    silence_s: float = 0.1
    time_shift: float = 0.0


_HOP_S = 0.01  # from one frame to the next
_COLOURS = 5  # frequencies, evenly spread over the mel bins, between which the gain of a microphone changes smoothly
_BABBLE = 3  # voices
_REVERB_FRAMES = 60  # 0.6 s of a room's tail
_DIRECT_DB = (0.0, 12.0)  # power of the direct sound over that of the tail: close and distant microphones
_TELEPHONE_HZ, _NARROW_HZ = (300.0, 3_400.0), 4_000.0
_SLOPE_DB = 60.0  # an octave beyond the band's edge
_TINY = 1e-20
_WINDOW_BINS = 1.5  # frequencies that a Hann window lets no longer be independent


class AugmentRoom(nn.Module):
    """Gain, reverberation, noise, colour, band limits, moved ends: drawn anew for every clip, on mel power.

    Power is what a microphone adds up: of sounds that know nothing of each other the expected power of the sum is the
    sum of their powers, a line scales each band, and a room's tail smears power over the frames that follow (Lebart et
    al. 2001). So the changes cost next to nothing, and the spectrum of a clip can be kept from epoch to epoch.

    Args:
        options: What is changed.
        filters: Of the mel bins: float32 [frequencies from 0 to `highest_hz`, bins].
        highest_hz: Half the sample rate.
    """

    hz: Tensor
    spread: Tensor

    def __init__(self, options: RoomOptions, filters: Tensor, highest_hz: float) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("hz", centres_hz(filters, highest_hz), persistent=False)
        independent = filters.sum(dim=0).square() / filters.square().sum(dim=0) / _WINDOW_BINS
        self.register_buffer("spread", 0.5 * independent.clamp(min=1).rsqrt(), persistent=False)

    def forward(self, power: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Change clips in training mode, else give them back.

        Args:
            power: float32 [batch, frames, bins], 0 past a clip's last frame.
            counts: int64 [batch], real frames.

        Returns:
            Power and counts in the same shapes; the number of frames may differ.
        """
        options = self.options
        if not self.training:
            return power, counts
        if options.time_shift > 0:
            power = _turned(power, counts, options.time_shift)
        if options.silence > 0:
            power, counts = _moved_ends(power, counts, options.silence, round(options.silence_s / _HOP_S))
        mask = frame_mask(counts, power.shape[1])[:, :, None]
        if options.gain_db > 0:
            power = power * 10 ** (options.gain_db * (2 * _uniform(counts) - 1) / 10)[:, None, None]
        if options.reverb > 0:
            drawn = _uniform(counts) < options.reverb
            power = torch.where(drawn[:, None, None], self.reverberated(power), power) * mask
        if options.noise > 0:
            low, high = options.noise_snr_db
            ratio = 10 ** (-(low + (high - low) * _uniform(counts)) / 10) * (_uniform(counts) < options.noise)
            noise = self.noise(power) * mask
            scale = _mean_power(power, counts) / _mean_power(noise, counts).clamp(min=_TINY)
            power = power + noise * (scale * ratio)[:, None, None]
        if options.colour_db > 0:
            power = power * 10 ** (self.colour(counts) / 10)[:, None, :]
        if options.band > 0:
            drawn = _uniform(counts) < options.band
            power = power * torch.where(drawn[:, None], self.band_gain(counts), 1.0)[:, None, :]
        return power, counts

    def reverberated(self, power: Tensor) -> Tensor:
        """Each clip in a room of its own: float32 [batch, frames, bins]; tails go on past the clips' ends."""
        batch, frames, bins = power.shape
        low, high = self.options.reverb_s
        time = low + (high - low) * _uniform(power)
        direct_db = _DIRECT_DB[0] + (_DIRECT_DB[1] - _DIRECT_DB[0]) * _uniform(power)
        after = _HOP_S * torch.arange(_REVERB_FRAMES, device=power.device)
        tail = 10 ** (-6 * after[None, 1:] / time[:, None])
        tail = tail / tail.sum(dim=1, keepdim=True) * 10 ** (-direct_db / 10)[:, None]
        response = torch.cat([torch.ones_like(time)[:, None], tail], dim=1)
        by_clip = functional.pad(power.transpose(1, 2).reshape(1, batch, bins, frames), (_REVERB_FRAMES - 1, 0))
        heard = functional.conv2d(by_clip, response.flip(1)[:, None, None, :], groups=batch)
        return heard[0].transpose(1, 2)

    def noise(self, power: Tensor) -> Tensor:
        """White, pink or babble for each clip, at any level: float32 [batch, frames, bins]."""
        kind = 3 * _uniform(power)
        pink = (kind < 1)[:, None].float()
        spectrum = (self.hz / self.hz[0])[None, :] ** -pink
        draws = (1 + self.spread * torch.randn(power.shape).to(power.device)).square()
        babble = torch.stack([power.roll(shift, dims=0) for shift in range(1, _BABBLE + 1)]).sum(dim=0)
        return torch.where((kind < 2)[:, None, None], spectrum[:, None, :] * draws, babble)

    def colour(self, counts: Tensor) -> Tensor:
        """A microphone's gain at each bin in dB, for each clip: float32 [batch, bins]."""
        gains = self.options.colour_db * torch.randn(len(counts), 1, _COLOURS).to(counts.device)
        return functional.interpolate(gains, len(self.hz), mode="linear", align_corners=True)[:, 0]

    def band_gain(self, counts: Tensor) -> Tensor:
        """What a line leaves of each bin's power, for each clip: float32 [batch, bins]."""
        telephone = (_uniform(counts) < 0.5)[:, None]
        low = torch.where(telephone, _TELEPHONE_HZ[0], 0.0)
        high = torch.where(telephone, _TELEPHONE_HZ[1], _NARROW_HZ)
        octaves = (self.hz / high).log2().clamp(min=0) + (low.clamp(min=1.0) / self.hz).log2().clamp(min=0)
        return 10 ** (-_SLOPE_DB * octaves / 10)


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


def centres_hz(filters: Tensor, highest_hz: float) -> Tensor:
    """Where each mel filter balances: float32 [bins], of filters [frequencies from 0 to `highest_hz`, bins]."""
    hz = torch.linspace(0, highest_hz, len(filters))
    centres: Tensor = (hz @ filters) / filters.sum(dim=0)
    return centres


def _uniform(like: Tensor) -> Tensor:
    """Draw on the CPU whatever the device, so that a seed means the same everywhere."""
    return torch.rand(like.shape[0]).to(like.device)


def _mean_power(power: Tensor, counts: Tensor) -> Tensor:
    """Of each clip's cells: float32 [batch]."""
    return power.sum(dim=(1, 2)) / (counts * power.shape[2])


def _turned(power: Tensor, counts: Tensor, most: float) -> Tensor:
    """Turn each clip in a circle."""
    shift = ((2 * _uniform(counts) - 1) * most * counts).long()[:, None]
    place = torch.arange(power.shape[1], device=power.device)[None, :]
    source = torch.where(place < counts[:, None], (place - shift) % counts[:, None], place)
    return power.gather(1, source[:, :, None].expand_as(power))


def _moved_ends(power: Tensor, counts: Tensor, share: float, most: int) -> tuple[Tensor, Tensor]:
    """Cut frames from a clip's ends or put silence there; at least half of a clip stays."""
    drawn = _uniform(counts) < share
    before, behind = (((2 * _uniform(counts) - 1) * (most + 1)).long() * drawn for _ in range(2))
    before, behind = (torch.maximum(moved, -(counts // 4)) for moved in (before, behind))
    lengths = counts + before + behind
    place = torch.arange(int(lengths.max()), device=power.device)[None, :] - before[:, None]
    real = (place >= 0) & (place < counts[:, None])
    moved = power.gather(1, place.clamp(0, power.shape[1] - 1)[:, :, None].expand(-1, -1, power.shape[2]))
    return moved * (real & frame_mask(lengths, moved.shape[1]))[:, :, None], lengths


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
