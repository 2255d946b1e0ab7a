"""Small corpora for the tests of the inspection: made ones, and the real RAVDESS."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ser_tasks.corpora.readers import load_description, read_corpus
from ser_tasks.corpora.source import open_source
from ser_tasks.data.manifest import SCHEMA, scan

ABOUT = {
    "corpus": "made", "title": "A made corpus", "licence": "CC0 1.0", "citation": "Nobody 2024",
    "commercial_use": True, "notes": ["the ages are made up"],
}  # fmt: skip


def scanned(root: Path) -> pd.DataFrame:
    """The manifest of RAVDESS."""
    source = open_source(root)
    return scan("ravdess", read_corpus(load_description("ravdess"), source), source).manifest


def listing(*rows: tuple[str, str]) -> pd.DataFrame:
    """Rejected, left out or missing files."""
    return pd.DataFrame(rows, columns=["path", "reason"])


def made_corpus(
    speakers: int, emotions: tuple[str, ...] = ("angry", "happy", "neutral", "sad"), each: int = 12, seed: int = 0
) -> pd.DataFrame:
    """A manifest in one format, whose levels and durations say nothing of the label."""
    rng = np.random.default_rng(seed)
    rows = [(f"s{s:02d}", emotion, take) for s in range(speakers) for emotion in emotions for take in range(each)]
    frame = pd.DataFrame(rows, columns=["speaker_id", "emotion", "take"])
    duration = rng.uniform(1.5, 3.5, len(frame))
    number = frame["speaker_id"].str[1:].astype(int)
    frame = frame.assign(
        utterance_id=[f"{s}_{e}_{t:02d}" for s, e, t in rows],
        sex=np.where(number % 2, "female", "male"),
        age=20 + number,
        sentence_id=(frame["take"] % 2).astype(str),
        path=[f"{s}_{e}_{t:02d}.wav" for s, e, t in rows],
        sample_rate_hz=16000,
        channels=1,
        codec="WAV/PCM_16",
        duration_s=duration,
        bytes=(44 + 32000 * duration).astype(int),
        rms_db=rng.normal(-30, 3, len(frame)),
        peak=rng.uniform(0.3, 0.9, len(frame)),
        dc_offset=0.0,
        clipped_fraction=0.0,
        silent_fraction=0.1,
    )
    typed: pd.DataFrame = pa.Table.from_pandas(frame.reindex(columns=SCHEMA.names), SCHEMA).to_pandas()
    return typed
