"""`pack`: every sample of a corpus, from the memory-mapped file against librosa over the files; size of the shards."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.audio.shards import unpack
from tests.benchmarks.common import (
    alternate,
    bytes_of,
    finish,
    read_every_byte,
    seconds_of,
    shards_of,
    speech_of_crema_d_lengths,
)
from tests.benchmarks.naive_read import clips_of

ROUNDS = 3
BARS = {"naive": 8, "size": 0.65}


def packed_clips(folder: Path) -> Iterator[npt.NDArray[np.float32]]:
    """Every clip of a packed corpus, in order."""
    audio = PackedAudio.open(folder)
    return (audio.waveform(i) for i in range(len(audio)))


def read_all(clips: Iterator[npt.NDArray[np.float32]]) -> int:
    """Take every clip, as a training's first epoch does; how many samples there were."""
    return sum(len(samples) for samples in clips)


def main() -> int:
    """Measure and print."""
    folder = speech_of_crema_d_lengths()
    with tempfile.TemporaryDirectory() as made:
        shards, target = Path(made, "shards"), Path(made, "unpacked")
        shards.mkdir()
        pack_s = seconds_of(lambda: shards_of(folder, shards))
        unpack_s = seconds_of(lambda: unpack(shards, target))
        read_every_byte(folder)
        for ours, theirs in zip(packed_clips(target), clips_of(folder), strict=True):
            assert np.array_equal(ours, theirs)
        sides = {"naive": lambda: read_all(clips_of(folder)), "packed": lambda: read_all(packed_clips(target))}
        seconds = alternate(sides, ROUNDS)
        share = bytes_of(shards) / bytes_of(folder)
    figures = {
        "naive_s": seconds["naive"],
        "packed_s": seconds["packed"],
        "pack_s": pack_s,
        "unpack_s": unpack_s,
        "shards_share_of_wav_bytes": share,
    }
    return finish("pack", figures, {"naive": seconds["naive"] / seconds["packed"], "size": share}, BARS)


if __name__ == "__main__":
    sys.exit(main())
