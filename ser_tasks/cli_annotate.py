"""`ser annotate`: tasks for Label Studio out, ratings in, how far the annotators agree. Needs the object store."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ser_tasks.cli_options import AsJson, err, out
from ser_tasks.config import load_config
from ser_tasks.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Label Studio tasks out, ratings in, agreement.")
Config = Annotated[str, typer.Option("--config", help="A file in include/configs, or a path to one.")]
BY = "ser_annotate/cli"
LISTED = 20
"""So many rows are said; --json has all."""


@app.command("export")
def export_tasks(
    target_dir: Annotated[Path, typer.Option("--target_dir", "--target-dir", help="Gets tasks.json and labels.xml.")],
    config: Config = "demo",
    count: Annotated[int, typer.Option(min=1, help="How many clips at most.")] = 100,
    corpus: Annotated[str | None, typer.Option(help="Of this corpus only; else of every corpus of the study.")] = None,
    evaluation: Annotated[
        bool,
        typer.Option("--evaluation", help="Also speakers who select, decide and test; their ratings train nothing."),
    ] = False,
    hours: Annotated[int, typer.Option(min=1, max=168, help="How long the audio addresses hold.")] = 168,
    endpoint: Annotated[
        str | None,
        typer.Option(
            envvar="SER_S3_PUBLIC_ENDPOINT", help="The object store's address as the annotators' browsers reach it."
        ),
    ] = None,
) -> None:
    """Write Label Studio tasks, the clips that would teach most first, and its labelling configuration.

    Example: `ser annotate export --config demo --count 50 --target_dir to_label`
    """
    from ser_tasks.annotations.labelstudio import labelling_configuration, task
    from ser_tasks.dataset import clips_to_rate
    from ser_tasks.store import Store

    study, store = load_config(config), Store.from_env()
    if corpus and corpus not in study.used_corpora:
        raise BadInput(f"--corpus {corpus}: the study has {', '.join(study.used_corpora)}")
    trait = study.trait.name if study.trait else "rudeness"
    with err.status("asking the newest CNN about every clip ..."):
        chosen, inside = clips_to_rate(study, store, BY, trait, count, corpus, evaluation)
    tasks: list[dict[str, Any]] = []
    for row in chosen.to_dict("records"):
        address = store.address(f"raw/{row['corpus']}/{row['path']}", hours * 3600, endpoint)
        about = {name: row[name] for name in ("corpus", "speaker_id", "why", "uncertain", "disagreed", "uncovered")}
        tasks.append(task(str(row["utterance_id"]), address, about))
    target_dir.mkdir(parents=True, exist_ok=True)
    (target_dir / "tasks.json").write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    xml = labelling_configuration(trait, study.emotion.labels)
    (target_dir / "labels.xml").write_text(xml, encoding="utf-8")
    if inside:
        err.print(f"{inside} clip(s) lie inside archives and have no address of their own: upload that corpus unpacked")
    out.print(f"{len(tasks)} tasks in {target_dir / 'tasks.json'}, the labelling configuration in labels.xml")
    out.print(f"the audio addresses hold for {hours} h and open the clips to whoever has them", soft_wrap=True)


@app.command("import")
def import_ratings(
    files: Annotated[list[Path], typer.Argument(help="Label Studio's JSON export, long CSV, or JSON Lines.")],
    check: Annotated[bool, typer.Option("--check", help="Only say what would be accepted; needs no store.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put ratings into annotations/incoming/ and take them in.

    Example: `ser annotate import project-1-export.json`
    """
    from ser_tasks.annotations.drops import read_drop
    from ser_tasks.annotations.intake import INCOMING, take_in
    from ser_tasks.annotations.validation import check_rows

    bodies = [(path, _read(path)) for path in files]
    if check:
        told: dict[str, Any] = {}
        unread = []
        for path, body in bodies:
            try:
                accepted, listed, warnings = check_rows(read_drop(path.name, body))
                told[str(path)] = {"accepted": len(accepted), "listed": listed.to_dict("records"), "warnings": warnings}
            except BadInput as error:
                unread.append(str(path))
                whole = {"row": "whole file", "reason": str(error)}
                told[str(path)] = {"accepted": 0, "listed": [whole], "warnings": []}
        if as_json:
            typer.echo(json.dumps(told, indent=1, ensure_ascii=False))
        for name, found in {} if as_json else told.items():
            out.print(f"{name}: {found['accepted']} row(s) accepted, {len(found['listed'])} listed", markup=False)
            for row in found["listed"]:
                out.print(f"  {row['row']}: {row['reason']}", markup=False, soft_wrap=True)
        if unread:
            raise BadInput(f"{len(unread)} of {len(bodies)} file(s) cannot be read: {', '.join(unread)}")
        return
    from ser_tasks.store import Store

    store = Store.from_env()
    for path, body in bodies:
        name = path.name
        if not store.put(INCOMING + name, body, IfNoneMatch="*") and store.get(INCOMING + name) != body:
            other = f"{path.stem}-{hashlib.sha256(body).hexdigest()[:12]}{path.suffix}"
            store.put(INCOMING + other, body, IfNoneMatch="*")
    intake = take_in(store, BY)
    if as_json:
        new: list[dict[str, Any]] = [{"file": d.name, "accepted": d.accepted, "listed": d.listed} for d in intake.new]
        counts = {"version": intake.now.version, "new": new, "counts": dict(intake.counts)}
        typer.echo(json.dumps(counts | {"listed": intake.listed}, ensure_ascii=False))
        return
    for line in intake.in_full(LISTED):
        out.print(line, markup=False, soft_wrap=True)


