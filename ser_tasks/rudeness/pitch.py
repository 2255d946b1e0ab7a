"""Fundamental frequency by autocorrelation and the best path, for several clips at once (Boersma 1993).

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound", IFA Proceedings 17: the method of Praat's `To Pitch (ac)`, with its defaults. Written anew on numpy, because
the libraries that have it are GPL (parselmouth) or, with voicing decisions, slower than the whole of this (pYIN).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

Floats = npt.NDArray[np.float32]
RATE_HZ = 16_000
HOP = 160
"""10 ms."""
FLOOR_HZ, CEILING_HZ = 75.0, 600.0
WINDOW = int(3 * RATE_HZ / FLOOR_HZ)
"""Three periods of the lowest pitch: 40 ms."""
SIZE = 1024
"""Of the transform: a window and the longest lag."""
CANDIDATES = 6
VOICING, SILENCE, OCTAVE, JUMP, CHANGE = 0.45, 0.03, 0.01, 0.35, 0.14
"""Praat's voicing threshold, silence threshold, octave cost, octave-jump cost and voiced/unvoiced cost."""

_HANN = np.hanning(WINDOW + 2)[1:-1].astype(np.float32)
_HANN_AC = fft.irfft(np.square(np.abs(fft.rfft(_HANN, SIZE))))
_LAGS = np.arange(int(RATE_HZ / CEILING_HZ) - 1, int(RATE_HZ / FLOOR_HZ) + 2)


@dataclass(frozen=True)
class Track:
    """A clip's frames, 10 ms apart; frame i is centred at sample `i * HOP + WINDOW / 2`.

    Attributes:
        f0_hz: [frames], 0 where unvoiced.
        strength: [frames]: autocorrelation at the period in [0, 1), 0 where unvoiced.
        power: [frames]: mean square under the window.
        spectrum: [frames, SIZE / 2 + 1]: power spectrum under the window.
    """

    f0_hz: Floats
    strength: Floats
    power: Floats
    spectrum: Floats


def track_pitch(clips: Sequence[Floats]) -> list[Track]:
    """Track the pitch of clips, float32 [n] at 16 kHz; a clip shorter than a window is completed with zeros."""
    frames = [_candidates(samples) for samples in clips]
    longest = max(len(frequency) for frequency, *_ in frames)
    frequency = np.zeros((len(clips), longest, CANDIDATES + 1), dtype=np.float32)
    score = np.full_like(frequency, -np.inf)
    score[:, :, 0] = 0  # what lies past a clip's end is unvoiced and costs nothing
    for i, (found, strength, *_) in enumerate(frames):
        frequency[i, : len(found)], score[i, : len(found)] = found, strength
    path = _best_paths(frequency, score)
    tracks = []
    for i, (found, _, correlation, power, spectrum) in enumerate(frames):
        chosen = path[i, : len(found), None]
        f0 = np.take_along_axis(found, chosen, axis=1)[:, 0]
        tracks.append(Track(f0, np.take_along_axis(correlation, chosen, axis=1)[:, 0], power, spectrum))
    return tracks


def _candidates(samples: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Frequency, score and correlation of each frame's candidates [frames, 1 + CANDIDATES], power, spectrum.

    The first candidate is "unvoiced": frequency 0.
    """
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples)))).astype(np.float32, copy=False)
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    centred = windows - windows.mean(axis=1, keepdims=True)
    spectrum = np.square(np.abs(fft.rfft(centred * _HANN, SIZE)))
    autocorrelation = fft.irfft(spectrum)[:, : _LAGS[-1] + 1]
    power = autocorrelation[:, 0] / np.float32(np.square(_HANN).sum())
    normal = autocorrelation / (autocorrelation[:, :1] + 1e-12) / (_HANN_AC / _HANN_AC[0])[: _LAGS[-1] + 1]
    before, here, after = normal[:, _LAGS[1:-1] - 1], normal[:, _LAGS[1:-1]], normal[:, _LAGS[1:-1] + 1]
    peak = (here > before) & (here >= after) & (here > 0.5 * VOICING)
    lags = _LAGS[1:-1].astype(np.float32)
    cost = np.float32(OCTAVE) * np.log2(np.float32(FLOOR_HZ / RATE_HZ) * lags)
    rated = np.where(peak, here - cost, -np.inf)
    top = np.argpartition(rated, -CANDIDATES, axis=1)[:, -CANDIDATES:]
    left, middle, right = (np.take_along_axis(values, top, axis=1) for values in (before, here, after))
    shift = np.clip(0.5 * (left - right) / np.minimum(left - 2 * middle + right, -1e-9), -0.5, 0.5)
    height = np.minimum(middle - 0.25 * (left - right) * shift, 0.9999)
    there = np.isfinite(np.take_along_axis(rated, top, axis=1))
    frequency = np.where(there, RATE_HZ / (lags[top] + shift), 0)
    score = np.where(there, height - OCTAVE * np.log2(FLOOR_HZ / np.maximum(frequency, 1)), -np.inf)
    local = np.abs(centred).max(axis=1)
    loud = local / (np.abs(samples - samples.mean()).max() + 1e-12)
    unvoiced = VOICING + np.maximum(0, 2 - loud / (SILENCE / (1 + VOICING)))
    nothing = np.zeros((len(windows), 1), dtype=np.float32)
    return (
        np.hstack([nothing, frequency]).astype(np.float32),
        np.hstack([unvoiced[:, None], score]).astype(np.float32),
        np.hstack([nothing, np.where(there, height, 0)]).astype(np.float32),
        power,
        spectrum,
    )


def _best_paths(frequency: Floats, score: Floats) -> npt.NDArray[np.int64]:
    """Number of the candidate of each frame on each clip's best path (Viterbi): [clips, frames]."""
    clips, frames, _ = frequency.shape
    octave = np.log2(np.maximum(frequency, 1))
    voiced = frequency > 0
    best, back = score[:, 0], np.zeros(frequency.shape, dtype=np.int8)
    correction = np.float32(0.01 * RATE_HZ / HOP)
    for t in range(1, frames):
        both = voiced[:, t - 1, :, None] & voiced[:, t, None, :]
        change = voiced[:, t - 1, :, None] != voiced[:, t, None, :]
        jump = np.abs(octave[:, t - 1, :, None] - octave[:, t, None, :])
        through = best[:, :, None] - correction * np.where(both, JUMP * jump, np.where(change, CHANGE, 0))
        back[:, t] = through.argmax(axis=1)
        best = through.max(axis=1) + score[:, t]
    path = np.zeros((clips, frames), dtype=np.int64)
    path[:, -1] = best.argmax(axis=1)
    rows = np.arange(clips)
    for t in range(frames - 1, 0, -1):
        path[:, t - 1] = back[rows, t, path[:, t]]
    return path
