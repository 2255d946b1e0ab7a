"""The facts of one audio file: what it is, how loud it is, and what a person should know before training on it.

Levels are measured on the samples as they lie in the file, at its own rate: resampling would cost more than all the
rest, and changes none of these figures by what matters.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ser_tasks.audio.decode import Audio, read_audio

CLIPPED = 0.999
"""A sample at or above this share of full scale counts as clipped."""
SILENT_DB = -60.0
"""A 20 ms frame below this level (dB of full scale) counts as silent."""
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
    power, mean, silent = _level(audio)
    clipped = 0.0
    if peak >= CLIPPED:
        clipped = float(((audio.frames >= CLIPPED * unit) | (audio.frames <= -CLIPPED * unit)).mean())
    rms_db = 10 * math.log10(power + 1e-12)
    return Facts(
        sha256=hashlib.sha256(body).hexdigest(),
        bytes=len(body),
        sample_rate_hz=audio.sample_rate_hz,
        channels=audio.channels,
        codec=audio.codec,
        duration_s=audio.duration_s,
        peak=peak,
        rms_db=rms_db,
        dc_offset=mean,
        clipped_fraction=clipped,
        silent_fraction=silent,
        issues=audio.issues + _issues(audio, highest == lowest, rms_db, mean, clipped),
    )


def _level(audio: Audio) -> tuple[float, float, float]:
    """Mean power, mean and share of silent 20 ms frames, with full scale 1.0.

    In float64, sums of int16 squares are whole numbers below 2**53: exact, so the same on every machine.
    """
    unit = 32768.0 if audio.frames.dtype == np.int16 else 1.0
    frames: npt.NDArray[Any] = audio.frames[:, 0] if audio.channels == 1 else audio.frames.mean(axis=1)
    mono = frames.astype(np.float64)
    if unit == 1.0:
        mono = np.clip(mono, -1.0, 1.0)
    length = max(1, audio.sample_rate_hz // 50)
    whole = mono[: len(mono) // length * length].reshape(-1, length)
    rest = mono[whole.size :]
    energy = np.einsum("ij,ij->i", whole, whole)
    power = (float(energy.sum()) + float(np.einsum("i,i", rest, rest))) / (len(mono) * unit**2)
    silent = np.count_nonzero(energy < 10 ** (SILENT_DB / 10) * length * unit**2) / max(1, len(energy))
    return power, float(mono.sum()) / (len(mono) * unit), silent


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
