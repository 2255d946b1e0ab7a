"""Step `spectra`: mean log-mel spectrum of every corpus that is trained or tested on -> spectra.json."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch

from ser_tasks.audio.logmel import LogMel, LogMelOptions
from ser_tasks.audio.packed import FULL_SCALE
from ser_tasks.audio.shards import read_shards

BANDS = 40
SPEAKERS = 24
"""Of a corpus at most so many speakers are listened to, evenly spread: more hardly change its mean."""
DB = 10 / math.log(10)  # from natural logarithm of power to decibel


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: audio/<corpus>. Params: trained (name of the corpus that is trained on)."""
    spectra = {name.removeprefix("audio/"): mean_spectrum(shards) for name, shards in inputs.items()}
    (out / "spectra.json").write_text(json.dumps({"trained": params["trained"], "spectra": spectra}, indent=1))


def mean_spectrum(shards: Path) -> list[float]:
    """Mean over clips of the mean level of each mel band, in dB of full scale [40]."""
    names = sorted(unquote(path.stem) for path in shards.glob("*.parquet") if path.stem != "fingerprints")
    step = max(1, len(names) // SPEAKERS)
    logmel = LogMel(LogMelOptions(n_mels=BANDS))
    found = []
    for _, samples in read_shards(shards, names[::step][:SPEAKERS]):
        waveform = torch.from_numpy(samples.astype(np.float32) / FULL_SCALE)[None]
        features, _ = logmel(waveform, torch.tensor([waveform.shape[1]]))
        found.append(features[0].mean(dim=1).numpy() * DB)
    return [round(float(value), 3) for value in np.mean(found, axis=0)]
