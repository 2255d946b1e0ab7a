"""Start the stack, see that it is well, end it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from include.stack import health, ports, processes, services
from include.stack.airflow import Airflow
from include.stack.errors import StackError
from include.stack.layout import Layout, State

_SOCKET_PATH_BYTES = 100  # the system's limit is 107, or 103 on macOS
_LOG_LINES = 15


def up(layout: Layout, say: Callable[[str], None] = print) -> State:
    """Start what does not run, and return when every part answers.

    Args:
        layout: the stack's folders.
        say: takes one line of progress.

    Returns:
        The state: ports and secrets.

    Raises:
        StackError: a part did not come up; the message holds the end of its log.
    """
    with layout.locked():
        layout.make()
        state = State.load(layout)
        if _control(state) is not None:
            if state.fingerprint == services.write_files(layout, state):
                _see_healthy(layout, state, started=0.0, say=None)
                return state
            say("The stack's settings have changed: starting it anew.")
        _end(layout, state)
        state.ports = ports.choose(layout.preferred_ports, state.ports)
        state.socket = _socket(layout, state)
        state.fingerprint = services.write_files(layout, state)
        state.save(layout)
        say("Starting SeaweedFS, MLflow and Airflow on 127.0.0.1 ...")
        for name, port in state.ports.items():
            if port != layout.preferred_ports[name] and not name.startswith("s3_"):
                say(f"  port {layout.preferred_ports[name]} is taken: {name} is at {port}")
        try:
            _start(layout, state, say)
        except BaseException:
            _end(layout, state)
            raise
        return state


def down(layout: Layout) -> int:
    """End every process of the stack.

    Returns:
        How many were ended; 0 when none ran.
    """
    if not layout.local.exists():
        return len(processes.find(layout)) and processes.end_all(layout)
    with layout.locked():
        return _end(layout, State.load(layout))


def status(layout: Layout) -> dict[str, str]:
    """What the supervisor says of each program; empty when the stack does not run."""
    control = _control(State.load(layout))
    return {} if control is None else {info["name"]: info["description"] for info in control.getAllProcessInfo()}


def last_lines(layout: Layout, program: str) -> str:
    """The end of a program's log, indented."""
    log = layout.logs / f"{program}.log"
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
    return "\n".join(f"    {line}" for line in lines) + f"\n  whole log: {log}"


def _start(layout: Layout, state: State, say: Callable[[str], None]) -> None:
    started = time.time()
    environment = services.environment(layout, state)
    supervisor = _spawn(layout, environment, "supervisord", "supervisor.supervisord", "-c", "supervisord.conf")
    migrated = layout.airflow / "migrated"
    if not migrated.exists() or migrated.read_text() != version("apache-airflow"):
        say("  making Airflow's database (first start only)")
        migration = _spawn(layout, environment, "airflow-db-migrate", "airflow", "db", "migrate")
        if migration.wait() != 0:
            raise StackError(f"airflow db migrate failed:\n{last_lines(layout, 'airflow-db-migrate')}")
        migrated.write_text(version("apache-airflow"))
    deadline = time.monotonic() + 30
    while (control := _control(state)) is None:
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise StackError(f"the supervisor did not come up:\n{last_lines(layout, 'supervisord')}")
        time.sleep(0.1)
    for program in services.programs(layout, state):
        if not program.at_once:
            control.startProcess(program.name, False)
    _see_healthy(layout, state, started, say)


def _spawn(
    layout: Layout, environment: dict[str, str], log: str, module: str, *arguments: str
) -> subprocess.Popen[bytes]:
    """Run a module in a session of its own, so that Ctrl-C on the terminal does not reach it."""
    with (layout.logs / f"{log}.log").open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the program is this Python itself
            [sys.executable, "-m", module, *arguments],
            cwd=layout.stack,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )


def _see_healthy(layout: Layout, state: State, started: float, say: Callable[[str], None] | None) -> None:
    """Wait until every program answers; each has its own deadline."""
    begin = time.monotonic()
    waiting = {program.name: program for program in services.programs(layout, state)}
    trouble = dict.fromkeys(waiting, "it has not answered yet")
    while waiting:
        control = _control(state)
        if control is None:
            raise StackError(f"the supervisor has ended:\n{last_lines(layout, 'supervisord')}")
        running = {info["name"]: info for info in control.getAllProcessInfo()}
        for name, program in list(waiting.items()):
            info = running[name]
            if info["statename"] == "RUNNING":
                trouble[name] = health.trouble(name, state, started)
                if not trouble[name]:
                    del waiting[name]
                    if say:
                        say(f"  {name} answers ({time.monotonic() - begin:.0f} s)")
                    continue
            else:
                trouble[name] = f"{info['statename'].lower()}: {info['spawnerr'] or info['description']}"
            if info["statename"] == "FATAL" or time.monotonic() - begin > program.seconds:
                raise StackError(f"{name} did not come up ({trouble[name]}):\n{last_lines(layout, name)}")
        if waiting:
            time.sleep(0.3)
    # A task in a pool that does not exist waits for ever, and nothing says so.
    Airflow(state).ensure_pool("gpu", slots=1)


def _end(layout: Layout, state: State) -> int:
    count = len(processes.find(layout))
    control = _control(state)
    if control is not None:
        # All at once and in order first: SeaweedFS writes its data away, Airflow marks its jobs as ended.
        with contextlib.suppress(OSError, xmlrpc.client.Error):
            control.stopAllProcesses()
            control.shutdown()
    count = max(count, processes.end_all(layout))
    if state.socket and Path(state.socket).parent != layout.stack:
        shutil.rmtree(Path(state.socket).parent, ignore_errors=True)
    return count


def _socket(layout: Layout, state: State) -> str:
    """The supervisor's socket: in the stack's folder, or in a private one where that path is too long for a socket."""
    here = layout.stack / "supervisor.sock"
    if len(os.fsencode(here)) <= _SOCKET_PATH_BYTES:
        return str(here)
    return str(Path(tempfile.mkdtemp(prefix="ser-")) / here.name)


def _control(state: State) -> Any:
    """The running supervisor's remote interface, None when none runs."""
    if not state.socket:
        return None
    transport = SupervisorTransport(None, None, f"unix://{state.socket}")
    control: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
    try:
        return control if control.getState()["statename"] == "RUNNING" else None
    except (OSError, xmlrpc.client.Error):
        return None


def stack_memory(layout: Layout) -> int:
    """Bytes of memory of all processes of the stack together."""
    return sum(processes.memory(processes.find(layout)))
