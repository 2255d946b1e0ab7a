"""`train_cnn`: the CNN for 40 epochs on real RAVDESS from its files, against decoding and librosa's mel for each item.

The same network with the same initial weights and augmentation, batches of the same size, the same optimiser on both
sides. Also the seconds until dev UAR .55 of each. `--epochs N --rounds N` for less or more; with less than 40 epochs
the learning rate falls sooner, and the seconds until .55 are another schedule's.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.config import load_config
from ser_tasks.models.cnn import Cnn
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.fit import FitOptions, fit
from tests.benchmarks import naive_cnn
from tests.benchmarks.cnn_ravdess import LABELS
from tests.benchmarks.common import finish, pack_ravdess, packed_ravdess, ravdess_clips, ravdess_examples

BARS = {"naive": 1.7}
TRAIN, DEV = list(range(1, 17)), list(range(17, 21))
GOOD = 0.55
NEVER = math.nan
RECIPE = load_config("ravdess").cnn


class Clock:
    """Seconds since it was made; notes when the dev UAR first was good."""

    def __init__(self, name: str) -> None:
        self.name, self.begin, self.reached = name, time.perf_counter(), NEVER

    def seconds(self) -> float:
        """Until now."""
        return time.perf_counter() - self.begin

    def see(self, dev_uar: float) -> None:
        """Take the dev UAR of an epoch."""
        print(f"{self.name}: dev UAR {dev_uar:.3f} after {self.seconds():.0f} s", file=sys.stderr)
        if dev_uar >= GOOD and math.isnan(self.reached):
            self.reached = self.seconds()


def new_model() -> Cnn:
    """The same weights every time."""
    model = build_model(ModelSpec("cnn", RECIPE.options.model_dump(mode="json"), LABELS))
    assert isinstance(model, Cnn)
    return model


def clips_of(actors: list[int]) -> list[tuple[Path, int]]:
    """File and label of each clip."""
    return [(path, emotion) for path, actor, emotion in ravdess_clips() if actor in actors]


@torch.inference_mode()
def check_same(clips: int = 8) -> None:
    """Both sides give the same logits before they train, but for librosa's way of decoding."""
    model, audio = new_model().eval(), packed_ravdess()
    chosen = clips_of([1])[:clips]
    mels, frames, _ = naive_cnn.collate(list(map(naive_cnn.MelDataset(chosen, RECIPE.options.n_mels).__getitem__,
                                                 range(clips))))  # fmt: skip
    theirs = model.forward_features(mels, frames)
    for (path, _), logits in zip(chosen, theirs, strict=True):
        waveform = torch.from_numpy(audio.waveform(audio.index_of(path.stem)))[None]
        assert torch.allclose(model(waveform, torch.tensor([waveform.shape[1]]))[0], logits, atol=0.05)


def ours(epochs: int) -> tuple[float, float]:
    """Seconds in all, decoding included, and until dev UAR .55."""
    clock = Clock("ours")
    with tempfile.TemporaryDirectory() as folder:
        audio: PackedAudio = pack_ravdess(Path(folder))
        options = FitOptions(**RECIPE.fit.model_dump(mode="json") | {"epochs": epochs})
        sides = [ravdess_examples(actors, audio) for actors in (TRAIN, DEV)]
        fit(
            new_model(),
            *sides,
            LABELS,
            options,
            cache_folder=Path(folder) / "features",
            on_epoch=lambda epoch: clock.see(epoch.dev_uar),
        )
    return clock.seconds(), clock.reached


def naive(epochs: int) -> tuple[float, float]:
    """The same of the loop that most people write."""
    clock, model, recipe = Clock("naive"), new_model(), RECIPE.fit
    data = clips_of(TRAIN), clips_of(DEV)
    torch.manual_seed(0)
    naive_cnn.train(
        model.forward_features, model, data, RECIPE.options.n_mels, recipe.batch_size, recipe.learning_rate, epochs,
        clock.see,
    )  # fmt: skip
    return clock.seconds(), clock.reached


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1, help="the epochs of a round are alike, and a round is minutes")
    given = parser.parse_args()
    for path, _, _ in ravdess_clips():
        path.read_bytes()  # neither side pays for the disk
    check_same()
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "naive": []}
    for _ in range(given.rounds):
        found["ours"].append(ours(given.epochs))
        found["naive"].append(naive(given.epochs))
    figures: dict[str, float] = {"epochs": given.epochs, "rounds": given.rounds}
    for name, rounds in found.items():
        figures[f"{name}_s"] = statistics.median(seconds for seconds, _ in rounds)
        reached = statistics.median(good for _, good in rounds)
        if not math.isnan(reached):
            figures[f"{name}_until_uar_55_s"] = reached
    return finish("train_cnn", figures, {"naive": figures["naive_s"] / figures["ours_s"]}, BARS)


if __name__ == "__main__":
    sys.exit(main())
