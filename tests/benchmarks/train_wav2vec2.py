"""`train_wav2vec2`: audio-seconds per second of fine-tuning a wav2vec2-base, against transformers' Trainer.

Frozen feature encoder, clips of CREMA-D's lengths, batches of 8, on the CPU's cores; the same network with the same
initial weights on both sides. Ours: batches of similar length, convolutional features cached (filling the cache counts,
spread over `EPOCHS`), bfloat16 where the CPU has it; in float32 as a second figure. Random weights: how long a step
takes does not depend on them. `--clips N --rounds N` for less.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.device import Precision, has_bf16
from ser_tasks.training.fit import Examples, FitOptions, fit
from tests.benchmarks.common import finish
from tests.benchmarks.embed import BASE, crema_d_lengths, speech_of
from tests.benchmarks.naive_trainer import audio_seconds_per_s, the_same

BATCH, DEV = 8, 8
BARS_BF16, BARS_FLOAT32 = {"naive": 2.2, "float32": 1.4}, {"naive": 1.4}
EPOCHS = 10
"""Over which the filling of the cache is spread; a fine-tuning has about 15."""
LABELS = ["angry", "disgust", "fear", "happy", "neutral", "sad"]


def new_model() -> Any:
    """wav2vec2-base's shape with a linear head; the same weights every time."""
    return build_model(ModelSpec("wav2vec2", {"encoder": {"random": BASE}, "dropout": 0.0}, LABELS))


def check_same(train: Examples) -> None:
    """Both sides give a clip the same logits before they train."""
    ours, waveform = new_model().eval(), torch.from_numpy(train.audio.waveform(0))[None]
    with torch.inference_mode():
        normalised = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()
        theirs = the_same(ours, len(LABELS)).eval()(normalised).logits
        assert torch.allclose(ours(waveform, torch.tensor([waveform.shape[1]])), theirs, atol=1e-4)


def ours(train: Examples, dev: Examples, precision: Precision) -> float:
    """Audio-seconds per second: an epoch that finds the cache filled, and its part of all that came before the first.

    What came before is more than filling the cache with the clips of both sides, so this is a little too low.
    """
    options = FitOptions(
        epochs=2, batch_size=BATCH, batch_seconds=1e9, learning_rate=1e-3, encoder_learning_rate=1e-5,
        precision=precision, device="cpu",
    )  # fmt: skip
    model = new_model()
    with tempfile.TemporaryDirectory() as cache:
        begin = time.perf_counter()
        history = fit(model, train, dev, LABELS, options, cache_folder=Path(cache))
        before = time.perf_counter() - begin - sum(epoch.seconds for epoch in history)
    epoch_s = train.seconds / history[-1].audio_seconds_per_s
    return train.seconds / (epoch_s + before / EPOCHS)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        audio = speech_of(crema_d_lengths(given.clips + DEV), Path(folder))
        rows = [(i, i % len(LABELS)) for i in range(given.clips + DEV)]
        train, dev = Examples(audio, rows[: given.clips]), Examples(audio, rows[given.clips :])
        check_same(train)
        sides = {"naive": lambda: audio_seconds_per_s(the_same(new_model(), len(LABELS)), train, BATCH)}
        sides["float32"] = lambda: ours(train, dev, "float32")
        if has_bf16(torch.device("cpu")):
            sides["bf16"] = lambda: ours(train, dev, "bf16")
        found: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(given.rounds):
            for name, work in sides.items():
                found[name].append(work())
                print(f"{name}: {found[name][-1]:.2f} s of audio a second", file=sys.stderr)
    speeds = {name: statistics.median(values) for name, values in found.items()}
    figures = {f"{name}_audio_s_per_s": speed for name, speed in speeds.items()}
    figures |= {"clips": given.clips, "rounds": given.rounds, "cache_spread_over_epochs": EPOCHS}
    if "bf16" not in speeds:
        return finish("train_wav2vec2", figures, {"naive": speeds["float32"] / speeds["naive"]}, BARS_FLOAT32)
    ratios = {"naive": speeds["bf16"] / speeds["naive"], "float32": speeds["float32"] / speeds["naive"]}
    return finish("train_wav2vec2", figures, ratios, BARS_BF16)


if __name__ == "__main__":
    sys.exit(main())
