"""Log-mel spectrogram of a batch of clips of unequal lengths."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from ser_tasks.audio.padding import frame_mask


@dataclass(frozen=True)
class LogMelOptions:
    """Defaults are those usual in speech work: 25 ms windows, 10 ms apart."""

    sample_rate_hz: int = 16_000
    n_mels: int = 64
    window_ms: float = 25.0
    hop_ms: float = 10.0
    low_hz: float = 50.0  # below lies hum, not voice
    floor: float = 1e-8  # power, about -80 dB of full scale: below lies the rounding of 16-bit audio


def mel_power(options: LogMelOptions) -> MelSpectrogram:
    """Waveforms [batch, samples] to power by mel bin [batch, n_mels, frames]; no frame reaches past a clip's ends."""
    return MelSpectrogram(
        sample_rate=options.sample_rate_hz,
        n_fft=round(options.sample_rate_hz * options.window_ms / 1000),
        hop_length=round(options.sample_rate_hz * options.hop_ms / 1000),
        f_min=options.low_hz,
        n_mels=options.n_mels,
        center=False,
        mel_scale="slaney",  # linear below 1 kHz: no empty filters at the low end
        norm="slaney",
    )


class LogMel(nn.Module):
    """Waveforms to log-mel features; padding changes no real frame of a clip.

    A frame is real if its window lies wholly in the clip (no centring, so nothing is reflected at the ends). A clip
    shorter than one window is completed with zeros to one frame.
    """

    def __init__(self, options: LogMelOptions) -> None:
        super().__init__()
        self.options = options
        self.mel = mel_power(options)
        self.window, self.hop = self.mel.n_fft, self.mel.hop_length

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features, always in float32.

        Args:
            waveforms: float32 [batch, samples] in [-1, 1]; what lies past a clip's length is ignored.
            lengths: int64 [batch], samples.

        Returns:
            Features float32 [batch, n_mels, frames], natural logarithm of power, 0 past a clip's last frame; and the
            numbers of real frames, int64 [batch].
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            waveforms = waveforms.float() * frame_mask(lengths, waveforms.shape[1])
            missing = self.window - waveforms.shape[1]
            if missing > 0:
                waveforms = nn.functional.pad(waveforms, (0, missing))
            features = self.mel(waveforms).clamp(min=self.options.floor).log()
        counts = (lengths - self.window).clamp(min=0) // self.hop + 1
        return features * frame_mask(counts, features.shape[2])[:, None, :], counts


def normalised(features: Tensor, counts: Tensor) -> Tensor:
    """Subtract a clip's mean and divide by its spread over its real frames and all bins.

    Args:
        features: float32 [batch, bins, frames].
        counts: int64 [batch], real frames.

    Returns:
        float32 [batch, bins, frames], 0 past a clip's last frame.
    """
    mask = frame_mask(counts, features.shape[2])[:, None, :]
    values = mask.sum(dim=(1, 2), keepdim=True) * features.shape[1]
    mean = (features * mask).sum(dim=(1, 2), keepdim=True) / values
    variance = ((features - mean).square() * mask).sum(dim=(1, 2), keepdim=True) / values
    return ((features - mean) / (variance + 1e-5).sqrt()).masked_fill(~mask, 0.0)
