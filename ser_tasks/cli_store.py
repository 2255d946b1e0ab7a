"""`ser store gc|verify|du`: what the bucket holds, what can go, what is damaged."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from ser_tasks.cli_options import AsJson, err, out
from ser_tasks.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="What the bucket holds, what can go, what is damaged.")
LISTED = 20
SAMPLE = 100
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

OlderThan = Annotated[
    str, typer.Option("--older-than", "--older_than", help="What is younger stays: 30d, 12h, 90m, 0s.")
]
TrashFor = Annotated[str, typer.Option("--trash", help="How long things lie in trash/ before they are gone.")]


def duration(text: str) -> timedelta:
    """`30d`, `12h`, `90m`, `0s`. Raises BadInput for anything else."""
    found = re.fullmatch(r"(\d+)([dhms])", text)
    if found is None:
        raise BadInput(f"{text!r} is no span of time: write a number and d, h, m or s, such as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Do it; without this, only say what would be done.")] = False,
    older_than: OlderThan = "30d",
    trash: TrashFor = "7d",
    why: Annotated[
        str | None, typer.Option(help="Say what keeps this: an artifact's key, a blob's hash, or the beginning of one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Move what nothing needs to trash/, and delete what has been there for long enough. A dry run unless --delete.

    Needed is what a run record, a pointer, a registered model version or a live lease leads to.

    Example: `ser store gc --older-than 30d --delete`
    """
    from ser_tasks.keeping.collect import collect, find, summary
    from ser_tasks.store import Store

    store, spans = Store.from_env(), (duration(older_than), duration(trash))
    if why is not None:
        _tell_why(store, why, spans)
        return
    with err.status("looking at everything in the bucket ..."):
        if delete:
            told: dict[str, Any] = collect(store, "ser store gc", *spans)
        else:
            inventory, found = find(store, *spans)
            told = summary(inventory, found)
            told["to_trash"]["keys"] = list(found.away)
            told["deleted"]["keys"] = list(found.gone)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
        return
    if not delete:
        _list_keys("would go to trash/", told["to_trash"]["keys"])
        _list_keys("would be deleted from trash/", told["deleted"]["keys"])
    table = Table("", "objects", "MB", title=f"bucket {store.bucket}" + ("" if delete else ": a dry run"))
    for name, label in (
        ("there", "there"), ("needed", "needed"), ("brought_back", "brought back from trash/"),
        ("to_trash", "moved to trash/"), ("in_trash", "in trash/ before"), ("deleted", "deleted from trash/"),
    ):  # fmt: skip
        table.add_row(label, f"{told[name]['objects']:,}", f"{told[name]['bytes'] / 1e6:,.1f}")
    out.print(table)
    out.print(f"{told['uploads_aborted']} unfinished upload(s) {'aborted' if delete else 'to abort'}")
    for name in told["missing"]:
        err.print(f"needed and missing: {name}; ser store verify --all says whose it is", style="red", soft_wrap=True)
    if not delete:
        out.print("nothing was changed; --delete does it")


def _list_keys(title: str, keys: list[str]) -> None:
    for key in keys[:LISTED]:
        out.print(f"{title}: {key}", markup=False, highlight=False, soft_wrap=True)
    if len(keys) > LISTED:
        out.print(f"{title}: {len(keys) - LISTED} more; --json lists them all", highlight=False)


def _tell_why(store: Any, wanted: str, spans: tuple[timedelta, timedelta]) -> None:
    from ser_tasks.keeping.collect import find
    from ser_tasks.keeping.reach import why

    inventory, found = find(store, *spans)
    keys = [
        key
        for key in {**inventory.objects, **inventory.trash}
        if key == wanted or any(part.startswith(wanted) for part in key.split("/")[1:])
    ]
    if not keys:
        raise BadInput(f"--why {wanted}: nothing in bucket {store.bucket} has such a key or hash")
    for key in keys:
        way = why(found.reached, key)
        place = key if key in inventory.objects else f"trash/{key}"
        reason = " -> ".join(way[:-1])
        if not way:
            reason = "nothing needs it" + ("" if key in found.away else "; too young to go, or in the trash already")
        out.print(f"{place}: {reason}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def verify(
    sample: Annotated[int, typer.Option(min=1, help="How many files' bytes to hash, drawn at random.")] = SAMPLE,
    everything: Annotated[bool, typer.Option("--all", help="Hash every one.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the draw; without it, another draw each time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hash what lies in the bucket again and name what is damaged; exit status 1 when something is.

    Example: `ser store verify --all`
    """
    from ser_tasks.keeping.verify import verify as verify_store
    from ser_tasks.store import Store

    store = Store.from_env()
    with err.status("hashing ..."):
        told = verify_store(store, None if everything else sample, seed)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
    else:
        for fault in told["faults"]:
            words = f"{fault['file']} of {fault['artifact']} {fault['reason']}: {fault['blob']}"
            out.print(words if fault["file"] else fault["reason"], markup=False, highlight=False, soft_wrap=True)
        out.print(
            f"{told['artifacts']} manifests, {told['hashed']} of {told['blobs']} blobs hashed "
            f"({told['bytes'] / 1e6:,.1f} MB): {len(told['faults']) or 'no'} fault(s)",
            highlight=False,
        )
    if told["faults"]:
        raise typer.Exit(1)


@app.command()
def du(as_json: AsJson = False) -> None:
    """Say where the space is: by kind of artifact, by run, by place.

    Example: `ser store du`
    """
    from ser_tasks.keeping.usage import usage
    from ser_tasks.store import Store

    store = Store.from_env()
    with err.status("looking at everything in the bucket ..."):
        told = usage(store)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
        return
    for name, title in (("kinds", "kind"), ("runs", "run")):
        table = Table(title, "manifests", "MB", "MB only here")
        for group, row in told[name].items():
            table.add_row(group, f"{row['artifacts']:,}", _mb(row, "bytes"), _mb(row, "only"))
        out.print(table)
    places = Table("place", "objects", "MB", title=f"bucket {store.bucket}")
    for place, row in told["places"].items():
        places.add_row(place, f"{row['objects']:,}", _mb(row, "bytes"))
    out.print(places)
    out.print(
        f"blobs that no manifest names: {told['unnamed'] / 1e6:,.1f} MB; ser store gc takes them", highlight=False
    )


def _mb(row: Mapping[str, int], name: str) -> str:
    return f"{row[name] / 1e6:,.2f}"
