"""Local caches: folders that can be had again, bounded by SER_CACHE_GB, least recently used first.

A folder that a process uses is never removed. It is used by every process that holds a shared lock on it; the kernel
gives the lock up when the process ends, however it ends.
"""

import fcntl
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ser_tasks.errors import BadInput

DEFAULT_GB = 50.0
PARTIAL = ".partial-"
"""Beginning of the name of a folder that is being filled, or removed."""
ROOMS = ("artifacts", "raw", "scans")
"""Folders of folders under $SER_CACHE_DIR that this bounds; features of frozen encoders have a limit of their own."""
_ABANDONED_S = 86_400  # an unfinished folder that nothing was written to for so long belongs to nobody
_held: dict[Path, int] = {}
_guard = threading.Lock()
_log = logging.getLogger(__name__)


def limit_bytes() -> float:
    """SER_CACHE_GB in bytes (10^9 each). Raises BadInput when it is no number."""
    given = os.environ.get("SER_CACHE_GB", "")
    try:
        return float(given or DEFAULT_GB) * 1e9
    except ValueError as error:
        raise BadInput(f"SER_CACHE_GB={given}: give a number of gigabytes, such as {DEFAULT_GB:g}") from error


def hold(folder: Path) -> bool:
    """Use a cached folder until this process ends, and mark it as used now. False: there is no such folder."""
    place = folder.absolute()
    with _guard:
        if place in _held and _same(_held[place], place):
            os.utime(place)
            return True
        handle = _open(place)
        if handle is None:
            return False
        fcntl.flock(handle, fcntl.LOCK_SH)
        if not _same(handle, place):  # removed between opening and locking
            os.close(handle)
            return False
        if place in _held:
            os.close(_held[place])
        _held[place] = handle
        os.utime(place)
        return True


def make_room(cache: Path) -> None:
    """Remove the least recently used folders until the rest fits; those in use stay, this process's own too."""
    limit = limit_bytes()
    sizes = {folder: _bytes(folder) for folder in _folders(cache)}
    for folder in [folder for folder in sizes if folder.name.startswith(PARTIAL)]:
        if time.time() - _used_at(folder) > _ABANDONED_S and _remove(folder):
            del sizes[folder]
    total = sum(sizes.values())
    for folder in sorted(sizes, key=_used_at):
        if total <= limit:
            return
        if not folder.name.startswith(PARTIAL) and _remove(folder):
            total -= sizes[folder]
    if total > limit:
        _log.warning(
            "cache %s: %.1f GB are in use, SER_CACHE_GB allows %.1f: it grows beyond that until they are not",
            cache, total / 1e9, limit / 1e9,
        )  # fmt: skip


def _folders(cache: Path) -> Iterator[Path]:
    for room in ROOMS:
        if (cache / room).is_dir():
            yield from (path for path in (cache / room).iterdir() if path.is_dir())


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0


def _bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - tens of thousands of files
            except OSError:
                continue
    return total


def _remove(folder: Path) -> bool:
    """Remove a folder that no process holds; it vanishes in one step. False: it is in use, or gone."""
    handle = _open(folder)
    if handle is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _same(handle, folder):
            return False
        doomed = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder.parent))
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _open(folder: Path) -> int | None:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None


def _same(handle: int, folder: Path) -> bool:
    """Whether an open folder is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except OSError:
        return False
