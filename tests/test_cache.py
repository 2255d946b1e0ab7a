"""Local caches: bounded, least recently used first, and never a folder in use."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ser_tasks.cache import hold, make_room
from ser_tasks.errors import BadInput


def cached(cache: Path, name: str, age_s: float) -> Path:
    folder = cache / "artifacts" / name
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 1_000_000)
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def test_the_least_recently_used_go_until_the_rest_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_CACHE_GB", "0.0025")
    oldest, used, newest = cached(tmp_path, "a", 300), cached(tmp_path, "b", 200), cached(tmp_path, "c", 100)
    make_room(tmp_path)
    assert [folder.is_dir() for folder in (oldest, used, newest)] == [False, True, True]
    assert hold(used)  # used now, and by this process
    cached(tmp_path, "d", 0)
    make_room(tmp_path)
    assert used.is_dir()
    assert not newest.exists()


def test_a_folder_that_another_process_uses_stays_until_that_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_CACHE_GB", "0")
    folder = cached(tmp_path, "a", 300)
    program = "import sys, time; from pathlib import Path; from ser_tasks.cache import hold\n"
    program += "print(hold(Path(sys.argv[1])), flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "True\n"
    make_room(tmp_path)
    assert (folder / "file").is_file()
    process.send_signal(signal.SIGKILL)
    process.wait()
    make_room(tmp_path)
    assert not folder.exists()


def test_what_a_killed_process_left_half_filled_goes_after_a_day(tmp_path: Path) -> None:
    abandoned, filling = cached(tmp_path, ".partial-a", 100_000), cached(tmp_path, ".partial-b", 10)
    make_room(tmp_path)
    assert not abandoned.exists()
    assert filling.is_dir()


def test_a_folder_that_is_gone_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hold(tmp_path / "absent")
    monkeypatch.setenv("SER_CACHE_GB", "much")
    with pytest.raises(BadInput, match="SER_CACHE_GB"):
        make_room(tmp_path)
