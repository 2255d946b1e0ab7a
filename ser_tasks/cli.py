"""`ser`: the study's commands on local folders, without any server. The same builds as the DAGs.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 bad input (the message says the way out),
2 wrong usage.
"""

import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ser_tasks.config import StudyConfig, load_config, parse_config
from ser_tasks.errors import BadInput, SerError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="Speech emotion recognition on local folders: look at a corpus, split it, train, test, predict.",
)  # fmt: skip
out = Console()
err = Console(stderr=True)

SourceDir = Annotated[
    str,
    typer.Option("--source_dir", "--source-dir", help="A corpus: a folder, a .zip or .tar, or s3://bucket/prefix."),
]
Checksums = Annotated[
    Path | None, typer.Option(help="List with the columns file, sha256, bytes: what every file must be.")
]
DataRoot = Annotated[Path, typer.Option("--data_root", "--data-root", help="Folder that `ser split` made.")]
CkptDir = Annotated[Path, typer.Option("--ckpt_dir", "--ckpt-dir", help="Folder that `ser train` made.")]
Reader = Annotated[
    str,
    typer.Option(help="A description in include/corpora, or a path to one (.yaml); auto: told from the files' names."),
]
ConfigName = Annotated[
    str | None, typer.Option("--config", help="A file in include/configs, or a path to one; without it, defaults.")
]
UNUSED_FILES = ("rejected", "left_out", "missing")
"""The lists that a scan leaves beside its manifest."""
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def _described(reader: str, source_dir: str) -> tuple[Path, str, dict[str, Any]]:
    """The corpus to read, its reader and that one's description; `auto` is told from the files' names."""
    from ser_tasks.corpora.readers import detect_reader, load_description
    from ser_tasks.corpora.source import open_source
    from ser_tasks.local import local_corpus

    root = local_corpus(source_dir)
    if not root.exists():
        raise BadInput(f"--source_dir {source_dir} does not exist")
    reader = detect_reader(open_source(root)) if reader == "auto" else reader
    return root, reader, load_description(reader)


