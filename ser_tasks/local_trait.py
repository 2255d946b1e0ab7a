"""A trait on local folders: the steps of the DAG `ser_rudeness`, in a cache that is looked into first."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ser_tasks.errors import BadInput
from ser_tasks.local import cached_build, described, read_json, run_build, scan_folder

FIT = "fit.json"
"""In a trait's folder: which corpus and encoder it was fitted with."""
DRAWN = {"permutations": 300, "resamples": 2000, "seed": 0}


@dataclass(frozen=True)
class Labels:
    """The two groups of a corpus: a file of ratings, or emotions that stand in; neither: no labels."""

    ratings: Path | None = None
    high: tuple[str, ...] = ()
    low: tuple[str, ...] = ()
    threshold: float = 3.0
    label_by: str = "mean"

    def params(self) -> dict[str, Any]:
        """As the steps `trait` and `transfer` take them."""
        return {"threshold": self.threshold, "label_by": self.label_by, "high": [*self.high], "low": [*self.low]}


@dataclass(frozen=True)
class Embedded:
    """A corpus on this machine, with its embeddings: folders in the cache."""

    name: str
    reader: str
    root: Path
    scan: Path
    audio: Path
    embeddings: Path
    synthetic: bool
    clips_in_reports: bool


def embed_corpus(source: str, reader: str, encoder: Path) -> Embedded:
    """Scan, pack and embed a corpus.

    Args:
        source: A folder, a .zip or .tar, or s3://bucket/prefix.
        reader: A description, or auto.
        encoder: Folder of a pretrained encoder, or of a trained model (model.json in it).

    Raises:
        BadInput: One of them cannot be used.
    """
    if not encoder.is_dir():
        raise BadInput(f"{encoder} is no folder: give the encoder's (config.json, *.safetensors), or a model's")
    root, reader, description = described(reader, source)
    scan = scan_folder(root, description["name"], description, None)
    audio = cached_build("pack", {"raw": root, "scan": scan}, {}, {"scan": scan.name})
    trained = (encoder / "model.json").is_file()
    files = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(encoder.iterdir())]
    params = {
        "title": "" if trained else f"{encoder.resolve().name} (pretrained)", "part": [0, 1], "precision": "float32"
    }  # fmt: skip
    if trained:
        params["corpus"] = description["name"]
    inputs = {"model" if trained else "encoder": encoder, "audio": audio}
    part = cached_build("embed", inputs, params, {"audio": audio.name, "encoder": files})
    embeddings = cached_build("embeddings", {"part/0": part}, {}, {"part": part.name})
    summary = read_json(scan / "summary.json")
    return Embedded(
        description["name"], reader, root, scan, audio, embeddings, summary["synthetic"],
        summary["synthetic"] or description["clips_in_reports"],
    )  # fmt: skip


def fit_trait(
    trait: str, corpus: Embedded, encoder: Path, labels: Labels, folder: Path, drawn: Mapping[str, int]
) -> Any:
    """Fit a direction and put it to the test; what was found lies in `folder` afterwards.

    Returns:
        metrics.json of the step `trait`.
    """
    prosody = cached_build("prosody", {"audio": corpus.audio}, {}, {"audio": corpus.audio.name})
    inputs = {"embeddings": corpus.embeddings, "manifest": corpus.scan, "prosody": prosody}
    if labels.ratings:
        inputs["ratings"] = _ratings(trait, labels.ratings)
    params = {**labels.params(), "name": trait, "corpus": corpus.name, **drawn}
    run_build("trait", inputs, params, folder)
    fit = {
        "corpus": str(corpus.root.resolve()), "reader": corpus.reader, "encoder": str(encoder.resolve()),
        "labels": asdict(labels) | {"ratings": str(labels.ratings) if labels.ratings else None}, **drawn,
    }  # fmt: skip
    (folder / FIT).write_text(json.dumps(fit, indent=1, ensure_ascii=False), encoding="utf-8")
    return read_json(folder / "metrics.json")


def fitted_with(folder: Path) -> dict[str, Any]:
    """What fit.json says. Raises BadInput when the folder holds no fitted trait."""
    if not (folder / FIT).is_file():
        raise BadInput(f"{folder} has no {FIT}: fit the trait first with 'ser trait fit --trait {folder.name} ...'")
    found: dict[str, Any] = read_json(folder / FIT)
    return found


def transfer_trait(
    trait: str, corpus: Embedded, labels: Labels, folder: Path, target: Path, drawn: Mapping[str, int]
) -> Any:
    """Score another corpus; scores.parquet and metrics.json lie in `target` afterwards. Returns the metrics."""
    inputs = {"trait": folder, "embeddings": corpus.embeddings, "manifest": corpus.scan}
    if labels.ratings:
        inputs["ratings"] = _ratings(trait, labels.ratings)
    run_build("transfer", inputs, {**labels.params(), "corpus": corpus.name, **drawn}, target)
    return read_json(target / "metrics.json")


def report_trait(trait: str, corpus: Embedded, folder: Path, target: Path, seed: int) -> None:
    """Draw every picture and write the page, with what other corpora gave."""
    synthetic = [corpus.name] if corpus.synthetic else []
    about = {"manifest": corpus.scan, "embeddings": corpus.embeddings, "trait": folder}
    with tempfile.TemporaryDirectory(prefix="ser-") as temporary:
        figures = Path(temporary) / "figures"
        run_build("figures", about, {"seed": seed, "trait": trait, "synthetic": synthetic}, figures)
        inputs = {"figures": figures, "trait": folder, "scan": corpus.scan}
        inputs |= {f"transfer/{path.name}": path for path in sorted((folder / "on").glob("*"))}
        if corpus.clips_in_reports:
            inputs["clips"] = corpus.audio
        run_build("trait_report", inputs, {"synthetic": synthetic}, target)


def _ratings(trait: str, file: Path) -> Path:
    """The ratings of a trait in a file."""
    if not file.is_file():
        raise BadInput(f"--ratings {file} is not a file")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return cached_build("ratings", {"raw": file.parent}, {"trait": trait, "file": file.name}, {"file": digest})
