"""The facts of one audio file: what it is, how loud it is, and what a person should know before training on it.

Levels are measured on the samples as they lie in the file, at its own rate: resampling would cost more than all the
rest, and changes none of these figures by what matters.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from ser_tasks.audio.decode import Audio, read_audio

CLIPPED = 0.999
"""A sample at or above this share of full scale counts as clipped."""
SILENT_DB = -60.0
"""A 20 ms frame below this level (dB of full scale) counts as silent."""
DIGITAL_SILENCE_DB = -85.0
"""A 20 ms frame below this level (dB of full scale) counts as digital silence: under two steps of 16-bit audio there is
no room, only zeros, dither or the rest of a noise gate."""
NOISE_SHARE = 0.1
"""The noise floor is the level that this share of the frames with sound lies under: the gaps between words."""
LOUD_FRAMES = 8
"""The bandwidth is read from so many of a clip's loudest frames: of RAVDESS and nEMO 16 or 32 give the same medians."""
BANDWIDTH_DB = 60.0
"""The bandwidth reaches as far as the spectrum lies within so many dB of its maximum. Measured on RAVDESS and nEMO: at
60, speech at 16 kHz reads 7.4 to 7.8 kHz, speech that was resampled from 8 kHz 3.8 to 3.9 kHz, a telephone's filter 3.5
to 3.65 kHz and MP3 with a cut at 16 kHz 15.6 to 16.7 kHz (nine clips of ten); at 50, soft voices read 6 kHz."""
LOWEST_HZ = 100.0
"""What lies below, hum and an offset, is not a voice: the spectrum's maximum is sought above."""
NEARLY_SILENT_DB = 20 * math.log10(30 / 32768)
"""dB of full scale: an RMS of 30 in 32768, under which RAVDESS's nearly silent clips lie."""
MUCH_CLIPPED = 0.01
"""More than this share of clipped samples is flagged."""
MUCH_OFFSET = 0.05
"""A mean further than this share of full scale from zero is flagged."""
WIDE_HZ = 16_000
"""A lower sample rate leaves out what a model that takes 16 kHz expects to hear."""


@dataclass(frozen=True)
class Facts:
    """What is known of a file.

    Attributes:
        sha256: Of its bytes, as is `bytes`, their number.
        sample_rate_hz: As the file gives it, as are `channels`.
        codec: Container and coding, such as "WAV/PCM_16".
        duration_s: Before resampling.
        peak: Greatest magnitude in any channel, in [0, 1].
        rms_db: Level in dB of full scale, of the average of the channels, as are the next three.
        dc_offset: Mean, in [-1, 1].
        clipped_fraction: Share of the samples of all channels at full scale.
        silent_fraction: Share of 20 ms frames below `SILENT_DB`.
        issues: What a person should know, in words.
        noise_db: Noise floor, in dB of full scale: the level that a tenth of the 20 ms frames lies under, digital
            silence aside. Of a clip that was cut without pauses it is the level of its quietest speech. NaN where all
            is digital silence.
        bandwidth_hz: Up to where the mean spectrum of the loudest frames carries sound: see `BANDWIDTH_DB`. In steps
            of 50 Hz, at most half the sample rate. NaN where there is no sound above `LOWEST_HZ`.
        digital_silence_fraction: Share of 20 ms frames below `DIGITAL_SILENCE_DB`, all of which are silent too.
    """

    sha256: str
    bytes: int
    sample_rate_hz: int
    channels: int
    codec: str
    duration_s: float
    peak: float
    rms_db: float
    dc_offset: float
    clipped_fraction: float
    silent_fraction: float
    issues: tuple[str, ...]
    noise_db: float = math.nan
    bandwidth_hz: float = math.nan
    digital_silence_fraction: float = math.nan


def measure(body: bytes, name: str) -> Facts:
    """Decode, hash and measure a file.

    Args:
        body: The whole file.
        name: What to call it in errors.

    Raises:
        BadInput: The file cannot be used: see `read_audio`.
    """
    audio = read_audio(body, name)
    unit = 32768.0 if audio.frames.dtype == np.int16 else 1.0
    highest, lowest = float(audio.frames.max()), float(audio.frames.min())
    peak = min(1.0, max(highest, -lowest) / unit)
    level = _level(audio, unit)
    clipped = 0.0
    if peak >= CLIPPED:
        clipped = float(((audio.frames >= CLIPPED * unit) | (audio.frames <= -CLIPPED * unit)).mean())
    rms_db = 10 * math.log10(level.power + 1e-12)
    return Facts(
        sha256=hashlib.sha256(body).hexdigest(),
        bytes=len(body),
        sample_rate_hz=audio.sample_rate_hz,
        channels=audio.channels,
        codec=audio.codec,
        duration_s=audio.duration_s,
        peak=peak,
        rms_db=rms_db,
        dc_offset=level.mean,
        clipped_fraction=clipped,
        silent_fraction=level.silent,
        issues=audio.issues + _issues(audio, highest == lowest, rms_db, level.mean, clipped),
        noise_db=level.noise_db,
        bandwidth_hz=level.bandwidth_hz,
        digital_silence_fraction=level.digital_silence,
    )