@app.command()
def inspect(
    source_dir: SourceDir,
    reader: Reader = "auto",
    checksums: Checksums = None,
    page: Annotated[Path | None, typer.Option(help="Also write a page with pictures there (one .html file).")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a corpus holds: emotions by speaker and sex, durations, levels, problems, what would give labels away.

    Example: `ser inspect --source_dir RAVDESS --page ravdess.html`
    """
    import pandas as pd

    from ser_tasks.corpora.source import open_source
    from ser_tasks.data.inspection import inspect_corpus
    from ser_tasks.data.manifest import read_manifest
    from ser_tasks.local import read_json, scan_folder

    root, _, description = _described(reader, source_dir)
    with err.status(f"reading {source_dir} as {description['name']} ..."):
        scanned = scan_folder(root, description["name"], description, checksums)
        manifest = read_manifest(scanned / "manifest.parquet")
        rejected, left_out, missing = (pd.read_csv(scanned / f"{name}.csv") for name in UNUSED_FILES)
        report = inspect_corpus(manifest, rejected, left_out, missing, read_json(scanned / "summary.json"))
    if page:
        from ser_tasks.report.inspection_page import write_inspection_page

        with err.status(f"drawing {page} ..."):
            write_inspection_page(report, manifest, open_source(root).read, page)
        err.print(f"page with pictures: {page}")
    if as_json:
        typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
        return
    from ser_tasks.report.inspection_text import inspection_tables

    for table in inspection_tables(report):
        out.print(table)


def _study(config: str | None, reader: str, description: Mapping[str, Any], manifest: Any) -> StudyConfig:
    """The named configuration, or one made for a single corpus: its emotions with enough clips, speakers by hash."""
    if config is not None:
        study = load_config(config)
        named = study.corpora[study.emotion.train_corpus].reader
        if named != reader:
            raise BadInput(f"--config {config} trains on a corpus read as {named}, but this one is read as {reader}")
        return study
    name, counts = description["name"], manifest["emotion"].value_counts()
    labels = sorted(emotion for emotion, n in counts.items() if n >= 10 and emotion != "other")
    tree = {
        "name": name,
        "title": description["title"],
        "corpora": {name: {"reader": reader}},
        "emotion": {"train_corpus": name, "labels": labels},
        "split": {"shares": {"train": 0.6, "dev": 0.2, "test": 0.2}},
    }
    return parse_config(tree, f"made for {reader}")


@app.command()
def split(
    source_dir: SourceDir,
    target_dir: Annotated[
        Path, typer.Option("--target_dir", "--target-dir", help="Where to put manifest, audio and split.")
    ],
    reader: Reader = "auto",
    config: ConfigName = None,
    checksums: Checksums = None,
    as_json: AsJson = False,
) -> None:
    """Validate a corpus and split it by speaker into train, dev and test; fails on leakage.

    Example: `ser split --source_dir RAVDESS --target_dir data --config ravdess`
    """
    from ser_tasks.data.manifest import read_manifest
    from ser_tasks.local import read_json, run_build, scan_folder
    from ser_tasks.steps import split_params, validate_params

    root, reader, description = _described(reader, source_dir)
    with err.status(f"reading {source_dir} as {description['name']} ..."):
        scanned = scan_folder(root, description["name"], description, checksums)
    study = _study(config, reader, description, read_manifest(scanned / "manifest.parquet"))
    corpus = study.emotion.train_corpus
    if corpus != description["name"]:  # the manifest names its corpus as the study does
        scanned = scan_folder(root, corpus, description, checksums)
    shutil.copytree(scanned, target_dir / "scan", dirs_exist_ok=True)
    alone = study.model_copy(update={"emotion": study.emotion.model_copy(update={"across": []})})
    with err.status("validating ..."):
        run_build("validate", {"scan": scanned}, validate_params(alone, corpus), target_dir / "validate")
    with err.status("packing ..."):
        run_build("pack", {"raw": root, "scan": scanned}, {}, target_dir / "pack")
    with err.status("splitting ..."):
        inputs = {f"scan/{corpus}": scanned, f"pack/{corpus}": target_dir / "pack"}
        run_build("split", inputs, split_params(alone, description["speakers"]), target_dir / "split")
    (target_dir / "study.json").write_text(json.dumps(study.model_dump(mode="json"), indent=1))
    audit = read_json(target_dir / "split" / "audit.json")["report"]
    if as_json:
        typer.echo(json.dumps(audit, indent=1))
        return
    protocol = read_json(target_dir / "split" / "protocol.json")
    table = Table("role", "speakers", "clips", title=f"{corpus}: {len(study.emotion.labels)} classes, no leak found")
    for role in ("train", "dev", "gate", "test"):
        if speakers := audit["speakers"].get(f"{corpus}/{role}"):
            clips = sum(n for key, n in audit["clips"].items() if key.startswith(f"{corpus}/{role}/"))
            table.add_row(role, str(speakers), str(clips))
    out.print(table)
    for sentence in (protocol["description"], protocol["taint"], *audit["remarks"]):
        if sentence:
            out.print(sentence, markup=False, soft_wrap=True)
    out.print(f"next: ser train --data_root {target_dir} --out_dir model")


def _study_of(data_root: Path) -> StudyConfig:
    path = data_root / "study.json"
    if not path.is_file():
        raise BadInput(
            f"--data_root {data_root} has no study.json: make it with "
            f"'ser split --source_dir ... --target_dir {data_root}'"
        )
    return parse_config(json.loads(path.read_text()), str(path))


@app.command()
def train(
    data_root: DataRoot,
    out_dir: Annotated[Path, typer.Option("--out_dir", "--out-dir", help="Where to put the model.")],
    model: Annotated[str, typer.Option(help="cnn, wav2vec2, baseline, or probe (with --encoder).")] = "cnn",
    encoder: Annotated[
        Path | None,
        typer.Option(help="Folder of pretrained weights (config.json, *.safetensors) for wav2vec2 or probe."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the configuration's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the configuration's.")] = None,
) -> None:
    """Train a model on the train speakers, selected on the dev speakers.

    Example: `ser train --data_root data --out_dir model --model cnn`
    """
    from ser_tasks.config import RANDOM_ENCODER
    from ser_tasks.local import run_build

    study = _study_of(data_root)
    params: dict[str, Any] = {"labels": study.emotion.labels, "seed": study.seed if seed is None else seed, "note": ""}
    if model == "cnn":
        params |= study.cnn.model_dump(mode="json") | {"title": "CNN on log-mel"}
    elif model == "wav2vec2":
        params |= study.wav2vec2.model_dump(mode="json", exclude={"encoder", "revision"})
        title = f"{encoder.name}, fine-tuned" if encoder else "wav2vec2, small, random"
        params |= {"title": title, "note": "" if encoder else RANDOM_ENCODER}
    elif model == "baseline":
        params |= {"title": "log-mel mean and sd + logistic regression"}
    elif model == "probe" and encoder:
        params |= {"title": f"{encoder.name} (frozen) + linear probe"}
    else:
        raise BadInput(f"--model {model}: there are cnn, wav2vec2, baseline, and probe with --encoder FOLDER")
    if epochs and "fit" in params:
        params["fit"] |= {"epochs": epochs}
    if params["note"]:
        err.print(f"no --encoder given: the encoder is {params['note']}")
    with _temporary() as rows:
        run_build("rows", {"split": data_root / "split"}, {"rows": "fit"}, rows / "fit")
        inputs = {"rows": rows / "fit", "audio": data_root / "pack"} | ({"encoder": encoder} if encoder else {})
        run_build(f"train_{model}", inputs, params, out_dir)
    out.print(f"model in {out_dir}; next: ser test --data_root {data_root} --ckpt_dir {out_dir}")


@app.command()
def test(data_root: DataRoot, ckpt_dir: CkptDir, as_json: AsJson = False) -> None:
    """Test a model on the test speakers: UAR, accuracy, macro-F1 with 95 % intervals, recall by class, confusion.

    Example: `ser test --data_root data --ckpt_dir model`
    """
    from ser_tasks.local import run_build

    study = _study_of(data_root)
    corpus, labels = study.emotion.train_corpus, study.emotion.labels
    with _temporary() as folder:
        inputs = {"model": ckpt_dir, "split": data_root / "split", "audio": data_root / "pack"}
        run_build("predict", inputs, {"corpus": corpus}, folder / "predictions")
        params = {
            "model": "local", "corpus": corpus, "relation": "within", "labels": labels,
            "resamples": study.bootstrap_resamples, "seed": study.seed,
        }  # fmt: skip
        run_build("evaluate", {"predictions": folder / "predictions", "model": ckpt_dir}, params, folder / "metrics")
        metrics = json.loads((folder / "metrics" / "metrics.json").read_text())
        confusion = [line.split(",") for line in (folder / "metrics" / "confusion.csv").read_text().splitlines()]
    if as_json:
        counts = {row[0]: dict(zip(labels, map(int, row[1:]), strict=True)) for row in confusion[1:]}
        typer.echo(json.dumps({**metrics, "confusion": counts}, indent=1))
        return
    title = f"{metrics['title']} on {corpus}, test: {metrics['clips']} clips, {metrics['speakers']} speakers"
    table = Table("metric", "value", metrics["interval"], title=title)
    for name in ("uar", "accuracy", "macro_f1"):
        table.add_row(
            name, f"{metrics[name]['value']:.3f}", f"{metrics[name]['low']:.3f} to {metrics[name]['high']:.3f}"
        )
    table.add_row("chance (uar)", f"{metrics['chance_uar']:.3f}", "")
    out.print(table)
    grid = Table("true \\ predicted", *labels, "recall", title="confusion, clips")
    for row in confusion[1:]:
        grid.add_row(*row, f"{metrics['recall'].get(row[0], float('nan')):.2f}")
    out.print(grid)
    if metrics["note"]:
        out.print(metrics["note"])


def _predict_wav(
    wav_path: Annotated[Path, typer.Option("--wav_path", "--wav-path", help="A WAV or FLAC file, any rate.")],
    ckpt_dir: CkptDir,
    as_json: AsJson = False,
) -> None:
    """Label one clip, with a probability for each emotion.

    Example: `ser predict_wav --wav_path clip.wav --ckpt_dir model`
    """
    from ser_tasks.inference.predict import predict_file
    from ser_tasks.models.files import load_model

    if not wav_path.is_file():
        raise BadInput(f"--wav_path {wav_path} is not a file")
    model, spec = load_model(ckpt_dir)
    result = predict_file(model, spec, wav_path)
    if as_json:
        typer.echo(json.dumps({"path": str(wav_path), **result, "model": spec.title, "note": spec.note}))
        return
    table = Table("emotion", "probability", title=f"{wav_path.name}: {result['label']} ({spec.title})")
    for label, probability in sorted(result["probabilities"].items(), key=lambda item: -item[1]):
        table.add_row(label, f"{probability:.3f}")
    out.print(table)
    if spec.note:
        out.print(spec.note)


app.command("predict_wav")(_predict_wav)
app.command("predict-wav", hidden=True)(_predict_wav)


@app.command("config")
def show_config(
    name: Annotated[str, typer.Argument(help="A file in include/configs, or a path to one.")] = "demo",
    show: Annotated[bool, typer.Option("--show", help="Print every value, defaults included.")] = False,
) -> None:
    """Check a configuration; with --show print all of it, defaults included.

    Example: `ser config ravdess --show`
    """
    study = load_config(name)
    if show:
        typer.echo(json.dumps(study.model_dump(mode="json"), indent=1))
    else:
        out.print(f"{name}: {study.title}: every key is known and in range; see all values with --show")


@contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ser-") as folder:
        yield Path(folder)


def main() -> None:
    """Entry point: known errors become one line and exit status 1."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("ser_tasks").setLevel(logging.INFO)
    try:
        app()
    except SerError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(1) from error
