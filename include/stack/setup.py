"""`make setup`: `.venv` as the requirements files say it. Runs on a bare Python 3.11, before anything is installed."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = CHECKOUT / ".venv"
LOG = CHECKOUT / ".local" / "logs" / "setup.log"
PYTHON = VENV / "bin" / "python"
DEV = ("requirements-dev.txt", "requirements-compose.txt")
"""What tests need: tools, and what the services of docker-compose.yaml need."""
_TAIL = 12


class SetupError(Exception):
    """The environment cannot be made: the message says why and what to do."""


def main(arguments: list[str]) -> int:
    """Make `.venv`, or bring it up to date; with `--dev` also what checks and tests need."""
    try:
        install(dev="--dev" in arguments)
    except SetupError as error:
        print(f"make setup: {error}", file=sys.stderr)
        return 1
    return 0


def install(dev: bool) -> None:
    """Install what is missing.

    A stamp in `.venv` holds a digest of what was installed: a file that was merely touched counts for nothing.

    Raises:
        SetupError: no fitting Python, no room, or pip failed; with the end of pip's output.
    """
    if sys.version_info[:2] != (3, 11):
        raise SetupError(f"Python 3.11 is needed, {sys.executable} is {sys.version.split()[0]}")
    base, extra = VENV / ".ser-requirements", VENV / ".ser-requirements-dev"
    wanted, wanted_extra = _wanted("requirements.txt"), _wanted(*DEV)
    fits = _runs() and not (base.exists() and base.read_text().splitlines()[0] != str(CHECKOUT))
    if not fits or not base.exists() or base.read_text() != wanted:
        begin = time.monotonic()
        print("Installing requirements.txt into .venv (about 3 minutes the first time) ...", flush=True)
        if not fits:
            _make_venv()
        _pip("-r", "requirements.txt")
        _pip("--no-deps", "--no-build-isolation", "--editable", ".")
        base.write_text(wanted)
        print(f"  done in {time.monotonic() - begin:.0f} s", flush=True)
    if dev and not (extra.exists() and extra.read_text() == wanted_extra):
        print(f"Installing {' and '.join(DEV)} into .venv ...", flush=True)
        _pip(*(argument for name in DEV for argument in ("-r", name)))
        extra.write_text(wanted_extra)


def _wanted(*requirements: str) -> str:
    """What a stamp says: the checkout's place, which programs in .venv/bin hold, and a digest of what is installed."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    files = [(CHECKOUT / name).read_text(encoding="utf-8") for name in requirements]
    content = [*files, project["project"], project["build-system"]]
    return f"{CHECKOUT}\n{hashlib.sha256(json.dumps(content).encode()).hexdigest()}\n"


def _runs() -> bool:
    test = "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))"
    try:
        done = subprocess.run([PYTHON, "-c", test], capture_output=True, check=False)  # noqa: S603 - a fixed command
    except OSError:
        return False
    return done.returncode == 0


def _make_venv() -> None:
    if Path(sys.prefix) == VENV:
        raise SetupError(".venv is damaged: leave it (`deactivate`), remove it and run `make setup`")
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(f"{sys.executable} cannot make environments; on Debian: apt-get install python3.11-venv")
    shutil.rmtree(VENV, ignore_errors=True)
    _call(sys.executable, "-m", "venv", str(VENV), what="python -m venv")


def _pip(*arguments: str) -> None:
    common = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
    _call(str(PYTHON), "-m", "pip", "install", *common, *arguments, what="pip")


def _call(*command: str, what: str) -> None:
    """Run a command with its output in the log. The person's own Python settings do not reach it."""
    left_out = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    LOG.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with LOG.open("ab") as log:
        start = log.tell()
        code = subprocess.call(  # noqa: S603 - fixed commands
            command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    if code != 0:
        with LOG.open("rb") as log:
            log.seek(start)
            lines = log.read().decode(errors="replace").splitlines()[-_TAIL:]
        tail = "\n".join(f"    {line}" for line in lines)
        raise SetupError(f"{what} failed (exit {code}); the end of {LOG.relative_to(CHECKOUT)}:\n{tail}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
