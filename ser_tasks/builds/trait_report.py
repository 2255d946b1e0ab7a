"""Step `trait_report`: what was found of a trait -> index.html about it alone, with figures/ and data/ beside it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.builds.report import about, data_uri, heard, read_json
from ser_tasks.report.page import render_trait_page
from ser_tasks.report.trait_text import evidence_rows, transfer_rows


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: figures, trait, scan; transfer/<corpus>, clips (optional). Params: synthetic (corpora that are)."""
    for part in ("figures", "data"):
        shutil.copytree(inputs["figures"] / part, out / part, copy_function=shutil.copyfile)
    metrics = read_json(inputs["trait"] / "metrics.json")
    transfers = [read_json(folder / "metrics.json") for folder in about(inputs, "transfer").values()]
    rows = [*evidence_rows(metrics), *transfer_rows(transfers)]
    pd.DataFrame(rows).to_csv(out / "data" / "evidence.csv", index=False, lineterminator="\n")
    figures = [
        figure | {"source": data_uri(inputs["figures"] / figure["png"])}
        for figure in read_json(inputs["figures"] / "index.json")
        if figure["section"] in ("Embeddings", metrics["trait"].capitalize())
    ]
    scan = read_json(inputs["scan"] / "summary.json")
    page = render_trait_page(metrics, transfers, heard(inputs), figures, scan, params["synthetic"])
    (out / "index.html").write_text(page, encoding="utf-8")
