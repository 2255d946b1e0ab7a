"""Audio as 16 kHz mono FLAC bytes in Parquet, one shard a speaker, apart from any label.

The columns follow the `audio: {bytes, path}` convention that the ecosystem's dataset tools read. An annotation changes
no audio, and a new speaker adds one shard.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from ser_tasks.audio.decode import SAMPLE_RATE_HZ, THREADS, decode, to_int16
from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.errors import BadInput

SCHEMA = pa.schema(
    [("utterance_id", pa.string()), ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
)


@dataclass(frozen=True)
class Clip:
    """One clip to be put into a shard."""

    utterance_id: str
    speaker_id: str
    path: str


def write_shards(clips: Iterable[Clip], root: Path, out: Path) -> None:
    """Write `out/<speaker_id>.parquet` for every speaker.

    Args:
        clips: What to pack; `path` is relative to `root`.
        root: The corpus folder.
        out: Where the shards go; must exist.
    """
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker_id, []).append(clip)
    with ThreadPoolExecutor(THREADS) as pool:
        for speaker, members in sorted(by_speaker.items()):
            members.sort(key=lambda clip: clip.utterance_id)
            flacs = list(pool.map(lambda clip: _flac(root / clip.path), members))
            table = pa.table(
                {
                    "utterance_id": [clip.utterance_id for clip in members],
                    "audio": [
                        {"bytes": flac, "path": f"{clip.utterance_id}.flac"}
                        for clip, flac in zip(members, flacs, strict=True)
                    ],
                },
                schema=SCHEMA,
            )
            pq.write_table(table, out / f"{speaker}.parquet", compression="none")  # FLAC does not shrink further


def _flac(path: Path) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, to_int16(decode(path).samples), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def read_shards(folder: Path, speakers: Sequence[str] | None = None) -> Iterator[tuple[str, npt.NDArray[np.int16]]]:
    """Yield (utterance_id, int16 samples [n]) in order of speaker and utterance.

    Args:
        folder: Of shards.
        speakers: Only these; None for all.

    Raises:
        BadInput: A named speaker has no shard.
    """
    paths = (
        sorted(folder.glob("*.parquet")) if speakers is None else [folder / f"{s}.parquet" for s in sorted(speakers)]
    )
    with ThreadPoolExecutor(THREADS) as pool:
        for path in paths:
            if not path.is_file():
                raise BadInput(f"{folder} has no shard of speaker {path.stem}: run the step 'pack' again")
            table = pq.read_table(path)
            bodies = [row["bytes"] for row in table.column("audio").to_pylist()]
            clips = pool.map(lambda body: soundfile.read(io.BytesIO(body), dtype="int16")[0], bodies)
            yield from zip(table.column("utterance_id").to_pylist(), clips, strict=True)


def unpack(folder: Path, target: Path, speakers: Sequence[str] | None = None) -> PackedAudio:
    """Decode shards once into a memory-mapped file that training reads. See `read_shards`."""
    write_packed(target, read_shards(folder, speakers))
    return PackedAudio.open(target)
