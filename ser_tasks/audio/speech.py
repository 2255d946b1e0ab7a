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
_FINE = 8  # samples, half a millisecond: how exactly the beginning of speech is found
_TINY = 1e-20  # power: a clip of zeros has no level, and is left as it is


class Speech(nn.Module):
    """Waveforms to their speech at one level; a clip's result does not depend on its batch.

    Frames are counted from where speech begins, not from where the file does. Otherwise a file that begins 3 ms later
    would give other frames: one in nine of RAVDESS' clips got another label by that alone. Where the margin around
    speech reaches past the file's ends there are zeros, so that a file whose silence was cut gives the same frames. A
    clip in which nothing is found, such as one of zeros, is kept whole.
    """

    def __init__(self, options: SpeechOptions) -> None:
        super().__init__()
        self.options = options
        rate = options.sample_rate_hz
        self.window, self.hop = round(rate * _WINDOW_MS / 1000), round(rate * _HOP_MS / 1000)
        self.hangover = round(options.hangover_ms / _HOP_MS)
        self.spectrum = Spectrogram(n_fft=self.window, hop_length=self.hop, center=False, power=2.0)
        self.margin = self.hangover * self.hop
        self.before = -(-self.window // self.hop) * self.hop  # a frame of speech may begin before the file
        self.room = 2 * self.margin + self.before + 2 * self.window
        """Samples by which waveforms that come out are wider than those that go in."""
        self.low, self.high = (round(hz * self.window / rate) for hz in (options.low_hz, options.high_hz))
        self.scale = 2.0 / float(torch.hann_window(self.window).square().sum()) / self.window

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Cut and scale.

        Args:
            waveforms: float32 [batch, samples]; what lies past a clip's length is ignored.
            lengths: int64 [batch], samples.

        Returns:
            Waveforms float32 [batch, samples + room], 0 past a clip's end, and lengths int64 [batch].
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            waveforms, lengths, _ = self.cut(waveforms, lengths)
        return waveforms, lengths

    def cut(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, and which frames are speech: bool [batch, frames of the waveforms that come out].

        The caller sees to it that neither gradients nor autocast are on.
        """
        waveforms = waveforms.float() * frame_mask(lengths, waveforms.shape[1])
        margin, before = self.margin, self.before
        waveforms = functional.pad(waveforms, (margin + before, margin + 2 * self.window))
        start = self.begin(waveforms[:, margin:], lengths + before)
        waveforms, lengths = _from(waveforms, start), lengths + margin + before - start
        power, active = self.activity(waveforms, lengths)
        level = (power * active).sum(dim=1) / active.sum(dim=1)
        wanted = 10 ** (self.options.level_db / 10)
        gain = torch.where(level > _TINY, (wanted / level.clamp(min=_TINY)).sqrt(), torch.ones_like(level))
        frames = torch.arange(active.shape[1], device=active.device)
        end = (torch.where(active, frames, -1).amax(dim=1) + self.hangover) * self.hop + self.window
        return waveforms * gain[:, None] * frame_mask(end, waveforms.shape[1]), end, active

    def begin(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """The sample at which the first frame of speech begins, to half a millisecond: int64 [batch].

        Args:
            waveforms: float32 [batch, samples], 0 past a clip's length.
            lengths: int64 [batch], samples.
        """
        power, real, least = self._loudness(waveforms, lengths)
        active = self._steady((power >= least) & real)
        frames = torch.arange(active.shape[1], device=active.device)
        first = torch.where(active, frames, active.shape[1]).amin(dim=1)
        before = (first - 1).clamp(min=0) * self.hop
        places = _FINE * torch.arange(self.hop // _FINE, device=before.device)
        around = _from(waveforms, before, self.hop + self.window)
        fine = self._band(self.spectrum(around.unfold(1, self.window, _FINE)[:, : len(places)].flatten(0, 1)))
        found = fine.reshape(-1, len(places)) >= least
        # behind the last of these lies the frame that was found by whole hops
        return torch.minimum(before + torch.where(found, places, self.hop).amin(dim=1), first * self.hop)

    def activity(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Power of every frame in the band float32 [batch, frames], and whether it is speech: bool [batch, frames].

        Frames are 25 ms long and 10 ms apart; those count that begin in the clip.
        """
        power, real, least = self._loudness(waveforms, lengths)
        return power, self._steady((power >= least) & real)

    def _loudness(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Power of every frame, whether it begins in the clip, and the least power of speech: [batch, 1]."""
        missing = self.window - waveforms.shape[1]
        if missing > 0:
            waveforms = functional.pad(waveforms, (0, missing))
        power = self._band(self.spectrum(waveforms))
        counts = (lengths + self.hop - 1) // self.hop
        real = frame_mask(counts, power.shape[1])
        power = power * real
        loudest = functional.pad(power, (0, _LOUDEST)).topk(_LOUDEST, dim=1).values
        filled = (loudest > 0).sum(dim=1).clamp(min=1)
        reference = loudest.gather(1, (filled - 1)[:, None])
        # frames without power are speech only where a clip has no others: margins are zeros
        real = real & ((power > 0) | (loudest[:, :1] == 0))
        return power, real, reference * 10 ** (-self.options.below_db / 10)

    def _band(self, spectra: Tensor) -> Tensor:
        """Power between the ends of the band: [batch, frequencies, frames] -> [batch, frames]."""
        return spectra[:, self.low : self.high + 1].sum(dim=1) * self.scale

    @staticmethod
    def _steady(loud: Tensor) -> Tensor:
        """Loud frames that are no click; all of them where a clip has nothing else."""
        around = functional.avg_pool1d(loud.float()[:, None], _AROUND, 1, _AROUND // 2)[:, 0]
        steady = loud & (around * _AROUND > _MOST_OF - 0.5)
        return steady | (loud & ~steady.any(dim=1, keepdim=True))


def _from(values: Tensor, first: Tensor, width: int | None = None) -> Tensor:
    """Each row from its own first place on, `width` of them (None: as many as there are); 0 behind a row's end."""
    wanted = values.shape[1] if width is None else width
    place = torch.arange(wanted, device=values.device)[None, :] + first[:, None]
    return values.gather(1, place.clamp(max=values.shape[1] - 1)) * (place < values.shape[1])
