"""From the frames of a clip to one vector of statistics: what is known of a voice without any learning."""

import math

import torch
from torch import Tensor, nn

from ser_tasks.audio.padding import frame_mask
from ser_tasks.audio.voice import EXTRA_CHANNELS

VOICED = 0.5
"""A frame of speech at least this periodic has a pitch."""
PITCH_STATISTICS = 9
_TIMING = 5
_FEWEST = 5  # voiced frames, 50 ms: of fewer no pitch is told
_STEADY = 0.2  # of the logarithm of pitch, a fifth of an octave within 10 ms: more is an octave error, not a voice
_NO_PITCH = (5.2, 0.2, 5.0, 5.2, 5.4, 0.02, 0.0, 0.0, 0.3)  # a whispered clip: the usual values, 180 Hz the middle
_LEAST = 1e-6  # variance, of nats or of log pitch: below lies rounding
_PAST = 99.0  # greater than any logarithm of pitch: sorts behind all that is real


def pitch_statistics(features: Tensor, counts: Tensor) -> Tensor:
    """Statistics of pitch and periodicity over a clip's speech.

    Args:
        features: float32 [batch, frames, bins + EXTRA_CHANNELS], as `Voice` gives them.
        counts: int64 [batch], real frames.

    Returns:
        float32 [batch, 9]: of log pitch the mean, standard deviation, 10th, 50th and 90th percentile, mean magnitude
        and mean of its change from frame to frame; share of speech that is voiced; mean periodicity of speech.
    """
    log_hz, periodicity, speech = features[:, :, -EXTRA_CHANNELS:].unbind(dim=2)
    speech = speech * frame_mask(counts, features.shape[1])
    voiced = speech * (periodicity > VOICED)
    n = voiced.sum(dim=1).clamp(min=1)
    mean = (log_hz * voiced).sum(dim=1) / n
    spread = (((log_hz - mean[:, None]).square() * voiced).sum(dim=1) / n).clamp(min=_LEAST).sqrt()
    change = log_hz[:, 1:] - log_hz[:, :-1]
    steady = voiced[:, 1:] * voiced[:, :-1] * (change.abs() < _STEADY)
    steps = steady.sum(dim=1).clamp(min=1)
    ranked = torch.where(voiced > 0, log_hz, _PAST).sort(dim=1).values
    percentiles = [ranked.gather(1, ((n - 1) * part).round().long()[:, None])[:, 0] for part in (0.1, 0.5, 0.9)]
    of_speech = speech.sum(dim=1).clamp(min=1)
    found = torch.stack(
        [
            mean, spread, *percentiles, (change.abs() * steady).sum(dim=1) / steps,
            (change * steady).sum(dim=1) / steps, voiced.sum(dim=1) / of_speech,
            (periodicity * speech).sum(dim=1) / of_speech,
        ],
        dim=1,
    )  # fmt: skip
    usual = torch.tensor(_NO_PITCH, device=features.device)
    return torch.where((voiced.sum(dim=1) >= _FEWEST)[:, None], found, usual)


class VoiceStatistics(nn.Module):
    """Cepstrum, pitch and timing of a clip's speech; none of them knows its level or the silence around it.

    Args:
        n_mels: Of the features.
        cepstrum: So many coefficients of the log-mel spectrum's cosine transform (Davis & Mermelstein 1980).
        floor: Mel power below which cells are alike.
    """

    transform: Tensor

    def __init__(self, n_mels: int, cepstrum: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        k, n = torch.arange(cepstrum)[:, None], torch.arange(n_mels)[None, :]
        transform = torch.cos(math.pi * k * (n + 0.5) / n_mels) * math.sqrt(2 / n_mels)
        transform[0] *= math.sqrt(0.5)
        self.register_buffer("transform", transform.T.contiguous(), persistent=False)
        self.size = 3 * cepstrum - 1 + PITCH_STATISTICS + _TIMING

    def forward(self, features: Tensor, counts: Tensor) -> Tensor:
        """Statistics of clips.

        Args:
            features: float32 [batch, frames, n_mels + EXTRA_CHANNELS], as `Voice` gives them.
            counts: int64 [batch], real frames.

        Returns:
            float32 [batch, size]: mean of each cepstral coefficient but the first, which is the level; standard
            deviation of each, and of its change from frame to frame; `pitch_statistics`; and of the speech frames:
            spread of level, how far its 10th percentile lies below the mean, mean change (nats), their share of all
            frames, logarithm of their number.
        """
        speech = features[:, :, -1] * frame_mask(counts, features.shape[1])
        n = speech.sum(dim=1).clamp(min=1)
        log = features[:, :, :-EXTRA_CHANNELS].clamp(min=self.floor).log()
        level = log.mean(dim=2)
        mean_level = (level * speech).sum(dim=1) / n
        cepstrum = (log - mean_level[:, None, None]) @ self.transform
        weight = speech[:, :, None]
        mean = (cepstrum * weight).sum(dim=1) / n[:, None]
        spread = ((cepstrum - mean[:, None]).square() * weight).sum(dim=1) / n[:, None]
        pairs = speech[:, 1:] * speech[:, :-1]
        m = pairs.sum(dim=1).clamp(min=1)
        change = cepstrum[:, 1:] - cepstrum[:, :-1]
        mean_change = (change * pairs[:, :, None]).sum(dim=1) / m[:, None]
        changes = ((change - mean_change[:, None]).square() * pairs[:, :, None]).sum(dim=1) / m[:, None]
        quiet = torch.where(speech > 0, level, _PAST).sort(dim=1).values
        tenth = quiet.gather(1, ((n - 1) * 0.1).round().long()[:, None])[:, 0]
        timing = torch.stack(
            [
                (((level - mean_level[:, None]).square() * speech).sum(dim=1) / n).clamp(min=_LEAST).sqrt(),
                mean_level - tenth,
                ((level[:, 1:] - level[:, :-1]).abs() * pairs).sum(dim=1) / m,
                n / counts.clamp(min=1),
                n.log(),
            ],
            dim=1,
        )
        spectral = [mean[:, 1:], spread.clamp(min=_LEAST).sqrt(), changes.clamp(min=_LEAST).sqrt()]
        return torch.cat([*spectral, pitch_statistics(features, counts), timing], dim=1)
