"""`train_wav2vec2`: audio-seconds per second of fine-tuning a wav2vec2-base, against transformers' Trainer.

Frozen feature encoder, clips of CREMA-D's lengths, batches of 8, on the CPU's cores. Ours: batches of similar length,
convolutional features cached (filling the cache counts, spread over `EPOCHS`), bfloat16 where the CPU has it; in
float32 as a second figure. Random weights: how long a step takes does not depend on them.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.device import has_bf16
from ser_tasks.training.fit import Examples, FitOptions, fit
from tests.benchmarks.common import finish
from tests.benchmarks.embed import BASE, crema_d_lengths, speech_of
from tests.benchmarks.naive_trainer import audio_seconds_per_s

CLIPS, BATCH, ROUNDS = 96, 8, 2
EPOCHS = 10
"""Over which the filling of the cache is spread; a fine-tuning has about 15."""
LABELS = ["angry", "disgust", "fear", "happy", "neutral", "sad"]


def ours(train: Examples, dev: Examples, precision: str) -> float:
    """Audio-seconds per second: an epoch that finds the cache filled, and its part of the filling."""
    spec = ModelSpec("wav2vec2", {"encoder": {"random": BASE}}, LABELS)
    options = FitOptions(
        epochs=2, batch_size=BATCH, batch_seconds=1e9, learning_rate=1e-3, encoder_learning_rate=1e-5,
        precision=precision, device="cpu",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as cache:
        begin = time.perf_counter()
        history = fit(build_model(spec), train, dev, LABELS, options, cache_folder=Path(cache))
        filling = time.perf_counter() - begin - sum(epoch.seconds for epoch in history)
    epoch_s = train.seconds / history[-1].audio_seconds_per_s
    return train.seconds / (epoch_s + max(0.0, filling) / EPOCHS)


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        audio = speech_of(crema_d_lengths(CLIPS + BATCH), Path(folder))
        rows = [(i, i % len(LABELS)) for i in range(CLIPS + BATCH)]
        train, dev = Examples(audio, rows[:CLIPS]), Examples(audio, rows[CLIPS:])
        sides = {"naive": lambda: audio_seconds_per_s(train, len(LABELS), BATCH, CLIPS // BATCH)}
        sides["float32"] = lambda: ours(train, dev, "float32")
        if has_bf16(torch.device("cpu")):
            sides["bf16"] = lambda: ours(train, dev, "bf16")
        found: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, work in sides.items():
                found[name].append(work())
                print(f"{name}: {found[name][-1]:.2f} s of audio a second", file=sys.stderr)
    speeds = {name: statistics.median(values) for name, values in found.items()}
    figures = {f"{name}_audio_s_per_s": speed for name, speed in speeds.items()} | {"cache_spread_over_epochs": EPOCHS}
    best = "bf16" if "bf16" in speeds else "float32"
    ratios = {"naive": speeds[best] / speeds["naive"], "float32": speeds["float32"] / speeds["naive"]}
    return finish("train_wav2vec2", figures, ratios, {"naive": 2.2 if best == "bf16" else 1.4, "float32": 1.4})


if __name__ == "__main__":
    sys.exit(main())
