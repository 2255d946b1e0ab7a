"""Step `pack`: a corpus and its manifest -> one Parquet shard of FLAC a speaker, and fingerprints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_tasks.audio.shards import Clip, write_shards
from ser_tasks.corpora.source import open_source
from ser_tasks.data.manifest import read_manifest


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: raw, scan."""
    manifest = read_manifest(inputs["scan"] / "manifest.parquet")
    rows = manifest[["utterance_id", "speaker_id", "path"]].itertuples(index=False)
    write_shards((Clip(*row) for row in rows), open_source(inputs["raw"]).read, out)
