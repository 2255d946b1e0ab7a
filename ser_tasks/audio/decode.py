"""From the bytes of an audio file to its samples, and to the 16 kHz mono samples that every model takes."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ser_tasks.audio.riff import PCM, WavHeader, wav_header, with_length
from ser_tasks.errors import BadInput

SAMPLE_RATE_HZ = 16_000
"""What every model takes. CREMA-D's own rate; higher rates are resampled down."""

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
THREADS = 2
"""libsndfile, soxr, numpy and SHA-256 release the interpreter's lock: threads use both cores of a small machine."""
SHORTEST_S = 0.1
"""Less holds no word, and is fewer samples than some encoders need for one frame."""
LONGEST_S = 300.0
"""What is longer is a recording that nobody has cut into utterances."""
RATES_HZ = (2_000, 768_000)
"""A header that gives a sample rate outside of this is damaged."""

Samples = npt.NDArray[np.float32]

_BLOCK = 1 << 18  # frames read at a time, so that a header which promises too much costs no memory
_MP3_FRAME = 1152  # samples: where an MP3 ends is told to a frame
_NO_LENGTH = 1 << 62  # a FLAC written by a stream says the greatest number that there is


@dataclass(frozen=True)
class Audio:
    """What a file holds, at its own rate.

    Attributes:
        frames: [n, channels]; int16 of a PCM16 WAV, else float32 with full scale 1.0.
        sample_rate_hz: Of the file.
        codec: Container and coding as libsndfile calls them, such as "WAV/PCM_16".
        issues: What a person should know of the header.
    """

    frames: npt.NDArray[Any]
    sample_rate_hz: int
    codec: str
    issues: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """How many the file has."""
        return int(self.frames.shape[1])

    @property
    def duration_s(self) -> float:
        """Before resampling."""
        return len(self.frames) / self.sample_rate_hz


@dataclass(frozen=True)
class Decoded:
    """A clip as a model takes it.

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


def decode(source: Path | bytes, name: str = "") -> Decoded:
    """Read a whole clip and bring it to 16 kHz mono (soxr, HQ).

    Args:
        source: A path, or the file's bytes.
        name: What to call it in errors when `source` is bytes.

    Raises:
        BadInput: See `read_audio`.
    """
    name = name or (str(source) if isinstance(source, Path) else "audio")
    audio = read_audio(source.read_bytes() if isinstance(source, Path) else source, name)
    mono, rate = to_mono(audio.frames), audio.sample_rate_hz
    samples = mono if rate == SAMPLE_RATE_HZ else soxr.resample(mono, rate, SAMPLE_RATE_HZ, quality="HQ")
    return Decoded(np.clip(samples, -1.0, 1.0), rate, audio.channels, audio.duration_s)


def read_audio(body: bytes, name: str) -> Audio:
    """The samples of a file as they lie in it: PCM16 WAV by a quick path of our own, all else by libsndfile.

    The length is judged by the header, before anything is decoded.

    Raises:
        BadInput: Empty, a Git LFS stub, nothing that libsndfile reads, cut off, without samples, shorter than
            `SHORTEST_S`, longer than `LONGEST_S`, or samples that are NaN or infinite.
    """
    if not body:
        raise BadInput(f"{name} is empty (0 bytes): copy it again")
    if body.startswith(b"version https://git-lfs"):
        raise BadInput(f"{name} is a Git LFS stub ({len(body)} bytes): run 'git lfs pull' where it came from")
    header = wav_header(body)
    issues = _check_header(header, name) if header else ()
    if header is None or not _is_plain_pcm16(header):
        return _by_libsndfile(body, name, header, issues)
    count = header.held // header.align
    _check_length(count, header.rate, name)
    samples = np.frombuffer(body, "<i2", count * header.channels, header.begin)
    return Audio(samples.reshape(count, header.channels), header.rate, "WAV/PCM_16", issues)


def to_mono(frames: npt.NDArray[Any]) -> Samples:
    """[n, channels] of int16 or float32 to float32 [n] with full scale 1.0; channels are averaged."""
    mono = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)
    full_scale = 32768.0 if frames.dtype == np.int16 else 1.0
    return mono.astype(np.float32, copy=False) / np.float32(full_scale)


def to_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """float32 in [-1, 1] to int16, so that what was int16 in the file is the same int16 again."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)


