"""Prosody of clips: pitch, rate, loudness, brightness, voice quality and pauses, one row an utterance.

Own code on numpy and scipy: the library that measures all of this, parselmouth, is GPL-3 and so cannot be a part of
this project's core. The tests hold these measures against it where it is installed.

What they are not: Praat's. The harmonics-to-noise ratio is that of its cross-correlation variant (`To Harmonicity
(cc)`), that of `(ac)`, which many papers quote, lay 2.3 dB away; jitter and shimmer are the local ones, of periods as
`To PointProcess (cc)` marks them; the speech rate follows de Jong & Wempe's idea and agrees weakly with their
script (r = .46 on RAVDESS). Values may be compared with one another, not with norms that were measured with Praat.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import fft
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ser_tasks.rudeness.pitch import HOP, RATE_HZ, SIZE, WINDOW, Track, track_pitch

Floats = npt.NDArray[np.float32]
MEASURES = {
    "f0_hz": "median F0, Hz",
    "f0_sd_st": "spread of F0, SD in semitones",
    "f0_slope_st_s": "slope of F0, semitones a second",
    "voiced_share": "share of spoken frames that are voiced",
    "speech_rate_hz": "syllable nuclei a second, pauses included (weak: r .46 with Praat's)",
    "articulation_rate_hz": "syllable nuclei a second, pauses left out",
    "rms_db": "RMS level, dB of full scale",
    "level_sd_db": "spread of the level while speaking, dB",
    "centroid_hz": "spectral centroid, Hz",
    "hnr_db": "harmonics-to-noise ratio (cc), dB",
    "jitter": "jitter (local), share of the period",
    "shimmer": "shimmer (local), share of the amplitude",
    "h1_h2_db": "first minus second harmonic, dB",
    "pauses_per_s": "pauses a second",
    "pause_share": "share of time in pauses",
}
"""Column to what it is. What a clip without voice or speech does not have is NaN."""

AT_ONCE = 16
"""Clips whose pitch is tracked together."""
SPEECH_DB = 25.0
"""Speech is what lies within this of the loudest hundredth (de Jong & Wempe 2009)."""
DIP_DB = 2.0
"""Between two syllable nuclei the level falls by so much (the same)."""
SHORTEST_PAUSE_S = 0.2
FRAME, STEP = 1024, 256
"""Of the spectral centroid: 64 ms every 16 ms."""
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
_FEWEST_FRAMES = 5


def measure_prosody(clips: Iterable[tuple[str, Floats]]) -> pd.DataFrame:
    """Measure clips, a few at a time: memory does not grow with the corpus.

    Args:
        clips: (utterance_id, float32 samples [n] in [-1, 1], 16 kHz).

    Returns:
        utterance_id and `MEASURES`. rms_db: level of the mean power of the whole clip; centroid_hz: the
        magnitude-weighted mean frequency, averaged over frames within 30 dB of the loudest, so that pauses do not
        count; jitter and shimmer as Praat defines them (local), from the peaks of periods; H1-H2 without correction
        for formants, under a window of 40 ms.
    """
    source = iter(clips)
    rows: list[dict[str, float | str]] = []
    while part := list(islice(source, AT_ONCE)):
        rows += _measured(part)
    return pd.DataFrame(rows, columns=["utterance_id", *MEASURES])


def _measured(part: list[tuple[str, Floats]]) -> Iterator[dict[str, float | str]]:
    tracks = track_pitch([samples for _, samples in part])
    for (utterance_id, samples), track in zip(part, tracks, strict=True):
        power = float(np.mean(np.square(samples, dtype=np.float64)))
        yield {
            "utterance_id": utterance_id,
            "rms_db": 10 * np.log10(power + 1e-12),
            "centroid_hz": _centroid(samples),
            **_melody(track),
            **_rhythm(track),
            **_voice(samples, track),
        }


def _centroid(samples: Floats) -> float:
    """As librosa's stft, rms and spectral_centroid give it (centred frames, zeros beyond the ends)."""
    padded = np.pad(samples, FRAME // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::STEP]
    magnitude = np.abs(fft.rfft(windows * _HANN))
    power = np.square(magnitude)
    power[:, [0, -1]] *= 0.5
    level = np.sqrt(power.sum(axis=1))
    spoken = level >= level.max() * 10 ** (-30 / 20)
    frequency = np.arange(FRAME // 2 + 1, dtype=np.float32) * (RATE_HZ / FRAME)
    total = magnitude.sum(axis=1)
    return float((magnitude @ frequency / np.maximum(total, 1e-12))[spoken].mean())


def _spoken(track: Track) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Level of each frame in dB, and whether it lies within `SPEECH_DB` of the loudest hundredth."""
    level = 10 * np.log10(track.power + 1e-12)
    return level, level > np.quantile(level, 0.99) - SPEECH_DB


def _melody(track: Track) -> dict[str, float]:
    _, spoken = _spoken(track)
    voiced = track.f0_hz > 0
    share = float(voiced[spoken].mean()) if spoken.any() else float("nan")
    names = ("f0_hz", "f0_sd_st", "f0_slope_st_s", "hnr_db", "h1_h2_db")
    if voiced.sum() < _FEWEST_FRAMES:
        return dict.fromkeys(names, float("nan")) | {"voiced_share": share}
    semitones = 12 * np.log2(track.f0_hz[voiced])
    time = np.flatnonzero(voiced) * (HOP / RATE_HZ)
    time = time - time.mean()
    ratio = np.clip(track.strength[voiced], 1e-3, 0.9999)
    return {
        "f0_hz": float(np.median(track.f0_hz[voiced])),
        "f0_sd_st": float(semitones.std()),
        "f0_slope_st_s": float(time @ semitones / (time @ time)),
        "hnr_db": float(np.mean(10 * np.log10(ratio / (1 - ratio)))),
        "h1_h2_db": float(np.median(_harmonic(track, voiced, 1) - _harmonic(track, voiced, 2))),
        "voiced_share": share,
    }


def _harmonic(track: Track, voiced: npt.NDArray[np.bool_], number: int) -> npt.NDArray[np.float64]:
    """Level in dB of a harmonic in voiced frames: the highest within a tenth of its expected frequency."""
    bins = track.f0_hz[voiced, None] * number * np.linspace(0.9, 1.1, 9) * (SIZE / RATE_HZ)
    low = np.minimum(bins.astype(np.int64), SIZE // 2 - 1)
    level = 10 * np.log10(track.spectrum[voiced] + 1e-12)
    left, right = np.take_along_axis(level, low, axis=1), np.take_along_axis(level, low + 1, axis=1)
    return np.asarray((left + (right - left) * (bins - low)).max(axis=1))


def _rhythm(track: Track) -> dict[str, float]:
    """Syllable nuclei are peaks of the level, voiced, with a dip before (de Jong & Wempe 2009); pauses are gaps."""
    level, spoken = _spoken(track)
    places = np.flatnonzero(spoken)
    names = ("speech_rate_hz", "articulation_rate_hz", "level_sd_db", "pauses_per_s", "pause_share")
    if len(places) < _FEWEST_FRAMES:
        return dict.fromkeys(names, float("nan"))
    first, last = places[0], places[-1] + 1
    smooth = gaussian_filter1d(level, 2.0)
    peaks, _ = find_peaks(smooth, prominence=DIP_DB)
    nuclei = int((spoken[peaks] & (track.f0_hz[peaks] > 0)).sum())
    gaps = np.diff(places) - 1
    gaps = gaps[gaps * HOP >= SHORTEST_PAUSE_S * RATE_HZ]
    seconds, silent = (last - first) * HOP / RATE_HZ, float(gaps.sum()) * HOP / RATE_HZ
    return {
        "speech_rate_hz": nuclei / seconds,
        "articulation_rate_hz": nuclei / (seconds - silent),
        "level_sd_db": float(level[spoken].std()),
        "pauses_per_s": len(gaps) / seconds,
        "pause_share": silent / seconds,
    }


def _voice(samples: Floats, track: Track) -> dict[str, float]:
    """Jitter and shimmer (local): mean change from period to period over the mean, as Praat bounds them.

    Periods that differ by more than 1.3 times, and peaks by more than 1.6 times, are not neighbours.
    """
    gaps, sizes = [], []
    steady = samples - samples.mean()
    steady = steady if np.sum(np.power(steady, 3, dtype=np.float64)) >= 0 else -steady
    change, size_change = [], []
    for start, end in _runs(track.f0_hz > 0):
        places, heights = _pulses(steady, track.f0_hz, start, end)
        periods = np.diff(places)
        if len(periods) < 2:
            continue
        near = np.maximum(periods[1:], periods[:-1]) <= 1.3 * np.minimum(periods[1:], periods[:-1])
        alike = np.maximum(heights[1:], heights[:-1]) <= 1.6 * np.minimum(heights[1:], heights[:-1])
        change.append(np.abs(np.diff(periods))[near])
        size_change.append(np.abs(np.diff(heights))[alike])
        gaps.append(periods)
        sizes.append(heights)
    if not gaps or sum(map(len, change)) < _FEWEST_FRAMES or sum(map(len, size_change)) < _FEWEST_FRAMES:
        return {"jitter": float("nan"), "shimmer": float("nan")}
    return {
        "jitter": float(np.concatenate(change).mean() / np.concatenate(gaps).mean()),
        "shimmer": float(np.concatenate(size_change).mean() / np.concatenate(sizes).mean()),
    }


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last + 1 of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _pulses(samples: Floats, f0_hz: Floats, start: int, end: int) -> tuple[npt.NDArray[np.float64], Floats]:
    """Places (in samples, interpolated) of the periods in a voiced run of frames, and their peaks' heights.

    From the highest sample of the first period on, the next place is where the wave over one period correlates best
    with the wave here, 0.8 to 1.25 periods later (Praat's `To PointProcess (cc)`).
    """
    last = min((end - 1) * HOP + WINDOW // 2 + HOP // 2, len(samples))
    period = RATE_HZ / f0_hz[start:end]
    place = float(start * HOP + WINDOW // 2 - HOP // 2)
    place += int(samples[int(place) : int(place + period[0]) + 1].argmax())
    places, heights = [], []
    while True:
        frame = int((place - WINDOW // 2 + HOP // 2) // HOP) - start
        here = float(period[min(max(frame, 0), end - start - 1)])
        at, half, low, high = round(place), int(here / 2), int(0.8 * here), int(1.25 * here) + 1
        if at - half < 0 or at + high + half >= last:
            break
        wave, ahead = samples[at - half : at + half], samples[at + low - half : at + high + half]
        energy = np.square(ahead).cumsum()
        energy = np.concatenate([energy[2 * half - 1 : 2 * half], energy[2 * half :] - energy[: -2 * half]])
        match = np.correlate(ahead, wave) / np.sqrt(np.maximum(energy, 1e-12))
        k = int(match.argmax())
        shift = 0.0
        if 0 < k < len(match) - 1:
            bend = match[k - 1] - 2 * match[k] + match[k + 1]
            shift = 0.5 * float(match[k - 1] - match[k + 1]) / float(bend) if bend < 0 else 0.0
        places.append(place)
        heights.append(wave.max())
        place += low + k + shift + (at - place)  # the lag counts from the sample that the wave was taken at
    return np.asarray(places), np.asarray(heights, dtype=np.float32)
