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
from importlib import import_module
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
    Path, typer.Option("--source_dir", "--source-dir", help="Folder of a corpus: AudioWAV/, Actor_NN/ or SessionN/.")
]
DataRoot = Annotated[Path, typer.Option("--data_root", "--data-root", help="Folder that `ser split` made.")]
CkptDir = Annotated[Path, typer.Option("--ckpt_dir", "--ckpt-dir", help="Folder that `ser train` made.")]
Reader = Annotated[str, typer.Option("--reader", help="crema_d, ravdess or iemocap; auto: told from the files' names.")]
ConfigName = Annotated[
    str | None, typer.Option("--config", help="A file in include/configs, or a path to one; without it, defaults.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def run_build(name: str, inputs: Mapping[str, Path], params: Mapping[str, Any], target: Path) -> None:
    """Run a step's build into a folder that appears whole or not at all; an older one is replaced."""
    from ser_tasks.steps import STEPS

    module, function = STEPS[name].build.split(":")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with err.status(f"{name} ..."):
            getattr(import_module(module), function)(inputs, params, partial)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _reader(reader: str, source_dir: Path) -> str:
    from ser_tasks.corpora.readers import detect_reader

    if not source_dir.is_dir():
        raise BadInput(f"--source_dir {source_dir} is not a folder")
    return detect_reader(source_dir) if reader == "auto" else reader


@app.command()
def inspect(source_dir: SourceDir, reader: Reader = "auto", as_json: AsJson = False) -> None:
    """Say what a corpus folder holds: clips, speakers, emotions, durations, problems.

    Example: `ser inspect --source_dir RAVDESS`
    """
    from ser_tasks.corpora.readers import read_corpus
    from ser_tasks.data.manifest import scan

    name = _reader(reader, source_dir)
    with err.status(f"reading {source_dir} as {name} ..."):
        reading = read_corpus(name, source_dir)
        result = scan(name, reading, source_dir)
    manifest = result.manifest
    issues = manifest.loc[manifest["known_issue"].notna(), ["utterance_id", "known_issue"]]
    report: dict[str, Any] = {
        "corpus": name,
        "licence": reading.licence,
        "utterances": len(manifest),
        "speakers": int(manifest["speaker_id"].nunique()),
        "hours": round(float(manifest["duration_s"].sum()) / 3600, 3),
        "duration_s": {
            key: round(float(value), 2) for key, value in manifest["duration_s"].agg(["min", "mean", "max"]).items()
        },
        "sample_rates_hz": {str(rate): int(n) for rate, n in manifest["sample_rate_hz"].value_counts().items()},
        "channels": {str(channels): int(n) for channels, n in manifest["channels"].value_counts().items()},
        "sexes": {str(sex): int(n) for sex, n in manifest.groupby("sex")["speaker_id"].nunique().items()},
        "emotions": {str(emotion): int(n) for emotion, n in manifest["emotion"].value_counts().sort_index().items()},
        "rejected": result.rejected.to_dict("records"),
        "left_out": {str(why): int(n) for why, n in result.left_out["reason"].value_counts().items()},
        "issues": [{"utterance_id": row.utterance_id, "issue": row.known_issue} for row in issues.itertuples()],
    }
    if as_json:
        typer.echo(json.dumps(report, indent=1))
        return
    table = Table(title=f"{source_dir} as {name} ({reading.licence})", show_header=False)
    for key in (
        "utterances",
        "speakers",
        "hours",
        "duration_s",
        "sample_rates_hz",
        "channels",
        "sexes",
        "emotions",
        "left_out",
    ):
        value = report[key]
        table.add_row(key, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value))
    table.add_row("rejected", str(len(report["rejected"])))
    table.add_row("with an issue", str(len(report["issues"])))
    out.print(table)
    for item in report["rejected"][:20]:
        out.print(f"rejected {item['path']}: {item['reason']}", markup=False)
    for item in report["issues"][:20]:
        out.print(f"issue {item['utterance_id']}: {item['issue']}", markup=False)
    if max(len(report["rejected"]), len(report["issues"])) > 20:
        out.print("... all of them with --json")


def _study(config: str | None, name: str, reader: str, source_dir: Path) -> StudyConfig:
    """The named configuration, or one made for a single corpus: its emotions with enough clips, speakers by hash."""
    if config is not None:
        study = load_config(config)
        if study.corpora[study.emotion.train_corpus].reader != reader:
            raise BadInput(
                f"--config {config} trains on {study.emotion.train_corpus}, but {source_dir} is laid out as {reader}"
            )
        return study
    from ser_tasks.corpora.readers import read_corpus

    counts: dict[str, int] = {}
    for entry in read_corpus(reader, source_dir).entries:
        counts[entry.emotion] = counts.get(entry.emotion, 0) + 1
    labels = sorted(emotion for emotion, n in counts.items() if n >= 10 and emotion != "other")
    tree = {
        "name": name,
        "title": name,
        "corpora": {name: {"reader": reader}},
        "emotion": {"train_corpus": name, "labels": labels},
        "split": {"shares": {"train": 0.6, "dev": 0.2, "test": 0.2}},
    }
    return parse_config(tree, f"made for {source_dir}")


@app.command()
def split(
    source_dir: SourceDir,
    target_dir: Annotated[
        Path, typer.Option("--target_dir", "--target-dir", help="Where to put manifest, audio and split.")
    ],
    reader: Reader = "auto",
    config: ConfigName = None,
    as_json: AsJson = False,
) -> None:
    """Validate a corpus and split it by speaker into train, dev and test; fails on leakage.

    Example: `ser split --source_dir RAVDESS --target_dir data --config ravdess`
    """
    from ser_tasks.data.suites import load_suite

    kind = _reader(reader, source_dir)
    study = _study(config, kind, kind, source_dir)
    corpus = study.emotion.train_corpus
    scanned, packed, chosen = target_dir / "scan", target_dir / "pack", target_dir / "split"
    run_build("scan", {"raw": source_dir}, {"corpus": corpus, "reader": kind}, scanned)
    suite = {"corpus": corpus, "suite": load_suite("corpus", study.validation), "labels": study.emotion.labels}
    run_build("validate", {"scan": scanned}, suite, target_dir / "validate")
    emotion = study.emotion.model_dump(mode="json") | {"across": [], "split": study.split.model_dump(mode="json")}
    run_build("split", {f"scan/{corpus}": scanned}, emotion, chosen)
    run_build("pack", {"raw": source_dir, "scan": scanned}, {}, packed)
    (target_dir / "study.json").write_text(json.dumps(study.model_dump(mode="json"), indent=1))
    audit = json.loads((chosen / "audit.json").read_text())["report"]
    if as_json:
        typer.echo(json.dumps(audit, indent=1))
        return
    table = Table("role", "speakers", "clips", title=f"{corpus}: {len(study.emotion.labels)} classes, no leak found")
    for role in ("train", "dev", "gate", "test"):
        if speakers := audit["speakers"].get(f"{corpus}/{role}"):
            clips = sum(n for key, n in audit["clips"].items() if key.startswith(f"{corpus}/{role}/"))
            table.add_row(role, str(speakers), str(clips))
    out.print(table)
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
    inputs = {"split": data_root / "split", "audio": data_root / "pack"} | ({"encoder": encoder} if encoder else {})
    run_build(f"train_{model}", inputs, params, out_dir)
    out.print(f"model in {out_dir}; next: ser test --data_root {data_root} --ckpt_dir {out_dir}")


@app.command()
def test(data_root: DataRoot, ckpt_dir: CkptDir, as_json: AsJson = False) -> None:
    """Test a model on the test speakers: UAR, accuracy, macro-F1 with 95 % intervals, recall by class, confusion.

    Example: `ser test --data_root data --ckpt_dir model`
    """
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
