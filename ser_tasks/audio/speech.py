"""The speech of a clip: where it begins and ends, and at what level. The same for every model.

A recording's level and the silence around its speech say who held the microphone and who cut the file, not how
somebody spoke. What is measured here is relative to the clip itself, so that neither reaches a model.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import Spectrogram

from ser_tasks.audio.padding import frame_mask


@dataclass(frozen=True)
class SpeechOptions:
    """How speech is found and brought to one level.

    Attributes:
        below_db: A frame is speech when its power is at most so far below the clip's reference, the tenth-loudest of
            its frames (they are 10 ms apart): 100 ms of speech are in every utterance, and a click is shorter.
        hangover_ms: Kept on either side of speech: soft consonants begin and end words.
        level_db: Root mean square of the speech frames, in dB of full scale, that every clip is brought to.
        low_hz: Lower end of the band in which power is measured; hum lies below.
        high_hz: Its upper end: what a telephone keeps, and where noise does not outweigh speech.
        sample_rate_hz: Of the waveforms.
    """

    below_db: float = 30.0
    hangover_ms: float = 50.0
    level_db: float = -26.0
    low_hz: float = 150.0
    high_hz: float = 3_800.0
    sample_rate_hz: int = 16_000


_WINDOW_MS, _HOP_MS = 25.0, 10.0
_LOUDEST = 10  # frames: the reference is the last of them
_AROUND, _MOST_OF = 7, 4  # of 7 frames around a frame 4 must be speech: what is shorter is a click
_TINY = 1e-20  # power: a clip of zeros has no level, and is left as it is


class Speech(nn.Module):
    """Waveforms to their speech at one level; a clip's result does not depend on its batch.

    A clip in which nothing is found, such as one of zeros, is kept whole.
    """

    def __init__(self, options: SpeechOptions) -> None:
        super().__init__()
        self.options = options
        rate = options.sample_rate_hz
        self.window, self.hop = round(rate * _WINDOW_MS / 1000), round(rate * _HOP_MS / 1000)
        self.hangover = round(options.hangover_ms / _HOP_MS)
        self.spectrum = Spectrogram(n_fft=self.window, hop_length=self.hop, center=False, power=2.0)
        self.low, self.high = (round(hz * self.window / rate) for hz in (options.low_hz, options.high_hz))
        self.scale = 2.0 / float(torch.hann_window(self.window).square().sum()) / self.window

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Cut and scale.

        Args:
            waveforms: float32 [batch, samples]; what lies past a clip's length is ignored.
            lengths: int64 [batch], samples.

        Returns:
            Waveforms float32 [batch, samples], 0 past a clip's end, and lengths int64 [batch].
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            waveforms, lengths, _ = self.cut(waveforms, lengths)
        return waveforms, lengths

    def cut(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, and which frames are speech: bool [batch, frames of the waveforms that were given].

        The caller sees to it that neither gradients nor autocast are on.
        """
        waveforms = waveforms.float() * frame_mask(lengths, waveforms.shape[1])
        power, active = self.activity(waveforms, lengths)
        level = (power * active).sum(dim=1) / active.sum(dim=1)
        wanted = 10 ** (self.options.level_db / 10)
        gain = torch.where(level > _TINY, (wanted / level.clamp(min=_TINY)).sqrt(), torch.ones_like(level))
        waveforms = waveforms * gain[:, None]
        first, end = self.ends(active, lengths)
        lengths = end - first * self.hop
        heard = _from(active.float(), first, active.shape[1] - first) > 0
        return _from(waveforms, first * self.hop, lengths), lengths, heard

    def activity(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Power of every frame in the band float32 [batch, frames], and whether it is speech: bool [batch, frames].

        Frames are 25 ms long and 10 ms apart; a clip shorter than one has one.
        """
        missing = self.window - waveforms.shape[1]
        if missing > 0:
            waveforms = functional.pad(waveforms, (0, missing))
        power = self.spectrum(waveforms)[:, self.low : self.high + 1].sum(dim=1) * self.scale
        counts = (lengths - self.window).clamp(min=0) // self.hop + 1
        real = frame_mask(counts, power.shape[1])
        power = power * real
        loudest = functional.pad(power, (0, _LOUDEST)).topk(_LOUDEST, dim=1).values
        reference = loudest.gather(1, (counts.clamp(max=_LOUDEST) - 1)[:, None])
        loud = (power >= reference * 10 ** (-self.options.below_db / 10)) & real
        around = functional.avg_pool1d(loud.float()[:, None], _AROUND, 1, _AROUND // 2)[:, 0]
        steady = loud & (around * _AROUND > _MOST_OF - 0.5)
        return power, steady | (loud & ~steady.any(dim=1, keepdim=True))

    def ends(self, active: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """First frame of a clip's speech and the sample behind its last, hangover included: int64 [batch] each."""
        frames = torch.arange(active.shape[1], device=active.device)[None, :]
        first = torch.where(active, frames, active.shape[1]).amin(dim=1)
        last = torch.where(active, frames, -1).amax(dim=1)
        first = (first - self.hangover).clamp(min=0)
        end = torch.minimum((last + self.hangover) * self.hop + self.window, lengths)
        return first, torch.maximum(end, first * self.hop + 1)


def _from(values: Tensor, first: Tensor, lengths: Tensor) -> Tensor:
    """Each row from its own first place on; 0 behind its length."""
    place = torch.arange(values.shape[1], device=values.device)[None, :] + first[:, None]
    moved = values.gather(1, place.clamp(max=values.shape[1] - 1))
    return moved * frame_mask(lengths, values.shape[1])
