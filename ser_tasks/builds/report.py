"""Step `report`: everything that a study found -> index.html, with figures/ and data/ beside it."""

import base64
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.data.conditions import conditions
from ser_tasks.data.manifest import read_manifest
from ser_tasks.report.figures import file_name
from ser_tasks.report.listening import clips_to_hear
from ser_tasks.report.page import Findings, render_page, results_table


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: those of `figures`, and figures, split, scan/<corpus>, validation/<corpus>, difference/<corpus>;
    transfer/<corpus>, seeds/<corpus> and clips (audio shards of the trait's corpus, where its licence lets a page carry
    some) are optional.

    Params: config, notes.
    """
    for part in ("figures", "data"):
        shutil.copytree(inputs["figures"] / part, out / part, copy_function=shutil.copyfile)
    found = _read(inputs, params)
    results_table(found).to_csv(out / "data" / "results.csv", index=False, float_format="%.6g", lineterminator="\n")
    config = json.dumps(params["config"], indent=1, ensure_ascii=False)
    (out / "data" / "config.json").write_text(config, encoding="utf-8")
    for corpus, folder in about(inputs, "scan").items():
        shutil.copyfile(folder / "rejected.csv", out / "data" / file_name("rejected", f"{corpus}.csv"))
        shutil.copyfile(folder / "left_out.csv", out / "data" / file_name("left-out", f"{corpus}.csv"))
    for corpus, folder in about(inputs, "validation").items():
        shutil.copyfile(folder / "docs" / "index.html", out / "data" / file_name("validation", f"{corpus}.html"))
    shutil.copyfile(inputs["split"] / "left_out.csv", out / "data" / "left-out-of-split.csv")
    (out / "index.html").write_text(render_page(found), encoding="utf-8")


def _read(inputs: Mapping[str, Path], params: Mapping[str, Any]) -> Findings:
    def each(kind: str, name: str) -> list[Any]:
        return [read_json(folder / name) for folder in about(inputs, kind).values()]

    return Findings(
        config=params["config"],
        notes=params["notes"],
        results=each("metrics", "metrics.json"),
        differences=each("difference", "difference.json"),
        trait=read_json(inputs["trait"] / "metrics.json") if "trait" in inputs else None,
        models={
            name: (read_json(folder / "model.json"), _history(folder))
            for name, folder in about(inputs, "model").items()
        },
        scans=each("scan", "summary.json"),
        validations=each("validation", "results.json"),
        audit=read_json(inputs["split"] / "audit.json"),
        protocol=read_json(inputs["split"] / "protocol.json"),
        left_out=pd.read_csv(inputs["split"] / "left_out.csv"),
        figures=[
            figure | {"source": data_uri(inputs["figures"] / figure["png"])}
            for figure in read_json(inputs["figures"] / "index.json")
        ],
        transfers=each("transfer", "metrics.json"),
        seeds=each("seeds", "seeds.json"),
        clips=heard(inputs),
        conditions={
            corpus: asdict(conditions(read_manifest(folder / "manifest.parquet")))
            for corpus, folder in about(inputs, "scan").items()
        },
    )


def heard(inputs: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Clips at the trait's ends; none without a trait, or where no audio was handed over."""
    if "trait" not in inputs or "clips" not in inputs:
        return []
    return clips_to_hear(pd.read_parquet(inputs["trait"] / "scores.parquet"), inputs["clips"])


def about(inputs: Mapping[str, Path], kind: str) -> dict[str, Path]:
    """The inputs of a kind, by what they are about."""
    return {name.removeprefix(f"{kind}/"): path for name, path in inputs.items() if name.startswith(f"{kind}/")}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _history(folder: Path) -> pd.DataFrame | None:
    path = folder / "history.jsonl"
    return pd.read_json(path, lines=True) if path.is_file() else None


def data_uri(png: Path) -> str:
    """The picture itself as an address: a sandboxed viewer of the page loads no files beside it."""
    return "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()
