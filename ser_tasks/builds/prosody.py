"""Step `prosody`: audio shards -> prosody.parquet, one row an utterance."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ser_tasks.audio.shards import read_shards
from ser_tasks.rudeness.prosody import measure_prosody


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Inputs: audio."""
    clips = ((name, samples.astype(np.float32) / np.float32(32768)) for name, samples in read_shards(inputs["audio"]))
    measure_prosody(clips).to_parquet(out / "prosody.parquet", index=False)
