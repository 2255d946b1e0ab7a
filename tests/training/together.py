"""A training for one process or several: `torchrun --nproc-per-node 2 -m tests.training.together NAME ACCUMULATE`."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ser_tasks.live import training_under
from ser_tasks.materialise import materialise
from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.store import Store
from ser_tasks.training.fit import fit
from tests.training.kill_me import LABELS, OPTIONS, tones

SHAPE = {"hidden_size": 16, "layers": 1, "heads": 2, "feed_forward_size": 16, "convolution_channels": 8}
SPECS = {
    "cnn": ModelSpec("cnn", {"channels": [8, 8, 8, 8]}, LABELS),
    "wav2vec2": ModelSpec("wav2vec2", {"encoder": {"random": SHAPE}}, LABELS),
}


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path, **extras: Any) -> None:
    """A build that trains. 25 clips in batches of 8: the last batch has one clip, and the second process none of it."""
    train, dev = tones(out / "packed")
    train = replace(train, rows=[*train.rows, train.rows[0]])
    options = replace(OPTIONS, epochs=3, accumulate=params["accumulate"], precision="float32")
    model = build_model(SPECS[params["architecture"]])
    report = extras.pop("on_epoch", print)
    fit(model, train, dev, LABELS, options, on_epoch=lambda metrics: report(asdict(metrics)), **extras)
    save_model(out, model, SPECS[params["architecture"]])


def train(architecture: str, accumulate: int, store: Store) -> str:
    """Train through the store, as a step does; the reference."""
    params = {"architecture": architecture, "accumulate": accumulate}
    built = materialise(
        store, "train", 1, "tests.training.together:build", params, {},
        by="test", leased=True, during=partial(training_under, store=store, experiment="none", name=architecture),
    )  # fmt: skip
    return str(built.ref)


if __name__ == "__main__":
    for name in SPECS:
        print("ref", train(name, int(sys.argv[1]), Store.from_env()))