@app.command()
def status(config: Config = "demo", as_json: AsJson = False) -> None:
    """Today's ratings, how far annotators agree, which rows wait for their audio or were not accepted, and why.

    Example: `ser annotate status --config demo`
    """
    from ser_tasks.annotations.intake import listed_rows
    from ser_tasks.annotations.version import current
    from ser_tasks.artifact import Ref
    from ser_tasks.dataset import todays_dataset
    from ser_tasks.store import Store

    store = Store.from_env()
    version, data = current(store), todays_dataset(load_config(config), store, BY)
    listed = listed_rows(store, version)
    found: dict[str, Any] = {}
    if version.ledger:
        found = json.loads((store.cached(Ref.parse(version.ledger)) / "agreement.json").read_text(encoding="utf-8"))
    if as_json:
        told = {"version": version.version, "rated": data.rated, "waiting": data.waiting, "agreement": found}
        typer.echo(json.dumps(told | {"listed": listed}, indent=1, ensure_ascii=False))
        return
    out.print(f"version {version.version}: {data.rated} rating(s) that this study reads")
    for trait, item in found.items():
        value = item["alpha"]
        interval = "" if value["low"] is None else f" ({value['low']:.3f} to {value['high']:.3f})"
        alpha = "unknown" if value["value"] is None else f"{value['value']:.3f}{interval}"
        table = Table("annotator", "ratings", "bias", "compared on", title=f"{trait}: {item['scale']} alpha {alpha}")
        for who in item["annotators"]:
            table.add_row(who["annotator_id"], str(who["ratings"]), str(who["bias"]), str(who["compared"]))
        out.print(table)
        for month in item["by_month"]:
            value = "unknown" if month["alpha"] is None else f"{month['alpha']:.3f}"
            out.print(f"  {month['month']}: alpha {value}, {month['ratings']} rating(s)", markup=False)
        for clip in item["disagreed"][:5]:
            out.print(f"  disagreed: {clip['utterance_id']} {clip['values']}", markup=False)
    for row in data.waiting[:LISTED]:
        out.print(f"  waits: {row['utterance_id']} ({row['file']}, {row['row']})", markup=False)
    for row in listed[:LISTED]:
        out.print(f"  not accepted: {row['file']}, {row['row']}: {row['reason']}", markup=False, soft_wrap=True)
    for name, rows in (("wait", data.waiting), ("are not accepted", listed)):
        if len(rows) > LISTED:
            out.print(f"  {len(rows) - LISTED} more {name}: --json has them all")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise BadInput(f"{path} is not a file")
    return path.read_bytes()
