"""The manifest: one row an utterance, Parquet, the same columns for every corpus."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks.audio.decode import THREADS, decode, level_of
from ser_tasks.corpora.entry import Entry, Reading
from ser_tasks.errors import BadInput

NEARLY_SILENT_DB = -60.8
"""dB of full scale: an RMS of 30 in 32768, under which RAVDESS's nearly silent clips lie."""

SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()), ("corpus", pa.string()), ("speaker_id", pa.string()), ("sex", pa.string()),
        ("age", pa.int16()), ("emotion", pa.string()), ("emotion_raw", pa.string()), ("intensity", pa.string()),
        ("sentence_id", pa.string()), ("transcript", pa.string()), ("session", pa.string()), ("dialog", pa.string()),
        ("valence", pa.float32()), ("activation", pa.float32()), ("dominance", pa.float32()), ("votes", pa.string()),
        ("path", pa.string()), ("sha256", pa.string()), ("bytes", pa.int64()), ("sample_rate_hz", pa.int32()),
        ("channels", pa.int16()), ("duration_s", pa.float32()), ("peak", pa.float32()), ("rms_db", pa.float32()),
        ("clipped_fraction", pa.float32()), ("silent_fraction", pa.float32()), ("licence", pa.string()),
        ("known_issue", pa.string()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Scan:
    """A manifest, and the files that are not in it: `rejected` and `left_out` have the columns path, reason."""

    manifest: pd.DataFrame
    rejected: pd.DataFrame
    left_out: pd.DataFrame


def scan(corpus: str, reading: Reading, root: Path) -> Scan:
    """Decode, hash and measure every clip that a reader found. One bad clip never stops a corpus: it is listed."""

    def one(entry: Entry) -> dict[str, Any] | tuple[str, str]:
        try:
            return _row(corpus, reading.licence, entry, root)
        except (BadInput, OSError) as error:
            return entry.path, str(error).removeprefix(f"{entry.path} ")

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(one, reading.entries))
    rejected = reading.rejected + [result for result in results if isinstance(result, tuple)]
    rows = [result for result in results if isinstance(result, dict)]
    frame = pd.DataFrame(rows, columns=SCHEMA.names).sort_values("utterance_id", ignore_index=True)
    return Scan(_flag_duplicates(frame), _listing(rejected), _listing(reading.left_out))


def _row(corpus: str, licence: str, entry: Entry, root: Path) -> dict[str, Any]:
    body = (root / entry.path).read_bytes()
    clip = decode(body, entry.path)
    level = level_of(clip.samples)
    issues = [entry.known_issue] if entry.known_issue else []
    if level.rms_db < NEARLY_SILENT_DB:
        issues.append("nearly silent")
    if clip.channels > 1:
        issues.append(f"{clip.channels} channels, averaged to mono")
    return {
        **asdict(entry),
        **asdict(level),
        "corpus": corpus,
        "licence": licence,
        "sha256": hashlib.sha256(body).hexdigest(),
        "bytes": len(body),
        "sample_rate_hz": clip.sample_rate_hz,
        "channels": clip.channels,
        "duration_s": clip.duration_s,
        "known_issue": "; ".join(issues) or None,
    }


def _flag_duplicates(frame: pd.DataFrame) -> pd.DataFrame:
    """Clips with the same bytes name each other; those with different labels say so."""
    for _, group in frame.groupby("sha256"):
        if len(group) == 1:
            continue
        kind = "same audio, other label, as" if group["emotion"].nunique() > 1 else "same audio as"
        for index, row in group.iterrows():
            others = ", ".join(sorted(set(group["utterance_id"]) - {row["utterance_id"]}))
            note = f"{kind} {others}"
            frame.loc[index, "known_issue"] = f"{row['known_issue']}; {note}" if pd.notna(row["known_issue"]) else note
    return frame


def _listing(pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(sorted(pairs), columns=["path", "reason"])


def write_manifest(frame: pd.DataFrame, path: Path) -> None:
    """Write a manifest with exactly the schema's columns and types."""
    pq.write_table(pa.Table.from_pandas(frame, SCHEMA, preserve_index=False), path, compression="zstd")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest. Raises BadInput when the file is none."""
    try:
        table = pq.read_table(path, schema=SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} is no manifest: {error}; run 'ser split' or the step 'scan' again") from error
    frame: pd.DataFrame = table.to_pandas()
    return frame
