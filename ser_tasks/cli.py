"""`ser`: the study's commands on local folders, without any server. The same builds as the DAGs.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 bad input (the message says the way out),
2 wrong usage.
"""

import json
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ser_tasks import cli_annotate, cli_models, cli_registry, cli_store, cli_trait
from ser_tasks.cli_options import AsJson, Checksums, ConfigName, Reader, SourceDir, err, out
from ser_tasks.config import StudyConfig, load_config, parse_config
from ser_tasks.errors import BadInput, SerError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="Speech emotion recognition on local folders: look at a corpus, split it, train, test, predict.",
)  # fmt: skip
UNUSED_FILES = ("rejected", "left_out", "missing")
"""The lists that a scan leaves beside its manifest."""


@app.command()
def inspect(
    source_dir: SourceDir,
    reader: Reader = "auto",
    checksums: Checksums = None,
    page: Annotated[Path | None, typer.Option(help="Also write a page with pictures there (one .html file).")] = None,
    beside: Annotated[
        Path | None,
        typer.Option(help="A training corpus to compare recordings with: a folder that `ser split` made, or a corpus."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a corpus holds: emotions by speaker and sex, durations, levels, problems, what would give labels away.

    With --beside also how it was recorded beside a training corpus, and what to expect of a model from there.

    Example: `ser inspect --source_dir RAVDESS --page ravdess.html`
    """
    import pandas as pd

    from ser_tasks.corpora.source import open_source
    from ser_tasks.data.conditions import side_by_side
    from ser_tasks.data.inspection import inspect_corpus
    from ser_tasks.data.manifest import read_manifest
    from ser_tasks.local import described, read_json, scan_folder

    root, _, description = described(reader, source_dir)
    with err.status(f"reading {source_dir} as {description['name']} ..."):
        scanned = scan_folder(root, description["name"], description, checksums)
        manifest = read_manifest(scanned / "manifest.parquet")
        rejected, left_out, missing = (pd.read_csv(scanned / f"{name}.csv") for name in UNUSED_FILES)
        report = inspect_corpus(manifest, rejected, left_out, missing, read_json(scanned / "summary.json"))
    if beside:
        name, trained = _trained_on(beside)
        report["beside"] = {"corpus": name, **side_by_side(trained, manifest)}
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


def _trained_on(folder: Path) -> tuple[str, Any]:
    """Name and manifest of a training corpus: what `ser split` made of it, or the corpus itself."""
    from ser_tasks.data.manifest import read_manifest
    from ser_tasks.local import described, read_json, scan_folder

    scanned = folder / "scan"
    if not (scanned / "manifest.parquet").is_file():
        if not folder.exists():
            raise BadInput(f"--beside {folder} does not exist: give a folder that 'ser split' made, or a corpus")
        root, _, description = described("auto", str(folder))
        with err.status(f"reading {folder} as {description['name']} ..."):
            scanned = scan_folder(root, description["name"], description, None)
    return read_json(scanned / "summary.json")["corpus"], read_manifest(scanned / "manifest.parquet")


def _study(
    config: str | None, reader: str, description: Mapping[str, Any], manifest: Any, label_map: Mapping[str, str]
) -> StudyConfig:
    """The named configuration, or one made for a single corpus: its emotions with enough clips, speakers by hash."""
    if config is not None:
        if label_map:
            raise BadInput(
                f"--map: --config {config} has the map of its training corpus in emotion.label_map: set it there"
            )
        study = load_config(config)
        named = study.corpora[study.emotion.train_corpus].reader
        if named != reader:
            raise BadInput(f"--config {config} trains on a corpus read as {named}, but this one is read as {reader}")
        return study
    name, emotions = description["name"], manifest["emotion"]
    counts = emotions.map(dict(label_map)).fillna(emotions).value_counts()
    labels = sorted(emotion for emotion, n in counts.items() if n >= 10 and emotion != "other")
    tree = {
        "name": name,
        "title": description["title"],
        "corpora": {name: {"reader": reader}},
        "emotion": {"train_corpus": name, "labels": labels, "label_map": dict(label_map)},
        "split": {"shares": {"train": 0.6, "dev": 0.2, "test": 0.2}},
    }
    return parse_config(tree, f"made for {reader}")


def _tested_across(study: StudyConfig, config: str | None, given: Sequence[str]) -> tuple[StudyConfig, dict[str, str]]:
    """The study with the corpora that it is to be tested on across, and the folder of each.

    Args:
        study: From `_study`.
        config: Its name; None when it was made for the corpus: what is named then is a reader.
        given: NAME=FOLDER of each, or `none` alone.

    Raises:
        BadInput: One is named that the configuration does not test, or one of the configuration's has no folder.
    """
    folders: dict[str, str] = {}
    for each in given if list(given) != ["none"] else []:
        name, equals, folder = each.partition("=")
        if not equals or not name or not folder:
            raise BadInput(f"--across {each}: write NAME=FOLDER, such as ravdess=/data/RAVDESS, or only --across none")
        folders[name] = folder
    known = [test.corpus for test in study.emotion.across]
    if list(given) == ["none"]:
        return study.model_copy(update={"emotion": study.emotion.model_copy(update={"across": []})}), {}
    if config is None:
        tree = study.model_dump(mode="json")
        tree["corpora"] |= {name: {"reader": name} for name in folders if name != study.emotion.train_corpus}
        tree["emotion"]["across"] = [{"corpus": name} for name in folders]
        study, known = parse_config(tree, "made for --across"), list(folders)
    if study.emotion.train_corpus in folders:
        raise BadInput(f"--across {study.emotion.train_corpus}: that is the corpus that is trained on")
    if unknown := [name for name in folders if name not in known]:
        raise BadInput(
            f"--across {unknown[0]}: --config {config} does not test on it: it tests across on "
            f"{', '.join(known) or 'no corpus'} (emotion.across)"
        )
    if absent := [name for name in known if name not in folders]:
        ways = " ".join(f"--across {name}=FOLDER" for name in absent)
        raise BadInput(
            f"--config {config} tests across on {', '.join(absent)}: say where that is with {ways}, or leave it out "
            "with --across none"
        )
    return study, {name: folders[name] for name in known}


@app.command()
def split(
    source_dir: SourceDir,
    target_dir: Annotated[
        Path, typer.Option("--target_dir", "--target-dir", help="Where to put manifest, audio and split.")
    ],
    reader: Reader = "auto",
    config: ConfigName = None,
    checksums: Checksums = None,
    across: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER, once for each other corpus to test on: as the configuration names it, or without one a "
            "reader. `none` leaves out those of the configuration."
        ),
    ] = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option("--map", help="EMOTION=LABEL, without a configuration: what an emotion counts as: excited=happy."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Validate a corpus and split it by speaker into train, dev and test; fails on leakage.

    Example: `ser split --source_dir RAVDESS --target_dir data --config ravdess`
    """
    from ser_tasks.data.manifest import read_manifest
    from ser_tasks.local import described, read_json, run_build, scan_folder
    from ser_tasks.local_testing import ACROSS
    from ser_tasks.steps import split_params, validate_params

    root, reader, description = described(reader, source_dir)
    with err.status(f"reading {source_dir} as {description['name']} ..."):
        scanned = scan_folder(root, description["name"], description, checksums)
    mapped = cli_models.given_label_map(label_map or [])
    study = _study(config, reader, description, read_manifest(scanned / "manifest.parquet"), mapped)
    study, folders = _tested_across(study, config, across or [])
    others = {
        name: described(study.corpora[name].reader, folder, f"--across {name}=") for name, folder in folders.items()
    }
    corpus = study.emotion.train_corpus
    if corpus != description["name"]:  # the manifest names its corpus as the study does
        scanned = scan_folder(root, corpus, description, checksums)
    shutil.copytree(scanned, target_dir / "scan", dirs_exist_ok=True)
    with err.status("validating ..."):
        run_build("validate", {"scan": scanned}, validate_params(study, corpus), target_dir / "validate")
    with err.status("packing ..."):
        run_build("pack", {"raw": root, "scan": scanned}, {}, target_dir / "pack")
    inputs = {f"scan/{corpus}": scanned, f"pack/{corpus}": target_dir / "pack"}
    for name, (other, _, its) in others.items():
        folder = target_dir / ACROSS / name
        with err.status(f"reading, validating and packing {name} ..."):
            shutil.copytree(scan_folder(other, name, its, None), folder / "scan", dirs_exist_ok=True)
            run_build("validate", {"scan": folder / "scan"}, validate_params(study, name), folder / "validate")
            run_build("pack", {"raw": other, "scan": folder / "scan"}, {}, folder / "pack")
        inputs |= {f"scan/{name}": folder / "scan", f"pack/{name}": folder / "pack"}
    with err.status("splitting ..."):
        run_build("split", inputs, split_params(study, description["speakers"]), target_dir / "split")
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
    for name in others:
        clips = sum(n for key, n in audit["clips"].items() if key.startswith(f"{name}/test/"))
        table.add_row(f"test across: {name}", str(audit["speakers"][f"{name}/test"]), str(clips))
    out.print(table)
    for sentence in (protocol["description"], protocol["taint"], *audit["remarks"]):
        if sentence:
            out.print(sentence, markup=False, soft_wrap=True)
    out.print(f"next: ser train --data_root {target_dir} --out_dir model")


app.command()(cli_models.train)
app.command()(cli_models.test)
app.command("predict_wav")(cli_models.predict_wav)
app.command("predict-wav", hidden=True)(cli_models.predict_wav)
app.command()(cli_models.predict)
app.command()(cli_models.export)
app.add_typer(cli_models.encoder_app, name="encoder")
app.add_typer(cli_trait.app, name="trait")
app.add_typer(cli_store.app, name="store")
app.add_typer(cli_registry.registry_app, name="registry")
app.add_typer(cli_annotate.app, name="annotate")


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


def main() -> None:
    """Entry point: known errors become one line and exit status 1."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("ser_tasks").setLevel(logging.INFO)
    try:
        app()
    except SerError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
