"""`ingest`: 7,442 wavs to a manifest, against the loop that most people write and against SHA-256 of the same bytes.

Also, as figures: a second scan of the unchanged folder, and from the folder to training-ready with `ser split`.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from ser_tasks.corpora.readers import load_description, read_corpus
from ser_tasks.corpora.source import open_source
from ser_tasks.data.manifest import scan
from ser_tasks.local import scan_folder
from tests.benchmarks.common import alternate, finish, read_every_byte, seconds_of, speech_of_crema_d_lengths
from tests.benchmarks.naive_ingest import look_through

ROUNDS = 3
PROCESSES = 2
BARS = {"naive": 3, "floor": 3}
READY_S, AGAIN_S = 25, 2
"""Bars for the whole way to training-ready, and for a scan of what has not changed."""


def manifest_of(folder: Path) -> pd.DataFrame:
    """What the step `scan` makes of a folder."""
    source = open_source(folder)
    return scan("crema_d", read_corpus(load_description("crema_d"), source), source).manifest


def sha256_of(path: Path) -> str:
    """The floor: nothing can be known of a file in less time."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_equal(ours: pd.DataFrame, theirs: list[tuple[str, float, float]], hashes: list[str]) -> None:
    """Same files, durations and hashes; levels within what librosa's padding of the ends makes of them."""
    names, durations, rms = zip(*theirs, strict=True)
    assert list(ours["utterance_id"]) == list(names)
    assert np.allclose(ours["duration_s"], durations, atol=1e-6)
    assert list(ours["sha256"]) == hashes
    off_db = np.abs(ours["rms_db"] - 20 * np.log10(rms))
    assert (off_db < 1).mean() > 0.99, off_db.describe()


def ready_seconds(folder: Path) -> float:
    """From a folder to scanned, validated, split and packed, by a fresh process with nothing in its cache."""
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-c", "from ser_tasks.cli import main; main()", "split", "--reader", "crema_d"]
        command += ["--source_dir", str(folder), "--target_dir", f"{made}/data"]
        env = {**os.environ, "SER_CACHE_DIR": f"{made}/cache"}
        return seconds_of(lambda: subprocess.run(command, env=env, check=True, stdout=sys.stderr))


def again_seconds(folder: Path) -> float:
    """A second scan of what has not changed."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SER_CACHE_DIR"] = cache
        work = partial(scan_folder, folder, "crema_d", load_description("crema_d"), None)
        work()
        return seconds_of(work)


def main() -> int:
    """Measure and print."""
    folder = speech_of_crema_d_lengths()
    wavs = sorted((folder / "AudioWAV").glob("*.wav"))
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        read_every_byte(folder)
        check_equal(manifest_of(folder), look_through(folder / "AudioWAV"), list(pool.map(sha256_of, wavs)))
        seconds = alternate(
            {
                "naive": lambda: look_through(folder / "AudioWAV"),
                "scan": lambda: manifest_of(folder),
                "floor": lambda: list(pool.map(sha256_of, wavs, chunksize=64)),
            },
            ROUNDS,
        )
    again, ready = again_seconds(folder), ready_seconds(folder)
    figures = {
        "files": len(wavs),
        "naive_files_per_s": len(wavs) / seconds["naive"],
        "scan_files_per_s": len(wavs) / seconds["scan"],
        "floor_files_per_s": len(wavs) / seconds["floor"],
        "scan_s": seconds["scan"],
        "second_scan_s": again,
        "training_ready_s": ready,
    }
    ratios = {"naive": seconds["naive"] / seconds["scan"], "floor": seconds["scan"] / seconds["floor"]}
    return finish("ingest", figures, ratios, BARS, ready < READY_S and again < AGAIN_S)


if __name__ == "__main__":
    sys.exit(main())
