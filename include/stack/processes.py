"""The processes of a stack, found by the mark in their environment."""

import contextlib
import time
from collections.abc import Iterator

import psutil

from include.stack.layout import MARK, Layout


def find(layout: Layout) -> list[psutil.Process]:
    """Every process that was started by this stack, however deep, orphans included; never the caller or its parents."""
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == layout.mark:
                # A child that cleared its environment has lost the mark but not its parent.
                for member in (process, *process.children(recursive=True)):
                    if member.pid not in spared and member.status() != psutil.STATUS_ZOMBIE:
                        found[member.pid] = member
    return list(found.values())


def end_all(layout: Layout, patience: float = 5.0) -> int:
    """End every process of the stack: ask first, kill what is left after `patience` seconds.

    Returns:
        How many processes were ended.
    """
    ended: set[int] = set()
    asked_at = time.monotonic()
    # One may be forked while the others are being ended: look until none is left.
    while members := find(layout):
        for member in members:
            with contextlib.suppress(psutil.Error):
                if time.monotonic() - asked_at > patience:
                    member.kill()
                elif member.pid not in ended:
                    member.terminate()
            ended.add(member.pid)
        psutil.wait_procs(members, timeout=0.5)
    return len(ended)


def memory(members: list[psutil.Process]) -> Iterator[int]:
    """Bytes of memory of each process, pages shared with others counted in part where the system tells (PSS)."""
    for member in members:
        with contextlib.suppress(psutil.Error, OSError):
            full = member.memory_full_info()
            yield getattr(full, "pss", 0) or full.uss
