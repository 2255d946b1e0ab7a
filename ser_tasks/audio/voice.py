"""What is heard of the voice in a clip, frame by frame: mel spectrum, pitch, and where speech is.

Level and outer silence are taken out first (see `speech`), so that models hear neither. The same for training,
prediction, embedding, serving and export.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import scipy.signal
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import Spectrogram

from ser_tasks.audio.logmel import LogMelOptions, mel_power
from ser_tasks.audio.padding import frame_mask, is_recorded, padded_width
from ser_tasks.audio.speech import Speech, SpeechOptions

EXTRA_CHANNELS = 3
"""Channels behind the mel bins: logarithm of the fundamental frequency in Hz, how periodic the frame is in [0, 1], and
1 where the frame is speech."""


FrontEnd = Literal["speech", "whole"]
"""What a model hears of a clip. speech: its speech, at one level. whole: the clip as it is, silence and level included,
as models did that were saved before there was a choice."""

FLOOR: dict[str, float] = {"speech": 1e-5, "whole": 1e-8}
"""Mel power below which cells are alike, by front end: of speech, which has one level, chosen on development folds; of
the whole clip the rounding of 16-bit audio."""


@dataclass(frozen=True)
class VoiceOptions:
    """Frames are 25 ms long and 10 ms apart, usual in speech work; pitch is taken from 64 ms around each.

    Attributes:
        front_end: See `FrontEnd`; of the whole clip there is no pitch, and every frame counts as speech.
        pitch: Look for it; else its channels are 0.
        n_mels: Mel bins.
        low_hz: Lower end of the lowest; below lies hum, not voice.
        lowest_pitch_hz: That is looked for.
        highest_pitch_hz: That is looked for.
        speech: How speech is found and brought to one level.
    """

    front_end: FrontEnd = "speech"
    pitch: bool = True
    n_mels: int = 64
    low_hz: float = 50.0
    lowest_pitch_hz: float = 60.0
    highest_pitch_hz: float = 500.0
    speech: SpeechOptions = field(default_factory=SpeechOptions)


_SLOWER = 4  # pitch is looked for at 4 kHz: its harmonics lie below 2 kHz
_TAPS = 63  # of the filter before that
_PITCH_WINDOW, _PITCH_FFT = 256, 512  # samples at 4 kHz: 64 ms hold four periods of 60 Hz
_PITCH_BAND_HZ = (50.0, 1_500.0)  # where voices have their strong harmonics, and telephones too
_CANDIDATES = 144  # pitches that are tried: 1.5 % apart
_OCTAVE_COST = 0.02  # by which a period twice as long must be clearer to be taken
_TINY = 1e-10


class Voice(nn.Module):
    """Waveforms to mel power, pitch and speech frames; padding changes no real frame of a clip."""

    lowpass: Tensor
    cosines: Tensor
    window_autocorrelation: Tensor
    log_hz: Tensor

    def __init__(self, options: VoiceOptions) -> None:
        super().__init__()
        self.options = options
        self.speech = Speech(options.speech)
        rate, self.window, self.hop = options.speech.sample_rate_hz, self.speech.window, self.speech.hop
        self.mel = mel_power(LogMelOptions(rate, options.n_mels, low_hz=options.low_hz))
        slow = rate / _SLOWER
        self.spectrum = Spectrogram(
            n_fft=_PITCH_FFT, win_length=_PITCH_WINDOW, hop_length=self.hop // _SLOWER, center=False, power=2.0
        )
        taps = scipy.signal.firwin(_TAPS, 1.1 * _PITCH_BAND_HZ[1], fs=rate)
        hz = np.geomspace(options.highest_pitch_hz, options.lowest_pitch_hz, _CANDIDATES)
        bins = np.arange(_PITCH_FFT // 2 + 1) * slow / _PITCH_FFT
        kept = np.flatnonzero((bins > _PITCH_BAND_HZ[0]) & (bins < _PITCH_BAND_HZ[1]))
        self.first, self.behind = int(kept[0]), int(kept[-1]) + 1
        window = scipy.signal.get_window("hann", _PITCH_WINDOW)
        overlap = np.correlate(window, window, "full")[_PITCH_WINDOW - 1 :] / np.square(window).sum()
        constants = {
            "lowpass": taps[None, None],
            "cosines": np.cos(2 * np.pi * bins[kept][:, None] / hz[None, :]),
            "window_autocorrelation": np.interp(slow / hz, np.arange(_PITCH_WINDOW), overlap),
            "log_hz": np.log(hz),
        }
        for name, values in constants.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, np.float32)), persistent=False)

    @property
    def filters(self) -> Tensor:
        """Of the mel bins: float32 [frequencies from 0 to half the sample rate, bins]."""
        filters: Tensor = self.mel.mel_scale.fb
        return filters

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Listen, always in float32.

        Args:
            waveforms: float32 [batch, samples] in [-1, 1]; what lies past a clip's length is ignored.
            lengths: int64 [batch], samples.

        Returns:
            Features float32 [batch, frames, n_mels + 3]: mel power, then what `EXTRA_CHANNELS` says, 0 past a clip's
            last frame; and the numbers of real frames, int64 [batch].
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            active: Tensor | None = None
            if self.options.front_end == "speech":
                waveforms, lengths, active = self.speech.cut(waveforms, lengths)
            else:
                waveforms = waveforms.float() * frame_mask(lengths, waveforms.shape[1])
            if waveforms.device.type == "cpu" and not is_recorded():  # a GPU would have to be waited for
                waveforms = waveforms[:, : padded_width(int(lengths.max()))]
            missing = self.window - waveforms.shape[1]
            if missing > 0:
                waveforms = functional.pad(waveforms, (0, missing))
            power = self.mel(waveforms).transpose(1, 2)
            if active is None:
                about = functional.pad(torch.zeros_like(power[:, :, :2]), (0, 1), value=1.0)
            else:
                # taken by index: that a slice is long enough cannot be proved while a graph is recorded
                frames = torch.arange(power.shape[1], device=power.device)
                pitch = self._pitch(waveforms) if self.options.pitch else torch.zeros_like(power[:, :, :2])
                speech = active[:, :, None].float()
                about = torch.cat([each.index_select(1, frames) for each in (pitch, speech)], dim=2)
            features = torch.cat([power, about], dim=2)
        counts = (lengths - self.window).clamp(min=0) // self.hop + 1
        return features * frame_mask(counts, features.shape[1])[:, :, None], counts

    def _pitch(self, waveforms: Tensor) -> Tensor:
        """Log of the fundamental frequency and periodicity: float32 [batch, frames, 2].

        The autocorrelation of each frame, from its power spectrum (Wiener-Khinchin), over that of the window
        (Boersma 1993, "Accurate short-term analysis of the fundamental frequency"); its greatest value is taken.
        """
        around = (_PITCH_FFT * _SLOWER - self.window) // 2
        padded = functional.pad(waveforms, (around + _TAPS // 2, around + _TAPS // 2))
        slow = functional.conv1d(padded[:, None], self.lowpass, stride=_SLOWER)[:, 0]
        power = self.spectrum(slow)[:, self.first : self.behind].transpose(1, 2)
        correlation = (
            (power @ self.cosines) / power.sum(dim=2, keepdim=True).clamp(min=_TINY) / self.window_autocorrelation
        )
        best = (correlation + _OCTAVE_COST / math.log(2) * self.log_hz).argmax(dim=2)
        periodicity = correlation.gather(2, best[:, :, None]).clamp(0.0, 1.0)
        return torch.cat([self.log_hz[best][:, :, None], periodicity], dim=2)
