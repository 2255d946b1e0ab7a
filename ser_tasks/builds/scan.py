"""Step `scan`: a corpus folder -> manifest.parquet, rejected.csv, left_out.csv, summary.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_tasks.corpora.readers import read_corpus
from ser_tasks.data.manifest import scan, write_manifest


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: raw. Params: corpus, reader."""
    reading = read_corpus(params["reader"], inputs["raw"])
    result = scan(params["corpus"], reading, inputs["raw"])
    write_manifest(result.manifest, out / "manifest.parquet")
    result.rejected.to_csv(out / "rejected.csv", index=False)
    result.left_out.to_csv(out / "left_out.csv", index=False)
    summary = {
        "corpus": params["corpus"],
        "reader": params["reader"],
        "licence": reading.licence,
        "citation": reading.citation,
        "utterances": len(result.manifest),
        "speakers": int(result.manifest["speaker_id"].nunique()),
        "hours": round(float(result.manifest["duration_s"].sum()) / 3600, 3),
        "rejected": len(result.rejected),
        "left_out": len(result.left_out),
        "with_known_issue": int(result.manifest["known_issue"].notna().sum()),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1))
