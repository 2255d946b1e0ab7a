"""The rows of a split, joined with packed audio: shared by the builds that train, predict and embed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from ser_tasks.audio.measure import measure_samples
from ser_tasks.audio.packed import SAMPLE_RATE_HZ, PackedAudio
from ser_tasks.audio.shards import unpack
from ser_tasks.data.conditions import conditions, write_conditions
from ser_tasks.data.learnt import learnt_from, read_learnt, sketch, write_learnt
from ser_tasks.training.fit import Examples


@contextmanager
def unpacked(shards: Path, speakers: Sequence[str] | None = None) -> Iterator[PackedAudio]:
    """Shards as packed audio in a temporary folder; only these speakers, or all."""
    with TemporaryDirectory(prefix="ser-audio-") as folder:
        yield unpack(shards, Path(folder), speakers)


def rows_to_fit(rows: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train and dev rows, out of the step `rows`, which hands over no others."""
    frame = pd.read_parquet(rows / "rows.parquet")
    return frame[frame["role"] == "train"], frame[frame["role"] == "dev"]


def examples(audio: PackedAudio, rows: pd.DataFrame, labels: Sequence[str]) -> Examples:
    """Rows of a split as clips with targets."""
    return Examples(
        audio,
        [
            (audio.index_of(name), labels.index(label))
            for name, label in zip(rows["utterance_id"], rows["label"], strict=True)
        ],
    )


def keep_learnt(inputs: Mapping[str, Path], rows: Sequence[pd.DataFrame], audio: PackedAudio, out: Path) -> None:
    """Write what a training learns from into the model's folder.

    Args:
        inputs: Of the training: audio (shards), and start where it begins with an earlier model's weights.
        rows: Train and dev rows.
        audio: The shards, unpacked.
        out: The model's folder.
    """
    earlier = read_learnt(inputs["start"]) if "start" in inputs else None
    sketches = sketch(pd.concat(rows, ignore_index=True), audio, inputs["audio"])
    write_learnt(out, learnt_from(sketches, earlier))
    clips = [audio.index_of(name) for part in rows for name in part["utterance_id"]]
    measured = [measure_samples(audio.samples[audio.offsets[i] : audio.offsets[i + 1]], SAMPLE_RATE_HZ) for i in clips]
    write_conditions(out, conditions(pd.DataFrame(measured)))
