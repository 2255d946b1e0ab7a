"""The header of a WAV file: what it promises, and what the file really holds."""

import struct
from dataclasses import dataclass

PCM = 1
"""Format tag of uncompressed integers."""
STREAMED_BYTES = 0x7FFFF000
"""A program that writes to a pipe cannot know the length: it leaves 0, this (SoX) or 0xFFFFFFFF (ffmpeg)."""


@dataclass(frozen=True)
class WavHeader:
    """What stands before the samples of a RIFF file.

    Attributes:
        tag: Format tag: 1 integers, 3 floats, 0xFFFE told elsewhere, others are codecs.
        channels: How many.
        rate: Hz.
        align: Bytes of one frame (a sample of each channel).
        bits: Of a sample.
        begin: Where the samples begin.
        says: Bytes of samples that the header promises.
        held: Bytes of samples that are there.
        streamed: The header gives no length.
        stray: Bytes behind the samples that belong to no chunk.
    """

    tag: int
    channels: int
    rate: int
    align: int
    bits: int
    begin: int
    says: int
    held: int
    streamed: bool
    stray: int


def wav_header(body: bytes) -> WavHeader | None:
    """Walk the chunks of a RIFF file up to its samples. None: another format, or a header too broken to follow."""
    if body[:4] != b"RIFF" or body[8:12] != b"WAVE":
        return None
    at, layout = 12, None
    while at + 8 <= len(body):
        kind, size = struct.unpack_from("<4sI", body, at)
        at += 8
        if kind == b"fmt " and size >= 16 and at + 16 <= len(body):
            layout = struct.unpack_from("<HHIxxxxHH", body, at)
        elif kind == b"data" and layout is not None:
            rest = len(body) - at
            streamed = size >= STREAMED_BYTES or (size == 0 and not _chunk_or_end(body, at))
            held = rest if streamed else min(size, rest)
            end = at + held + held % 2
            stray = 0 if _chunk_or_end(body, end) else len(body) - end
            tag, channels, rate, align, bits = layout
            return WavHeader(tag, channels, rate, align, bits, at, size, held, streamed, stray)
        at += size + size % 2
    return None


def with_length(body: bytes, header: WavHeader) -> bytes:
    """The same file with the length of what it holds in its header."""
    return body[: header.begin - 4] + struct.pack("<I", header.held) + body[header.begin :]


def _chunk_or_end(body: bytes, at: int) -> bool:
    """Whether a whole chunk, or the end of the file, is at this place."""
    if at + 8 > len(body):
        return at >= len(body)
    kind, size = struct.unpack_from("<4sI", body, at)
    return all(32 <= letter < 127 for letter in kind) and at + 8 + size <= len(body)
