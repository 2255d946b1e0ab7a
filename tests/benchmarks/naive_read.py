"""What most data loaders do for every epoch: the naive side of the benchmark `pack`."""

from collections.abc import Iterator
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt


def clips_of(folder: Path) -> Iterator[npt.NDArray[np.float32]]:
    """The samples of every wav, at its own rate."""
    for path in sorted(folder.rglob("*.wav")):
        samples, _ = librosa.load(path, sr=None)
        yield samples
