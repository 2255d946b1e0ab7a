"""Step `scan`: a corpus -> manifest.parquet, rejected.csv, left_out.csv, missing.csv, summary.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_tasks.corpora.entry import DEMO_MARKER
from ser_tasks.corpora.readers import read_corpus
from ser_tasks.corpora.source import Source, open_source
from ser_tasks.data.checksums import Checksums, load_checksums, parse_checksums
from ser_tasks.data.manifest import scan, write_manifest


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: raw, and checksums if there is a list apart. Params: corpus, description, checksums (a name in raw)."""
    description = params["description"]
    source = open_source(inputs["raw"])
    reading = read_corpus(description, source)
    result = scan(params["corpus"], reading, source, _checksums(inputs, params, source))
    write_manifest(result.manifest, out / "manifest.parquet")
    result.rejected.to_csv(out / "rejected.csv", index=False)
    result.left_out.to_csv(out / "left_out.csv", index=False)
    result.missing.to_csv(out / "missing.csv", index=False)
    summary = {
        "corpus": params["corpus"],
        "reader": description["name"],
        "title": description["title"],
        "licence": reading.licence,
        "commercial_use": description["commercial_use"],
        "citation": reading.citation,
        "utterances": len(result.manifest),
        "speakers": int(result.manifest["speaker_id"].nunique()),
        "hours": round(float(result.manifest["duration_s"].sum()) / 3600, 3),
        "rejected": len(result.rejected),
        "left_out": len(result.left_out),
        "missing": len(result.missing),
        "with_known_issue": int(result.manifest["known_issue"].notna().sum()),
        "synthetic": source.has(DEMO_MARKER),
        "notes": reading.notes,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1))


def _checksums(inputs: Mapping[str, Path], params: Mapping[str, Any], source: Source) -> Checksums | None:
    if "checksums" in inputs:
        return load_checksums(inputs["checksums"])
    name = params["checksums"]
    return parse_checksums(source.read(name), name) if name else None