def measure_samples(samples: npt.NDArray[np.int16], sample_rate_hz: int) -> dict[str, float]:
    """What `Facts` says of level, silence, noise and band, of samples [n] that are decoded already; by its names."""
    audio = Audio(samples[:, None], sample_rate_hz, "samples")
    level = _level(audio, 32768.0)
    return {
        "rms_db": 10 * math.log10(level.power + 1e-12),
        "clipped_fraction": float((np.abs(samples.astype(np.int32)) >= CLIPPED * 32768).mean()),
        "silent_fraction": level.silent,
        "noise_db": level.noise_db,
        "bandwidth_hz": level.bandwidth_hz,
        "digital_silence_fraction": level.digital_silence,
    }


@dataclass(frozen=True)
class _Level:
    """Mean power and mean with full scale 1.0, shares of frames in [0, 1], and what `Facts` says of the rest."""

    power: float
    mean: float
    silent: float
    digital_silence: float
    noise_db: float
    bandwidth_hz: float


def _level(audio: Audio, unit: float) -> _Level:
    """How loud the clip and its 20 ms frames are; `unit` is full scale.

    In float64, sums of int16 squares are whole numbers below 2**53: exact, so the same on every machine.
    """
    frames: npt.NDArray[Any] = audio.frames[:, 0] if audio.channels == 1 else audio.frames.mean(axis=1)
    mono = frames.astype(np.float64)
    if unit == 1.0:
        np.clip(mono, -1.0, 1.0, out=mono)
    length = max(1, audio.sample_rate_hz // 50)
    whole = mono[: len(mono) // length * length].reshape(-1, length)
    rest = mono[whole.size :]
    energy: npt.NDArray[np.float64] = np.vecdot(whole, whole)
    power = (float(energy.sum()) + float(np.vecdot(rest, rest))) / (len(mono) * unit**2)
    mean = float(mono.sum()) / (len(mono) * unit)
    full = length * unit**2  # the energy of a frame at full scale
    rising = np.sort(energy)
    silent = int(rising.searchsorted(10 ** (SILENT_DB / 10) * full)) / max(1, len(rising))
    if abs(mean) > 10 ** (SILENT_DB / 20):  # an offset that is louder than silence would pass for noise
        whole = whole - mean * unit
        energy = np.vecdot(whole, whole)
        rising = np.sort(energy)
    digital = int(rising.searchsorted(10 ** (DIGITAL_SILENCE_DB / 10) * full))
    share = digital / max(1, len(rising))
    if digital == len(rising):
        return _Level(power, mean, silent, share, math.nan, math.nan)
    noise_db = 10 * math.log10(rising[digital + int(NOISE_SHARE * (len(rising) - digital))] / full)
    loud = whole.take(energy.argpartition(-min(LOUD_FRAMES, len(energy)))[-LOUD_FRAMES:], axis=0)
    return _Level(power, mean, silent, share, noise_db, _bandwidth_hz(loud, audio.sample_rate_hz, unit))


def _bandwidth_hz(frames: npt.NDArray[np.float64], sample_rate_hz: int, unit: float) -> float:
    """Up to where the mean power spectrum of frames [n, length] lies within `BANDWIDTH_DB` of its maximum.

    What white noise at the level of digital silence has in each bin does not count: at a low level the rounding to 16
    bits lies within those dB.
    """
    length = frames.shape[1]
    window, gain = _window(length)
    windowed = np.multiply(frames, window, dtype=np.float32, casting="same_kind")
    parts = scipy.fft.rfft(windowed).view(np.float32)  # real and imaginary by turns
    squares = np.einsum("ij,ij->j", parts, parts)
    first = math.ceil(LOWEST_HZ * length / sample_rate_hz)
    power = squares[2 * first :: 2] + squares[2 * first + 1 :: 2]
    rounding = 10 ** (DIGITAL_SILENCE_DB / 10) * unit**2 * gain * len(frames)
    carrying = (power > max(10 ** (-BANDWIDTH_DB / 10) * float(power.max()), rounding)).nonzero()[0]
    return float(first + carrying[-1]) * sample_rate_hz / length if len(carrying) else math.nan


@lru_cache(maxsize=16)
def _window(length: int) -> tuple[npt.NDArray[np.float32], float]:
    """Hann's, without which a loud vowel leaks over all of the spectrum, and its energy."""
    window = np.hanning(length)
    return window.astype(np.float32), float(window @ window)


def _issues(audio: Audio, constant: bool, rms_db: float, mean: float, clipped: float) -> tuple[str, ...]:
    found = []
    if audio.channels > 1:
        found.append(f"{audio.channels} channels, averaged to mono")
    if audio.sample_rate_hz < WIDE_HZ:
        found.append(f"{audio.sample_rate_hz} Hz: nothing above {audio.sample_rate_hz / 2000:g} kHz")
    if constant:
        found.append("no sound")
    elif rms_db < NEARLY_SILENT_DB:
        found.append("nearly silent")
    if clipped > MUCH_CLIPPED:
        found.append(f"clipped: {100 * clipped:.0f} % of its samples are at full scale")
    if abs(mean) > MUCH_OFFSET:
        found.append(f"DC offset of {100 * mean:.0f} % of full scale")
    return tuple(found)
