"""`train_cnn`: the CNN for 40 epochs on real RAVDESS from its files, against decoding and librosa's mel for each item.

The same network, augmentation, batch size and optimiser on both sides; `--epochs N` for less. Also the seconds until
dev UAR .55 of each.
"""

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.config import load_config
from ser_tasks.models.cnn import Cnn
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.fit import FitOptions, fit
from tests.benchmarks import naive_cnn
from tests.benchmarks.cnn_ravdess import LABELS
from tests.benchmarks.common import finish, pack_ravdess, ravdess_clips, ravdess_examples

BARS = {"naive": 1.7}
TRAIN, DEV = list(range(1, 17)), list(range(17, 21))
GOOD = 0.55
NEVER = float("nan")


def ours(epochs: int) -> tuple[float, float]:
    """Seconds in all, decoding included, and until dev UAR .55."""
    recipe = load_config("ravdess").cnn
    begin, reached = time.perf_counter(), [NEVER]
    with tempfile.TemporaryDirectory() as folder:
        audio: PackedAudio = pack_ravdess(Path(folder))
        model = build_model(ModelSpec("cnn", recipe.options.model_dump(mode="json"), LABELS))
        options = FitOptions(**recipe.fit.model_dump(mode="json") | {"epochs": epochs})

        def seen(score: float) -> None:
            if score >= GOOD and math.isnan(reached[0]):
                reached[0] = time.perf_counter() - begin

        sides = [ravdess_examples(actors, audio) for actors in (TRAIN, DEV)]
        fit(model, *sides, LABELS, options, on_epoch=lambda epoch: seen(epoch.dev_uar))
    return time.perf_counter() - begin, reached[0]


def theirs(epochs: int) -> tuple[float, float]:
    """The same of the loop that most people write."""
    recipe = load_config("ravdess").cnn
    begin, reached = time.perf_counter(), [NEVER]
    model = build_model(ModelSpec("cnn", recipe.options.model_dump(mode="json"), LABELS))
    assert isinstance(model, Cnn)

    def network(mels: Tensor, frames: Tensor) -> Tensor:
        features, counts = model.augment(mels, frames)
        features = features[:, None]
        for block in model.blocks:
            features, counts = block(features, counts)
        spread = torch.cat([features.mean(dim=(2, 3)), features.mean(dim=2).std(dim=2)], dim=1)
        return model.classifier(model.dropout(spread))

    def seen(score: float) -> None:
        print(f"naive: dev UAR {score:.3f}", file=sys.stderr)
        if score >= GOOD and math.isnan(reached[0]):
            reached[0] = time.perf_counter() - begin

    clips = [[(path, emotion) for path, actor, emotion in ravdess_clips() if actor in part] for part in (TRAIN, DEV)]
    n_mels, size = recipe.options.n_mels, recipe.fit.batch_size
    naive_cnn.train(network, model, (clips[0], clips[1]), n_mels, size, epochs, seen)
    return time.perf_counter() - begin, reached[0]


def main() -> int:
    """Measure and print; one round of each: a round is minutes, and its epochs are alike."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=40)
    epochs = parser.parse_args().epochs
    for path, _, _ in ravdess_clips():
        path.read_bytes()  # neither side pays for the disk
    seconds, reached = ours(epochs)
    naive_s, naive_reached = theirs(epochs)
    figures = {
        "epochs": epochs, "ours_s": seconds, "naive_s": naive_s,
        "ours_until_uar_55_s": reached, "naive_until_uar_55_s": naive_reached,
    }  # fmt: skip
    figures = {name: value for name, value in figures.items() if not math.isnan(value)}
    return finish("train_cnn", figures, {"naive": naive_s / seconds}, BARS)


if __name__ == "__main__":
    sys.exit(main())
