"""What `make demo` and `make study` print: a run's progress, its result, its failure."""

from typing import Any

from rich.console import Console
from rich.table import Table

Json = dict[str, Any]

_STYLES = {
    "success": "green",
    "failed": "bold red",
    "upstream_failed": "red",
    "up_for_retry": "yellow",
    "skipped": "dim",
    "running": "cyan",
}
_QUIET = {None, "scheduled", "queued", "none", "removed", "restarting"}


def console() -> Console:
    """The terminal, or plain lines of a fixed width where output goes to a file."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=132, no_color=True)


class Progress:
    """Prints a line whenever a task's state changes."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._seen: dict[tuple[str, int], tuple[str | None, int]] = {}

    def update(self, tasks: list[Json], elapsed_s: float) -> None:
        """Tell what is new since the last call."""
        for task in tasks:
            key, now = (task["task_id"], task["map_index"]), (task["state"], task["try_number"])
            if self._seen.get(key) == now or task["state"] in _QUIET:
                continue
            self._seen[key] = now
            took = f"{task['duration']:6.1f} s" if task["duration"] and task["state"] != "running" else ""
            again = f"(try {task['try_number']})" if task["try_number"] > 1 else ""
            line = f"  {elapsed_s:5.0f} s  {task_name(task):<44} {task['state']:<16} {took} {again}"
            self._out.print(line.rstrip(), style=_STYLES.get(task["state"], ""), markup=False, highlight=False)


def task_name(task: Json) -> str:
    """A task's name, with the index, or the words that stand for it, of a mapped one."""
    if task["map_index"] < 0:
        return str(task["task_id"])
    return f"{task['task_id']} [{task.get('rendered_map_index') or task['map_index']}]"


def print_result(out: Console, summary: Json) -> None:
    """Print the table of a run's summary."""
    table = Table(title=None, header_style="bold")
    for heading in ("model", "corpus", "UAR [95 % interval]", "chance", "utterances", "speakers", "note"):
        table.add_column(heading, justify="right" if heading in ("chance", "utterances", "speakers") else "left")
    for row in summary["rows"]:
        table.add_row(
            row["model"],
            f"{row['corpus']} ({row['relation']})",
            _interval(row["uar"], row),
            f"{row['chance']:.3f}",
            str(row["n"]),
            str(row["speakers"]),
            _remarks(row),
        )
    if trait := summary.get("rudeness"):
        table.add_section()
        for auc in trait["auc"].values():
            table.add_row(
                trait["trait"],
                auc["name"],
                _interval(auc["value"], auc),
                "0.500",
                str(trait["n"]),
                str(trait["speakers"]),
                trait["groups"],
            )
    out.print()
    if summary["synthetic"] or summary["note"]:
        fallback = "These corpora are synthetic: the figures say nothing about people's speech."
        out.print(summary["note"] or fallback, style="bold yellow", markup=False)
    out.print(table)


def _remarks(row: Json) -> str:
    """What must be known of a number; rows of older runs say nothing of labels."""
    said = [row["note"], row["labels"] if row.get("uar_open") is not None else "", row.get("answers", "")]
    return "; ".join(part for part in said if part)


def _interval(value: float, row: Json) -> str:
    return f"{value:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
