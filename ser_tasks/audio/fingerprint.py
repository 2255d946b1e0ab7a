"""Fingerprints that find the same recording again after resampling, a change of level, recoding or trimming.

After Haitsma & Kalker (2002, "A highly robust audio fingerprinting system"): how the differences between neighbouring
bands change with time. Two things are other than there. Time is counted in shares of the clip's own energy, so that
what was trimmed from its ends, or put there, does not matter. And bits are signs of random projections (Charikar 2002,
doi 10.1145/509907.509965), so that a quiet cell, which a codec changes freely, weighs little.

On RAVDESS copies (resampled, 6 dB louder or quieter, as MP3 or Ogg, trimmed) differ in 0 to 10 % of the bits, and of
all 1,440 clips the closest two of different recordings (the same words by the same actor again) in 17 %.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.fft

from ser_tasks.audio.decode import SAMPLE_RATE_HZ, Samples

BITS = 512
ENDS = (0.006, 0.012)
"""Shares of a clip's energy before its first and behind its last slot. There is a code for each: where a clip pauses
just when such a share is reached, the place is not sure, and of two at most one is in a pause."""
MOST_DIFFERENT = 0.135
"""Clips of which a code differs in no more than this share of its bits are the same recording."""
LEAST_S = 0.2
"""From first to last sound: less than a syllable is too little to tell one recording from another."""

_WINDOW, _HOP = 1024, 256  # samples: 64 ms, so that where a frame begins hardly matters, every 16 ms
_LOW_HZ, _HIGH_HZ, _BANDS = 200.0, 3800.0, 16  # what 8 kHz audio and lossy codecs keep
_SLOTS = 48  # a clip's length is divided in; 50 ms of an utterance of 2.4 s
_FLOOR = 0.02  # of the mean energy of a cell: quieter cells are alike, whatever noise is in them
_STEP = 2  # slots that are summed, and over which a change is taken
_ROWS = (_SLOTS + 1 - 2 * _STEP) * (_BANDS - 1)  # values of a contour
_MOST_DIFFERENT_IN_A_WORD = 24  # of 64 bits: in codes as different as copies may be 9 are to be expected, sd 3
_NEIGHBOURS = 8  # a clip is compared with so many of those that share a key, closest in length


@dataclass(frozen=True)
class Contour:
    """How a clip's spectrum changes.

    Attributes:
        values: float32 [len(ENDS), 675].
        trimmed_s: Seconds from its first to its last sound; 0 for a clip without any.
    """

    values: npt.NDArray[np.float32]
    trimmed_s: float


def contour(samples: Samples) -> Contour:
    """What fingerprints are made of. Level does not matter.

    Args:
        samples: float32 [n], 16 kHz.
    """
    padded = np.pad(samples, _WINDOW - _HOP)  # a clip that begins at its first sound is like one that does not
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    spectrum = scipy.fft.rfft(frames * _window(), axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    edges = _edges()
    energy = np.zeros((len(power) + 1, _BANDS))
    np.cumsum(np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1), axis=0, out=energy[1:])
    total = energy.sum(axis=1)
    if total[-1] <= 0:
        return Contour(np.zeros((len(ENDS), _ROWS), dtype=np.float32), 0.0)
    shares = np.array([[end, 1 - end] for end in ENDS])
    spans = np.interp(shares * total[-1], total, np.arange(len(total)))
    values = np.stack([_changes(energy, begin, end) for begin, end in spans])
    return Contour(values, float(spans[0, 1] - spans[0, 0]) * _HOP / SAMPLE_RATE_HZ)


def _changes(energy: npt.NDArray[np.float64], begin: float, end: float) -> npt.NDArray[np.float32]:
    """How band differences change between two frames (fractions of them count), from energy summed up to each."""
    at = np.linspace(begin, end, _SLOTS + 1)
    before = np.minimum(at.astype(np.intp), len(energy) - 2)
    share = (at - before)[:, None]
    reached = energy[before] * (1 - share) + energy[before + 1] * share
    cells = reached[_STEP:] - reached[:-_STEP]
    loud = np.log(cells + _FLOOR * cells.mean())
    changes: npt.NDArray[np.float32] = np.diff(loud[_STEP:] - loud[:-_STEP], axis=1).astype(np.float32).ravel()
    return changes


def fingerprints(contours: Sequence[Contour]) -> list[bytes]:
    """For each contour a code of `BITS` bits for each of its `ENDS`: on which side of random planes it lies."""
    if not contours:
        return []
    sides = np.stack([each.values for each in contours]) @ _planes() > 0
    return [row.tobytes() for row in np.packbits(sides, axis=-1)]


def near_identical(frame: pd.DataFrame) -> list[tuple[int, int]]:
    """Find clips that are the same recording.

    Codes that agree in one of 32 groups of bits are compared (locality-sensitive hashing, Indyk & Motwani 1998), each
    with its few neighbours in length. So time grows with the number of clips, and of a large group of copies enough
    pairs are named to connect it. Clips with less sound than `LEAST_S` are too short to tell, and like no other.

    Args:
        frame: Columns fingerprint (bytes) and trimmed_s.

    Returns:
        Pairs of row positions (i, j), i < j, sorted.
    """
    lengths = frame["trimmed_s"].to_numpy(dtype=np.float64)
    rows = np.flatnonzero(lengths >= LEAST_S)
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    if len(rows) < 2:
        return []
    octets = np.frombuffer(b"".join(frame["fingerprint"].to_numpy()[rows]), dtype=np.uint8)
    found = []
    for codes in octets.reshape(len(rows), len(ENDS), -1).swapaxes(0, 1):
        code = np.ascontiguousarray(codes).view(np.uint64)
        found += [_pairs(code, np.ascontiguousarray(code[:, 0]), keys) for keys in _keys(np.asfortranarray(codes))]
    pairs = np.unique(np.sort(rows[np.concatenate(found)], axis=1), axis=0)
    return [(int(i), int(j)) for i, j in pairs]


def _keys(codes: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint64]]:
    """One key a clip for each pair of bytes: as many bits as spread the clips thinly, so that few are compared."""
    wide = min(24, max(12, 2 + int(np.log2(len(codes)))))
    count = codes.shape[1]
    for i in range(0, count, 2):
        first, second, third = (codes[:, (i + k) % count].astype(np.uint32) for k in range(3))
        key = np.right_shift(first * 65536 + second * 256 + third, 24 - wide)
        yield key.astype(np.uint64)


def _pairs(
    codes: npt.NDArray[np.uint64], words: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.intp]:
    """Pairs [n, 2] among clips of the same key; clips are sorted by length.

    `words`, the first 64 bits of each code, tell nearly all pairs apart: few whole codes are fetched from memory.
    """
    ordered = np.sort(keys << np.uint64(32) | np.arange(len(keys), dtype=np.uint64))
    keys, places = ordered >> np.uint64(32), (ordered & np.uint64(0xFFFFFFFF)).astype(np.intp)
    found = []
    for step in range(1, min(_NEIGHBOURS, len(keys) - 1) + 1):
        together = np.flatnonzero(keys[step:] == keys[:-step])
        one, other = places[together], places[together + step]
        alike = np.bitwise_count(words[one] ^ words[other]) <= _MOST_DIFFERENT_IN_A_WORD
        one, other = one[alike], other[alike]
        different = np.bitwise_count(codes[one] ^ codes[other]).sum(axis=1)
        same = different <= MOST_DIFFERENT * BITS
        found.append(np.stack([one[same], other[same]], axis=1))
    return np.concatenate(found)


@cache
def _window() -> npt.NDArray[np.float32]:
    return np.hanning(_WINDOW + 1)[:-1].astype(np.float32)


@cache
def _edges() -> npt.NDArray[np.intp]:
    """Bins of the spectrum at which bands begin, equally wide in mel, and where the last one ends."""
    mel = np.linspace(np.log1p(_LOW_HZ / 700), np.log1p(_HIGH_HZ / 700), _BANDS + 1)
    return np.round(700 * np.expm1(mel) * _WINDOW / SAMPLE_RATE_HZ).astype(np.intp)


@cache
def _planes() -> npt.NDArray[np.float32]:
    """Random signs [675, BITS] out of SHAKE-256: the same with every version of every library, for ever."""
    octets = hashlib.shake_256(b"ser fingerprint 1").digest(_ROWS * BITS // 8)
    signs = np.unpackbits(np.frombuffer(octets, dtype=np.uint8)).reshape(_ROWS, BITS)
    return signs.astype(np.float32) * 2 - 1
