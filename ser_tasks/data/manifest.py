"""The manifest: one row an utterance, Parquet, the same columns for every corpus."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks.audio.decode import LONGEST_S, THREADS
from ser_tasks.audio.measure import Facts, measure
from ser_tasks.corpora.entry import Entry, Reading
from ser_tasks.corpora.source import Source
from ser_tasks.data.checksums import Checksums
from ser_tasks.errors import BadInput

LARGEST_BYTES = 256 * 2**20
"""Larger files are not read at all: this is five minutes of six channels at 48 kHz and 24 bits."""

ENTRY_COLUMNS = pa.schema(
    [
        ("utterance_id", pa.string()), ("corpus", pa.string()), ("speaker_id", pa.string()), ("sex", pa.string()),
        ("age", pa.int16()), ("race", pa.string()), ("ethnicity", pa.string()), ("emotion", pa.string()),
        ("emotion_raw", pa.string()), ("intensity", pa.string()), ("sentence_id", pa.string()),
        ("transcript", pa.string()), ("session", pa.string()), ("dialog", pa.string()), ("valence", pa.float32()),
        ("activation", pa.float32()), ("dominance", pa.float32()), ("votes", pa.string()), ("raters", pa.string()),
        ("path", pa.string()),
    ]
)  # fmt: skip
"""What the corpus says of a clip."""

FACT_COLUMNS = pa.schema(
    [
        ("sha256", pa.string()), ("bytes", pa.int64()), ("sample_rate_hz", pa.int32()), ("channels", pa.int16()),
        ("codec", pa.string()), ("duration_s", pa.float32()), ("peak", pa.float32()), ("rms_db", pa.float32()),
        ("dc_offset", pa.float32()), ("clipped_fraction", pa.float32()), ("silent_fraction", pa.float32()),
        ("noise_db", pa.float32()), ("bandwidth_hz", pa.float32()), ("digital_silence_fraction", pa.float32()),
    ]
)  # fmt: skip
"""What was measured on its file: see `Facts`."""

SCHEMA = pa.schema([*ENTRY_COLUMNS, *FACT_COLUMNS, ("licence", pa.string()), ("known_issue", pa.string())])

_BLOCK = 32  # clips that a thread takes at a time: handing over one by one costs as much as measuring
_NAMED = 3  # duplicates that a clip names; of ten thousand silent clips each would name all the others


@dataclass(frozen=True)
class Scan:
    """A manifest, and the files that are not in it, each a table of path and reason.

    Attributes:
        manifest: One row an utterance, columns as in `SCHEMA`, sorted by utterance_id.
        rejected: Files that cannot be used.
        left_out: Files that are fine and no part of the corpus.
        missing: Files that the checksum list names and that are not there.
    """

    manifest: pd.DataFrame
    rejected: pd.DataFrame
    left_out: pd.DataFrame
    missing: pd.DataFrame


def scan(corpus: str, reading: Reading, source: Source, checksums: Checksums | None = None) -> Scan:
    """Decode, hash, measure and verify every clip that a reader found.

    One bad file never stops a corpus: every audio file of the source is in exactly one of manifest, rejected and
    left_out, and whatever the source could not open is rejected.

    Args:
        corpus: Its name.
        reading: What the corpus's layout says of each clip.
        source: Where the files are.
        checksums: What the files should be; None: nobody knows.
    """
    sizes = {file.path: file.size for file in source.files}
    paths = [entry.path for entry in reading.entries]
    blocks = [paths[i : i + _BLOCK] for i in range(0, len(paths), _BLOCK)]
    with ThreadPoolExecutor(THREADS) as pool:
        measured = pool.map(lambda block: [_measure(source, path, sizes.get(path, 0)) for path in block], blocks)
        results = dict(zip(paths, (result for block in measured for result in block), strict=True))
    missing = []
    if checksums is not None:
        missing = checksums.missing(sizes, [result.sha256 for result in results.values() if isinstance(result, Facts)])
        results = {
            path: _verify(checksums, path, result) if isinstance(result, Facts) else result
            for path, result in results.items()
        }
    facts = {path: result for path, result in results.items() if isinstance(result, Facts)}
    faults = [(path, result) for path, result in results.items() if isinstance(result, str)]
    return Scan(
        manifest=assemble(corpus, reading, facts),
        rejected=_listing({*source.problems, *reading.rejected, *faults}),
        left_out=_listing(reading.left_out),
        missing=_listing((name, "in the checksum list, and not found") for name in missing),
    )


def assemble(corpus: str, reading: Reading, facts: Mapping[str, Facts]) -> pd.DataFrame:
    """The manifest of the entries whose facts are known, by path; no audio is needed.

    Clips with the same bytes name each other in known_issue; those with different labels say so.
    """
    entries = sorted((entry for entry in reading.entries if entry.path in facts), key=lambda e: e.utterance_id)
    known = [facts[entry.path] for entry in entries]
    notes = _duplicates(entries, known)
    columns: dict[str, Sequence[object]] = {
        "corpus": [corpus] * len(entries),
        "licence": [reading.licence] * len(entries),
        "known_issue": [
            _issues(entry.known_issue, *fact.issues, note)
            for entry, fact, note in zip(entries, known, notes, strict=True)
        ],
    }
    for name in SCHEMA.names:
        if name not in columns:
            rows: Sequence[object] = known if name in FACT_COLUMNS.names else entries
            columns[name] = [getattr(row, name) for row in rows]
    frame: pd.DataFrame = pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA).to_pandas()
    return frame


def write_manifest(frame: pd.DataFrame, path: Path) -> None:
    """Write a manifest with exactly the schema's columns and types."""
    pq.write_table(pa.Table.from_pandas(frame, SCHEMA, preserve_index=False), path, compression="zstd")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest; what one of an earlier version did not measure yet is missing in every row.

    Raises:
        BadInput: The file is no manifest.
    """
    try:
        table = pq.read_table(path, schema=SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} is no manifest: {error}; run 'ser split' or the step 'scan' again") from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _measure(source: Source, path: str, size: int) -> Facts | str:
    """The facts of a file, or why it cannot be used."""
    if size > LARGEST_BYTES:
        return f"has {size / 1e6:,.0f} MB, more than an utterance of {LONGEST_S:.0f} s can have: cut it into utterances"
    try:
        return measure(source.read(path), path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}: see to its permission, or copy it again"
    except BadInput as error:
        return str(error).removeprefix(f"{path} ")


def _verify(checksums: Checksums, path: str, facts: Facts) -> Facts | str:
    """The same facts, with a note when the file is not listed; or how it differs from what is listed."""
    try:
        note = checksums.verify(path, facts.sha256, facts.bytes)
    except BadInput as error:
        return str(error).removeprefix(f"{path} ")
    return replace(facts, issues=(*facts.issues, note)) if note else facts


def _duplicates(entries: Sequence[Entry], facts: Sequence[Facts]) -> list[str | None]:
    """For each clip, which others have the same bytes."""
    notes: list[str | None] = [None] * len(entries)
    same: dict[str, list[int]] = defaultdict(list)
    for i, fact in enumerate(facts):
        same[fact.sha256].append(i)
    for members in same.values():
        if len(members) == 1:
            continue
        one_label = len({entries[i].emotion for i in members}) == 1
        kind = "same audio as" if one_label else "same audio, other label, as"
        for i in members:
            others = [entries[j].utterance_id for j in members[: _NAMED + 1] if j != i][:_NAMED]
            more = len(members) - 1 - len(others)
            notes[i] = f"{kind} {', '.join(others)}" + (f" and {more:,} more" if more else "")
    return notes


def _issues(*told: str | None) -> str | None:
    """What is known against a clip, each thing once: the corpus may name what is then measured."""
    kept: list[str] = []
    for issue in told:
        if issue and not any(issue in other for other in kept):
            kept.append(issue)
    return "; ".join(kept) or None


def _listing(pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(sorted(pairs), columns=["path", "reason"])
