"""The same recording is found again, and the same sentence said again is not taken for it."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr

from ser_tasks.audio.decode import Samples, decode
from ser_tasks.audio.fingerprint import contour, fingerprints, near_identical

PICKED = 60


def frame(clips: list[Samples]) -> pd.DataFrame:
    contours = [contour(clip) for clip in clips]
    return pd.DataFrame({"fingerprint": fingerprints(contours), "trimmed_s": [each.trimmed_s for each in contours]})


def recoded(clip: Samples, container: str) -> Samples:
    buffer = io.BytesIO()
    soundfile.write(buffer, clip, 16000, format=container)
    return decode(buffer.getvalue()).samples


def trimmed(clip: Samples) -> Samples:
    """Without a part of the silence at its ends, another one for each clip."""
    loud = np.flatnonzero(np.abs(clip) > 0.02 * np.abs(clip).max())
    rng = np.random.default_rng(len(clip) + int(loud[0]))
    begin, end = loud[0] * rng.uniform(0.3, 1), loud[-1] + (len(clip) - loud[-1]) * rng.uniform(0, 0.7)
    return clip[int(begin) : int(end) + 1]


CHANGES: dict[str, Callable[[Samples], Samples]] = {
    "resampled": lambda clip: soxr.resample(soxr.resample(clip, 16000, 48000), 48000, 16000),
    "8 kHz": lambda clip: soxr.resample(soxr.resample(clip, 16000, 8000), 8000, 16000),
    "louder": lambda clip: np.clip(2 * clip, -1, 1),
    "quieter": lambda clip: (np.round(16384 * clip) / 32768).astype(np.float32),
    "mp3": lambda clip: recoded(clip, "MP3"),
    "ogg": lambda clip: recoded(clip, "OGG"),
    "trimmed": trimmed,
    "padded": lambda clip: np.pad(clip, (5000, 3333)),
    "mp3, quieter, trimmed": lambda clip: trimmed(recoded(clip / 2, "MP3")),
}


@pytest.fixture(scope="module")
def clips(ravdess: Path) -> tuple[list[str], list[Samples]]:
    """All 1,440 clips of the real RAVDESS, by name."""
    paths = sorted(ravdess.glob("Actor_*/*.flac"))
    return [path.stem for path in paths], [decode(path).samples for path in paths]


@pytest.fixture(scope="module")
def known(clips: tuple[list[str], list[Samples]]) -> pd.DataFrame:
    return frame(clips[1])


def test_of_all_originals_only_the_known_pair_is_one_recording(
    clips: tuple[list[str], list[Samples]], known: pd.DataFrame
) -> None:
    found = [(clips[0][i], clips[0][j]) for i, j in near_identical(known)]
    assert found == [("03-01-03-01-02-01-07", "03-01-03-01-02-02-07")]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(
    change: str, clips: tuple[list[str], list[Samples]], known: pd.DataFrame
) -> None:
    picked = np.random.default_rng(0).choice(len(known), PICKED, replace=False)
    copies = frame([CHANGES[change](clips[1][i]).astype(np.float32) for i in picked])
    pairs = near_identical(pd.concat([known, copies], ignore_index=True))
    expected = {(int(i), len(known) + n) for n, i in enumerate(picked)}
    assert expected <= set(pairs)
    assert {pair for pair in pairs if pair[1] >= len(known)} == expected


def test_clips_without_sound_are_like_no_other() -> None:
    tick = np.zeros(16000, dtype=np.float32)
    tick[8000] = 0.5
    silent = frame([np.zeros(16000, dtype=np.float32)] * 3 + [tick, tick])
    assert list(silent["trimmed_s"])[:3] == [0, 0, 0]
    assert near_identical(silent) == []
    assert near_identical(silent[:0]) == []


def test_a_large_group_of_copies_is_connected() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (3, 128), dtype=np.uint8)
    table = pd.DataFrame({"fingerprint": [codes[i % 3].tobytes() for i in range(300)], "trimmed_s": 2.0})
    pairs = near_identical(table)
    group = list(range(300))
    for i, j in pairs:
        assert (j - i) % 3 == 0
        group = [group[i] if root == group[j] else root for root in group]
    assert len(set(group)) == 3
    assert pairs == sorted(set(pairs))


def test_a_hundred_thousand_fingerprints_take_seconds() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (100_000, 128), dtype=np.uint8)
    codes[77_777] = codes[5]
    codes[77_777, 3] ^= 0b1111
    table = pd.DataFrame({"fingerprint": [row.tobytes() for row in codes], "trimmed_s": rng.uniform(1, 5, 100_000)})
    table.loc[77_777, "trimmed_s"] = table.loc[5, "trimmed_s"]
    begin = time.perf_counter()
    assert near_identical(table) == [(5, 77_777)]
    assert time.perf_counter() - begin < 10
