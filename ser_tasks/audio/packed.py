"""All clips of a corpus end to end in one file, read through a memory map.

A packed folder holds `samples.i16` (int16, little endian, 16 kHz mono, clip after clip) and `index.json` (which clip
lies where). The index is written last: a folder without one is not a packed corpus.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_tasks.errors import BadInput

SAMPLE_RATE_HZ = 16_000
FULL_SCALE = 32_768  # int16 value that stands for 1.0
_SAMPLES = "samples.i16"
_INDEX = "index.json"


@dataclass(frozen=True)
class PackedAudio:
    """A packed corpus, opened for reading. Clips are counted from 0 in the order in which they were written."""

    folder: Path
    utterance_ids: list[str]
    offsets: NDArray[np.int64] = field(repr=False)
    samples: NDArray[np.int16] = field(repr=False)
    positions: dict[str, int] = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> "PackedAudio":
        """Open a packed folder.

        Raises:
            BadInput: The folder is not a packed corpus, or its samples are not those of its index.
        """
        index_path = folder / _INDEX
        if not index_path.is_file():
            raise BadInput(f"{folder}: no {_INDEX}: not a packed corpus, or packing was cut off: pack it again")
        index = json.loads(index_path.read_text(encoding="utf-8"))
        if index["sample_rate_hz"] != SAMPLE_RATE_HZ:
            raise BadInput(f"{index_path}: {index['sample_rate_hz']} Hz, expected {SAMPLE_RATE_HZ}: pack it again")
        ids, offsets = list(index["utterance_ids"]), np.asarray(index["offsets"], dtype=np.int64)
        samples_path = folder / _SAMPLES
        found = samples_path.stat().st_size if samples_path.is_file() else 0
        if len(offsets) != len(ids) + 1 or found != 2 * int(offsets[-1]):
            raise BadInput(f"{samples_path}: {found} bytes do not fit {index_path}: pack the corpus again")
        samples: NDArray[np.int16] = (
            np.asarray(np.memmap(samples_path, dtype="<i2", mode="r")) if found else np.zeros(0, dtype=np.int16)
        )  # a plain array is sliced several times as fast as a memmap
        return cls(folder, ids, offsets, samples, {utterance_id: i for i, utterance_id in enumerate(ids)})

    def __len__(self) -> int:
        return len(self.utterance_ids)

    def length(self, i: int) -> int:
        """Length of clip `i` in samples."""
        return int(self.offsets[i + 1] - self.offsets[i])

    def waveform(self, i: int) -> NDArray[np.float32]:
        """Samples of clip `i`, float32 in [-1, 1]."""
        waveform = self.samples[self.offsets[i] : self.offsets[i + 1]].astype(np.float32)
        waveform *= np.float32(1 / FULL_SCALE)  # a power of two: as exact as dividing, in half the time
        return waveform

    def index_of(self, utterance_id: str) -> int:
        """Number of the clip with this id.

        Raises:
            BadInput: The corpus holds no such utterance.
        """
        try:
            return self.positions[utterance_id]
        except KeyError:
            raise BadInput(f"{self.folder}: no utterance '{utterance_id}' among its {len(self)}") from None


def write_packed(folder: Path, items: Iterable[tuple[str, NDArray[np.int16]]]) -> None:
    """Write clips one after the other; only one of them is in memory at a time.

    Args:
        folder: Made if it is missing. A packed corpus in it is replaced.
        items: Utterance id and samples [n], int16, 16 kHz mono.

    Raises:
        BadInput: An id comes twice, or a clip has no samples or is not int16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _INDEX).unlink(missing_ok=True)
    offsets: dict[str, int] = {}  # where each clip begins
    end = 0
    with (folder / _SAMPLES).open("wb") as out:
        for utterance_id, samples in items:
            if utterance_id in offsets:
                raise BadInput(f"{folder}: utterance '{utterance_id}' comes twice: ids must be unique")
            if samples.dtype != np.int16 or samples.ndim != 1 or samples.size == 0:
                raise BadInput(
                    f"{folder}: utterance '{utterance_id}' is {samples.dtype} {samples.shape}, expected int16 [n > 0]"
                )
            offsets[utterance_id] = end
            out.write(samples.astype("<i2", copy=False).tobytes())
            end += samples.size
    index = {
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "utterance_ids": list(offsets),
        "offsets": [*offsets.values(), end],
    }
    partial = folder / f"{_INDEX}.partial"
    partial.write_text(json.dumps(index), encoding="utf-8")
    partial.rename(folder / _INDEX)
