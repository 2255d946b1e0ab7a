"""What most people write to look through a folder of speech: the naive side of the benchmark `ingest`."""

from pathlib import Path

import librosa
import numpy as np


def look_through(folder: Path) -> list[tuple[str, float, float]]:
    """(name, duration in seconds, RMS) of every wav."""
    rows = []
    for path in sorted(folder.glob("*.wav")):
        samples, rate = librosa.load(path, sr=None)
        duration = librosa.get_duration(y=samples, sr=rate)
        frames = librosa.feature.rms(y=samples)
        rms = float(np.sqrt(np.mean(frames**2)))
        rows.append((path.stem, duration, rms))
    return rows
