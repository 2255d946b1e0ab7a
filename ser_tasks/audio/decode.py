"""From the bytes of an audio file to 16 kHz mono samples, and what a person wants to know about its level."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ser_tasks.errors import BadInput

SAMPLE_RATE_HZ = 16_000
"""What every model takes. CREMA-D's own rate; higher rates are resampled down."""

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
THREADS = 2
"""libsndfile, soxr and SHA-256 release the interpreter's lock, so threads use both cores of a small machine."""
CLIPPED = 0.999
"""A sample at or above this share of full scale counts as clipped."""
SILENT_DB = -60.0
"""A 20 ms frame below this level (dB of full scale) counts as silent."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Decoded:
    """A clip as a model takes it, and the facts of its file.

    Attributes:
        samples: float32 [n] in [-1, 1], 16 kHz, mono (channels averaged).
        sample_rate_hz: Of the file.
        channels: Of the file.
        duration_s: Of the file, before resampling.
    """

    samples: Samples
    sample_rate_hz: int
    channels: int
    duration_s: float


@dataclass(frozen=True)
class Level:
    """peak in [0, 1]; rms_db in dB of full scale; shares in [0, 1]."""

    peak: float
    rms_db: float
    clipped_fraction: float
    silent_fraction: float


def decode(source: Path | bytes, name: str = "") -> Decoded:
    """Read a whole clip with libsndfile and bring it to 16 kHz mono (soxr, HQ).

    Args:
        source: A path, or the file's bytes.
        name: What to call it in errors when `source` is bytes.

    Raises:
        BadInput: Not audio that libsndfile reads, no samples, or samples that are not finite.
    """
    name = name or (str(source) if isinstance(source, Path) else "audio")
    body = source.read_bytes() if isinstance(source, Path) else source
    if not body:
        raise BadInput(f"{name} is empty (0 bytes): copy it again")
    if body.startswith(b"version https://git-lfs"):
        raise BadInput(f"{name} is a Git LFS stub ({len(body)} bytes): run 'git lfs pull' where it came from")
    try:
        frames, rate = soundfile.read(io.BytesIO(body), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise BadInput(f"{name} cannot be decoded: {error.error_string.rstrip('.')}") from error
    if not len(frames):
        raise BadInput(f"{name} has a header but no samples: copy it again")
    if not np.isfinite(frames).all():
        raise BadInput(f"{name} has samples that are NaN or infinite: export it again")
    mono = frames.mean(axis=1) if frames.shape[1] > 1 else frames[:, 0]
    samples = mono if rate == SAMPLE_RATE_HZ else soxr.resample(mono, rate, SAMPLE_RATE_HZ, quality="HQ")
    return Decoded(
        samples=np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False),
        sample_rate_hz=rate,
        channels=frames.shape[1],
        duration_s=len(frames) / rate,
    )


def level_of(samples: Samples) -> Level:
    """Level statistics of a 16 kHz clip."""
    frame = SAMPLE_RATE_HZ // 50
    whole = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.mean(np.square(whole if len(whole) else samples[None, :], dtype=np.float64), axis=1)
    magnitude = np.abs(samples)
    return Level(
        peak=float(magnitude.max()),
        rms_db=float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12)),
        clipped_fraction=float((magnitude >= CLIPPED).mean()),
        silent_fraction=float((10 * np.log10(power + 1e-12) < SILENT_DB).mean()),
    )


def to_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """float32 in [-1, 1] to int16, so that what was int16 in the file is the same int16 again."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
