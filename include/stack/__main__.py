"""`python -m include.stack <up|demo|study|status|down>`: what the Makefile's targets call."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from include.stack import drive, show, supervise
from include.stack.errors import StackError
from include.stack.layout import Layout, State
from ser_tasks.errors import SerError

_INTERRUPTED = 130


def main() -> int:
    """Run one command. Returns the exit status: 0 only if everything asked for succeeded."""
    parser = argparse.ArgumentParser(prog="python -m include.stack", description="The embedded stack on loopback.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start SeaweedFS, MLflow and Airflow")
    commands.add_parser("demo", help="start them and run the demo study on synthetic corpora")
    study = commands.add_parser("study", help="start them and run a study")
    study.add_argument("config", type=Path, help="include/configs/<name>.yaml")
    commands.add_parser("status", help="what runs, where, and how much memory it takes")
    commands.add_parser("down", help="end every process that was started, and nothing else")
    chosen = parser.parse_args()
    layout, out = Layout(), show.console()
    try:
        return _run(chosen, layout, out)
    except (StackError, SerError) as error:
        Console(stderr=True).print(str(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        if supervise.status(layout):
            out.print("\nInterrupted. The stack is still up and a run that was started goes on; `make stop` ends it.")
        else:
            out.print("\nInterrupted. Nothing was left running.")
        return _INTERRUPTED


def _run(chosen: argparse.Namespace, layout: Layout, out: Console) -> int:
    if chosen.command == "down":
        count = supervise.down(layout)
        out.print(f"Ended {count} processes." if count else "Nothing was running.", highlight=False)
        return 0
    if chosen.command == "status":
        return _print_status(layout, out)
    # A fault in the configuration is told before anything is started.
    uploads = drive.study_uploads(chosen.config, os.environ) if chosen.command == "study" else []
    state = supervise.up(layout, lambda line: out.print(line, markup=False, highlight=False, soft_wrap=True))
    _print_addresses(layout, state, out)
    if chosen.command == "demo":
        return 0 if drive.demo(layout, state, out) else 1
    if chosen.command == "study":
        return 0 if drive.run_study(chosen.config.stem, uploads, layout, state, out) else 1
    return 0


def _print_status(layout: Layout, out: Console) -> int:
    told = supervise.status(layout)
    if not told:
        out.print("The stack does not run; `make demo` starts it.")
        return 1
    for name, description in told.items():
        out.print(f"{name:<24}{description}", highlight=False)
    out.print(f"{'memory together':<24}{supervise.stack_memory(layout) / 2**20:.0f} MiB", highlight=False)
    _print_addresses(layout, State.load(layout), out)
    return 0


def _print_addresses(layout: Layout, state: State, out: Console) -> None:
    password = f"its password is in {layout.airflow_passwords}"
    # Once, and to a person only: a log that output goes to is no place for it.
    if not state.password_shown and sys.stdout.isatty():
        password = f"password {state.secrets.airflow_password} (shown this once; kept in {layout.airflow_passwords})"
        state.password_shown = True
        state.save(layout)
    for what, where in (("Airflow", f"{state.airflow_url} (user admin, {password})"), ("MLflow", state.mlflow_url)):
        out.print(f"{what + ':':<9}{where}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
