"""Audio as 16 kHz mono FLAC bytes in Parquet, one shard a speaker, apart from any label.

The columns follow the `audio: {bytes, path}` convention that the ecosystem's dataset tools read. An annotation changes
no audio, and a new speaker adds one shard. Beside the shards lies `fingerprints.parquet`, made of the same samples.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from ser_tasks.audio.decode import SAMPLE_RATE_HZ, THREADS, decode, to_int16
from ser_tasks.audio.fingerprint import Contour, contour, fingerprints
from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.errors import BadInput

FINGERPRINTS = "fingerprints.parquet"
SCHEMA = pa.schema(
    [("utterance_id", pa.string()), ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
)
FINGERPRINT_SCHEMA = pa.schema(
    [("utterance_id", pa.string()), ("fingerprint", pa.binary()), ("trimmed_s", pa.float32())]
)

_BATCH = 256  # clips in memory at a time, and a row group


@dataclass(frozen=True)
class Clip:
    """One clip to be put into a shard; `path` is what its source calls it."""

    utterance_id: str
    speaker_id: str
    path: str


def shard_name(speaker_id: str) -> str:
    """File name of a speaker's shard: whatever the name of the speaker, it is one of a file, and its own."""
    name = f"{quote(speaker_id, safe='')}.parquet"
    return f"%{ord(name[0]):02X}{name[1:]}" if name == FINGERPRINTS else name


def write_shards(clips: Iterable[Clip], read: Callable[[str], bytes], out: Path) -> None:
    """Write a shard for every speaker, and the fingerprints of all clips.

    Args:
        clips: What to pack.
        read: Gives the bytes of a path; called by several threads.
        out: Where the shards go; must exist.

    Raises:
        BadInput: A file is no longer what it was when it was scanned.
    """
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker_id, []).append(clip)
    with (
        ThreadPoolExecutor(THREADS) as pool,
        pq.ParquetWriter(out / FINGERPRINTS, FINGERPRINT_SCHEMA, compression="none") as prints,
    ):
        for speaker, members in sorted(by_speaker.items()):
            members.sort(key=lambda clip: clip.utterance_id)
            with pq.ParquetWriter(out / shard_name(speaker), SCHEMA, compression="none") as shard:  # FLAC is dense
                for i in range(0, len(members), _BATCH):
                    batch = members[i : i + _BATCH]
                    ids = [clip.utterance_id for clip in batch]
                    packed = list(pool.map(lambda clip: _pack(read(clip.path), clip.path), batch))
                    audio = [
                        {"bytes": flac, "path": f"{name}.flac"} for name, (flac, _) in zip(ids, packed, strict=True)
                    ]
                    shard.write_table(pa.table({"utterance_id": ids, "audio": audio}, schema=SCHEMA))
                    prints.write_table(_fingerprints(ids, [shape for _, shape in packed]))


def _pack(body: bytes, name: str) -> tuple[bytes, Contour]:
    samples = to_int16(decode(body, name).samples)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue(), contour(samples.astype(np.float32) / np.float32(32768))


def _fingerprints(ids: Sequence[str], contours: Sequence[Contour]) -> pa.Table:
    lengths = [each.trimmed_s for each in contours]
    columns = {"utterance_id": ids, "fingerprint": fingerprints(contours), "trimmed_s": lengths}
    return pa.table(columns, schema=FINGERPRINT_SCHEMA)


def shard_speakers(folder: Path) -> list[str]:
    """The speakers that have a shard, sorted."""
    return sorted(unquote(path.stem) for path in folder.glob("*.parquet") if path.name != FINGERPRINTS)


def shard_utterances(folder: Path, speaker_id: str) -> list[str]:
    """The clips in a speaker's shard, in its order."""
    names: list[str] = pq.read_table(folder / shard_name(speaker_id), columns=["utterance_id"])[0].to_pylist()
    return names


def flac_of(folder: Path, speaker_id: str, utterance_id: str) -> bytes:
    """One clip as it lies in its speaker's shard. Raises BadInput when it does not."""
    path = folder / shard_name(speaker_id)
    rows = pq.read_table(path, filters=[("utterance_id", "=", utterance_id)]) if path.is_file() else None
    if not rows:
        raise BadInput(f"{folder} has no utterance {utterance_id} of speaker {speaker_id}: run the step 'pack' again")
    body: bytes = rows.column("audio")[0].as_py()["bytes"]
    return body


def read_shards(folder: Path, speakers: Sequence[str] | None = None) -> Iterator[tuple[str, npt.NDArray[np.int16]]]:
    """Yield (utterance_id, int16 samples [n]) in order of speaker and utterance.

    Args:
        folder: Of shards.
        speakers: Only these; None for all.

    Raises:
        BadInput: A named speaker has no shard.
    """
    if speakers is None:
        speakers = shard_speakers(folder)
    with ThreadPoolExecutor(THREADS) as pool:
        for speaker in sorted(speakers):
            path = folder / shard_name(speaker)
            if not path.is_file():
                raise BadInput(f"{folder} has no shard of speaker {speaker}: run the step 'pack' again")
            with pq.ParquetFile(path) as shard:
                for batch in shard.iter_batches(_BATCH):
                    clips = pool.map(_samples, batch.column("audio").field("bytes").to_pylist())
                    yield from zip(batch.column("utterance_id").to_pylist(), clips, strict=True)


def _samples(flac: bytes) -> npt.NDArray[np.int16]:
    samples: npt.NDArray[np.int16] = soundfile.read(io.BytesIO(flac), dtype="int16")[0]
    return samples


def unpack(folder: Path, target: Path, speakers: Sequence[str] | None = None) -> PackedAudio:
    """Decode shards once into a memory-mapped file that training reads. See `read_shards`."""
    write_packed(target, read_shards(folder, speakers))
    return PackedAudio.open(target)
