"""What the benchmarks share: real speech of CREMA-D's true lengths, alternating timings, one JSON line last."""

import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ser_tasks.audio.decode import SAMPLE_RATE_HZ, decode, to_int16
from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.audio.shards import Clip, write_shards
from ser_tasks.corpora.source import open_source
from ser_tasks.training.examples import Examples
from tests.conftest import SHARED_CORPORA

CACHE = Path(tempfile.gettempdir()) / f"ser-benchmarks-{os.getuid()}"
AT_MOST = ("floor", "size", "tenfold")
"""Ratios that must not be above their bar; the others must not be below it."""
SPEEDS = (1.0, 0.8, 1.25, 0.9, 1.12, 0.85, 1.18, 0.95)
TRIM_RATIO = 100
"""Ends more than 40 dB below a clip's peak are cut: what is timed is speech, not the pauses around it."""


def speech_of_crema_d_lengths() -> Path:
    """A CREMA-D folder: RAVDESS speech cut to the 7,442 official lengths and names (PCM16, 16 kHz, mono).

    Made once; `complete` is written last. RAVDESS is an hour too short for that, so it is used again and again, each
    time in another order and by voices with another length of the vocal tract: no two clips are one recording.
    """
    folder = CACHE / "crema_d"
    if (folder / "complete").is_file():
        return folder
    for needed in (SHARED_CORPORA / "ravdess", SHARED_CORPORA / "crema_d"):
        if not needed.is_dir():
            sys.exit(f"benchmark: {needed} is absent: the real speech cannot be downloaded (set SER_TEST_CORPORA)")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "AudioWAV").mkdir(parents=True)
    speech = _voices(list(_ravdess_speech()))
    left = next(speech)
    with (SHARED_CORPORA / "crema_d" / "crema_d_official.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            count = (int(row["bytes"]) - 44) // 2
            if len(left) < count:
                left = np.concatenate([left, next(speech)])
            soundfile.write(folder / "AudioWAV" / row["file"], left[:count], SAMPLE_RATE_HZ)
            left = left[count:]
    (folder / "complete").touch()
    return folder


def _ravdess_speech() -> Iterator[npt.NDArray[np.int16]]:
    for path in sorted((SHARED_CORPORA / "ravdess").glob("Actor_*/*.flac")):
        samples = to_int16(decode(path).samples)
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) * TRIM_RATIO > np.abs(samples.astype(np.int32)).max())
        yield samples[loud[0] : loud[-1] + 1]


def _voices(clips: list[npt.NDArray[np.int16]]) -> Iterator[npt.NDArray[np.int16]]:
    """All clips on end, each time in another order and played at another speed."""
    for turn, speed in enumerate(SPEEDS):
        order = np.random.default_rng(turn).permutation(len(clips))
        stream = np.concatenate([clips[i] for i in order])
        yield soxr.resample(stream, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * speed, quality="HQ")


def read_every_byte(folder: Path) -> None:
    """Bring a folder into the page cache, so that no side pays for the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def shards_of(folder: Path, out: Path) -> None:
    """Pack a folder of `speech_of_crema_d_lengths`."""
    source = open_source(folder)
    wavs = [PurePosixPath(file.path) for file in source.files if file.path.endswith(".wav")]
    write_shards((Clip(path.stem, path.stem[:4], str(path)) for path in wavs), source.read, out)


def bytes_of(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def alternate(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median wall seconds of each side; the sides take turns, so that a busy minute hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            times[name].append(seconds_of(work))
            print(f"{name}: {times[name][-1]:.2f} s", file=sys.stderr)
    return {name: statistics.median(values) for name, values in times.items()}


def finish(
    name: str, figures: Mapping[str, float], ratios: Mapping[str, float], bars: Mapping[str, float], more: bool = True
) -> int:
    """Print the one JSON line. Returns 0 when every ratio holds its bar (and `more` holds), else 1."""
    held = more and all(ratios[key] <= bar if key in AT_MOST else ratios[key] >= bar for key, bar in bars.items())
    print(
        json.dumps(
            {
                "benchmark": name,
                "figures": {key: round(value, 3) for key, value in figures.items()},
                "ratios": {key: round(value, 2) for key, value in ratios.items()},
                "bars": bars,
                "pass": held,
            }
        )
    )
    return 0 if held else 1


def ravdess_clips() -> list[tuple[Path, int, int]]:
    """(file, actor 1-24, emotion 0-7) of every clip of the real RAVDESS."""
    paths = sorted((SHARED_CORPORA / "ravdess").glob("Actor_*/*.flac"))
    if not paths:
        sys.exit(f"benchmark: {SHARED_CORPORA / 'ravdess'} is absent (set SER_TEST_CORPORA)")
    return [(path, int(path.stem[-2:]), int(path.stem[6:8]) - 1) for path in paths]


def ravdess_examples(actors: Iterable[int], audio: PackedAudio) -> Examples:
    """The clips of some actors, of `packed_ravdess`."""
    wanted = set(actors)
    clips = [(path, actor, emotion) for path, actor, emotion in ravdess_clips() if actor in wanted]
    return Examples(audio, [(audio.index_of(path.stem), emotion) for path, _, emotion in clips])


def pack_ravdess(folder: Path) -> PackedAudio:
    """Decode the real RAVDESS to 16 kHz mono, as the step `pack` and its unpacking do."""
    with ThreadPoolExecutor(2) as pool:
        samples = pool.map(lambda clip: (clip[0].stem, to_int16(decode(clip[0]).samples)), ravdess_clips())
        write_packed(folder, samples)
    return PackedAudio.open(folder)


def packed_ravdess() -> PackedAudio:
    """The same, made once."""
    folder = CACHE / "ravdess_packed"
    return PackedAudio.open(folder) if (folder / "index.json").is_file() else pack_ravdess(folder)


def commit_of(path: Path) -> str:
    """The commit that is checked out, with `+changes` where files differ from it; `path` itself does not count."""
    git = ["git", "-C", str(path.parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    status = [*git, "status", "--porcelain", "--untracked-files=no", "--", ":/", f":!{path.name}"]
    changed = subprocess.run(status, capture_output=True, text=True, check=True)
    return commit.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def log_of_uses(path: Path, commit: str, entry: Mapping[str, object]) -> None:
    """Append what a use of the test speakers gave, however it came out.

    Args:
        path: The log.
        commit: Of the code that runs: read at the start, since a checkout may move while it runs.
        entry: What is to be known.
    """
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**about, **entry}) + "\n")