def _is_plain_pcm16(header: WavHeader) -> bool:
    return header.tag == PCM and header.bits == 16 and 0 < header.align == 2 * header.channels


def _check_header(header: WavHeader, name: str) -> tuple[str, ...]:
    """Raises BadInput for a file that was cut off; gives what else is to be said of a header that does not fit."""
    if header.streamed:
        return ("header gives no length (written by a stream): length taken from the file",)
    if header.says > header.held:
        raise BadInput(
            f"{name} is cut off: its header promises {header.says:,} bytes of samples, and {header.held:,} are there: "
            "copy it again"
        )
    return (f"{header.stray:,} bytes behind the samples belong to nothing",) if header.stray else ()


def _check_length(count: int, rate: int, name: str) -> None:
    if not count:
        raise BadInput(f"{name} has a header but no samples: copy it again")
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise BadInput(f"{name} has a damaged header: it gives a sample rate of {rate:,} Hz: copy it again")
    if count >= _NO_LENGTH:
        raise BadInput(f"{name} gives no length (written by a stream): write it to a file instead, or export it as WAV")
    if count < SHORTEST_S * rate:
        raise BadInput(
            f"{name} lasts {1000 * count / rate:.0f} ms, less than the {1000 * SHORTEST_S:.0f} ms that an utterance "
            "needs: leave it out"
        )
    if count > LONGEST_S * rate:
        raise BadInput(
            f"{name} lasts {count / rate:,.0f} s, more than the {LONGEST_S:.0f} s that an utterance may: cut it into "
            "utterances"
        )


def _by_libsndfile(body: bytes, name: str, header: WavHeader | None, issues: tuple[str, ...]) -> Audio:
    if header is not None and header.streamed:
        body = with_length(body, header)
    try:
        with soundfile.SoundFile(io.BytesIO(body)) as file:
            rate, promised, container = file.samplerate, file.frames, file.format
            _check_length(promised, rate, name)
            frames = np.concatenate(list(_blocks(file)))
            codec = f"{container}/{file.subtype}"
    except (soundfile.SoundFileError, ValueError, RuntimeError) as error:
        raise BadInput(f"{name} {_why_not(body, header, error)}") from error
    _check_length(len(frames), rate, name)
    if container == "OGG" and not _ogg_ends(body):
        raise BadInput(f"{name} is cut off: {len(frames) / rate:.2f} s are there, and no last page: copy it again")
    if len(frames) < promised - _MP3_FRAME * (container == "MP3"):
        raise BadInput(
            f"{name} is cut off: its header promises {promised:,} samples, and {len(frames):,} are there: copy it again"
        )
    if not np.isfinite(frames).all():
        raise BadInput(f"{name} has samples that are NaN or infinite: export it again")
    return Audio(frames, rate, codec, issues)


def _blocks(file: soundfile.SoundFile) -> Iterator[npt.NDArray[np.float32]]:
    while True:
        block = file.read(_BLOCK, dtype="float32", always_2d=True)
        yield block
        if len(block) < _BLOCK:
            return


def _ogg_ends(body: bytes) -> bool:
    """Whether the last page of an Ogg stream is whole and says that it is the last (RFC 3533, section 6)."""
    at = body.rfind(b"OggS")
    if at + 27 > len(body) or not body[at + 5] & 4:
        return False
    lengths = body[at + 27 : at + 27 + body[at + 26]]
    return at + 27 + len(lengths) + sum(lengths) <= len(body)


def _why_not(body: bytes, header: WavHeader | None, error: Exception) -> str:
    """Why libsndfile refuses a file, and what a person can do."""
    if header is not None:
        return (
            f"cannot be decoded: a WAV with codec tag 0x{header.tag:04X}, {header.bits} bits, {header.channels} "
            "channels: export it as PCM or FLAC"
        )
    if body.startswith(b"fLaC"):
        return "is cut off or damaged: its FLAC stream cannot be followed to the end: copy it again"
    head = body[:40]
    if not head.startswith(b"RIFF") and all(32 <= letter < 127 or letter in b"\t\r\n" for letter in head):
        return f"cannot be decoded: it is a text, beginning {head[:20].decode()!r}: copy the audio itself"
    reason = getattr(error, "error_string", str(error)).rstrip(".")
    return f"cannot be decoded: {reason}: copy it again, or export it as WAV or FLAC"
