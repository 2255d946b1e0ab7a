"""`ser registry list|compare|promote|rollback`: registered models in MLflow."""

import getpass
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from ser_tasks import registry
from ser_tasks.cli_options import AsJson, out
from ser_tasks.tracking import TESTED

registry_app = typer.Typer(no_args_is_help=True, help="Registered models: who is champion, and who was before.")

UNLIKE = {TESTED: "test speakers", "ser.corpora": "versions of the corpora", "ser.evaluation": "clips or labels"}
"""Tags that tell what versions were measured on, in words."""

Model = Annotated[str, typer.Argument(help="A registered model: ser-cnn or ser-wav2vec2.")]
Why = Annotated[str, typer.Option("--reason", help="Kept with the version.")]


@registry_app.command("list")
def list_versions(
    model: Annotated[str | None, typer.Argument(help="A registered model; without it, all of them.")] = None,
    as_json: AsJson = False,
) -> None:
    """List versions with their aliases, the gate's verdict and what became of them.

    Example: `ser registry list ser-cnn`
    """
    found = {name: registry.versions(name) for name in ([model] if model else registry.models())}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for name, rows in found.items():
        table = Table("version", "alias", "made", "gate", "review", "by", "why", title=name)
        for row in rows:
            made = datetime.fromtimestamp(row["created_at"] / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
            keys = (registry.GATE, registry.REVIEW, registry.REVIEWER, registry.REASON)
            table.add_row(
                str(row["version"]), ", ".join(row["aliases"]), made, *(row["tags"].get(key, "") for key in keys)
            )
        out.print(table)
    if not found:
        out.print("no registered models yet: run ser_study")


@registry_app.command()
def compare(
    model: Model,
    version: Annotated[str, typer.Argument(help="A number, or an alias.")] = registry.CHALLENGER,
    against: Annotated[str, typer.Argument(help="A number, or an alias.")] = registry.CHAMPION,
    as_json: AsJson = False,
) -> None:
    """Put the headline metrics of two versions side by side, and say what they were not measured on alike.

    Whether a difference is more than chance stands on the card. Example: `ser registry compare ser-cnn 3 champion`
    """
    pair = [registry.find_version(model, text) for text in (version, against)]
    metrics = [registry.metrics_of(model, number) for number in pair]
    one, other = (registry.tags_of(model, number) for number in pair)
    unlike = [words for tag, words in UNLIKE.items() if one.get(tag) != other.get(tag)]
    if as_json:
        found = [{"version": number, "metrics": each} for number, each in zip(pair, metrics, strict=True)]
        typer.echo(json.dumps({"model": model, "versions": found, "unlike": unlike}, indent=1))
        return
    table = Table("metric", *(f"version {number}" for number in pair), "difference", title=model)
    for name in sorted(metrics[0].keys() | metrics[1].keys()):
        values = [item.get(name) for item in metrics]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        difference = "" if None in values else f"{values[0] - values[1]:+.3f}"  # type: ignore[operator]
        table.add_row(name, *cells, difference)
    out.print(table)
    if unlike:
        out.print(f"not measured on the same: {', '.join(unlike)}", soft_wrap=True)
    for number in pair:
        verdict = registry.tags_of(model, number).get(registry.GATE_SENTENCE)
        out.print(f"version {number}, gate: {verdict or 'no verdict'}", markup=False, soft_wrap=True)


@registry_app.command()
def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="A number, or an alias.")] = registry.CHALLENGER,
    reason: Why = "",
) -> None:
    """Make a version the champion; the old champion becomes `previous`.

    Example: `ser registry promote ser-cnn 3 --reason "better for older speakers"`
    """
    number = registry.find_version(model, version)
    _say(registry.promote(model, number, getpass.getuser(), reason or "promoted on the command line"))


@registry_app.command()
def rollback(
    model: Model,
    version: Annotated[str | None, typer.Argument(help="A number, or an alias; without it, the previous one.")] = None,
    reason: Why = "",
) -> None:
    """Make the previous champion, or another version, the champion again; the one that is left says so.

    Example: `ser registry rollback ser-cnn --reason "worse in use"`
    """
    number = None if version is None else registry.find_version(model, version)
    _say(registry.rollback(model, getpass.getuser(), reason or "on the command line", version=number))


def _say(standing: dict[str, Any]) -> None:
    previous = standing["previous"] or "none"
    out.print(f"{standing['name']}: champion is version {standing['champion']}, previous is {previous}")
