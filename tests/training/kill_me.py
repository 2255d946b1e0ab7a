"""A training in a process of its own, for tests that kill it.

It goes through the store as a step does. `when` says at what moment the process kills itself: "batch 13" (counted from
the start of this process), "epoch 2" (after its checkpoint), "blob 4" (with half of that checkpoint file's first block
sent), "visible 2" (before that checkpoint becomes visible), "publish 1" (trained, before the model is out).
"""

import http.client
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.checkpoint_store import StoreCheckpoints
from ser_tasks.errors import SerError
from ser_tasks.materialise import materialise
from ser_tasks.models.cnn import Cnn
from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.store import Store
from ser_tasks.training.fit import EpochMetrics, Examples, FitOptions, fit

LABELS = ["low", "middle", "high"]
OPTIONS = FitOptions(epochs=5, batch_size=8, learning_rate=3e-3, device="cpu", threads=1, seed=3)


def tones(folder: Path, clips: int = 36) -> tuple[Examples, Examples]:
    """Tones of three heights in noise, of unequal lengths; a third of them to select by."""
    generator = np.random.default_rng(0)
    items = []
    for i in range(clips):
        time = np.arange(generator.integers(4_000, 8_000)) / 16_000
        hertz = (200, 700, 2_500)[i % 3] * generator.uniform(0.95, 1.05)
        samples = 0.3 * np.sin(2 * np.pi * hertz * time) + 0.02 * generator.normal(size=len(time))
        items.append((f"tone{i}", (samples * 32767).astype(np.int16)))
    write_packed(folder, items)
    audio = PackedAudio.open(folder)
    rows = [(i, i % 3) for i in range(clips)]
    return Examples(audio, rows[: clips * 2 // 3]), Examples(audio, rows[clips * 2 // 3 :])


class Countdown:
    """Kills the process at the n-th of the moments of one kind."""

    def __init__(self) -> None:
        self.kind, self.left = "never", 0

    def start(self, when: str) -> None:
        self.kind, number = when.split()
        self.left = int(number)

    def reached(self, kind: str) -> bool:
        self.left -= kind == self.kind
        return kind == self.kind and self.left == 0

    def __call__(self, kind: str) -> None:
        if self.reached(kind):
            os.kill(os.getpid(), signal.SIGKILL)


countdown = Countdown()
trained: list[int] = []


class MortalCnn(Cnn):
    """Counts batches."""

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        if self.training:
            countdown("batch")
        return super().forward(waveforms, lengths)


class MortalStore(Store):
    """Counts what is put."""

    def put(self, key: str, body: Any, **conditions: str) -> bool:
        if key.startswith("blobs/") and countdown.reached("blob"):
            http.client.HTTPConnection.send = send_half_and_die  # type: ignore[method-assign]
        if key.startswith("checkpoints/"):
            countdown("visible")
        if key.startswith("artifacts/"):
            countdown("publish")
        return super().put(key, body, **conditions)


def send_half_and_die(connection: http.client.HTTPConnection, data: Any) -> None:
    """In place of `send`."""
    if isinstance(data, bytes) and len(data) > 1000 and b"HTTP/1.1" not in data[:2000]:
        connection.sock.sendall(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    connection.sock.sendall(data)


def build(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path, **extras: Any) -> None:
    """A build that trains."""
    train, dev = tones(out / "packed")
    spec = ModelSpec("cnn", {"channels": [8, 8, 8, 8]}, LABELS)
    model = build_model(spec)
    model.__class__ = MortalCnn

    def on_epoch(metrics: EpochMetrics) -> None:
        trained.append(metrics.epoch)
        countdown("epoch")

    fit(model, train, dev, LABELS, OPTIONS, on_epoch=on_epoch, **extras)
    model.__class__ = Cnn
    save_model(out, model, spec)


@contextmanager
def during(key: str, store: Store) -> Iterator[dict[str, Any]]:
    """Checkpoints alone."""
    checkpoints = StoreCheckpoints(store, key)
    yield {"checkpoints": checkpoints}
    checkpoints.clear()


def run(name: str, when: str, env: Mapping[str, str], answer: Any) -> None:
    """Train under the key of this name; answers (reference, epochs trained now) or the error."""
    os.environ.update(env)
    countdown.start(when)
    store = MortalStore.from_env()
    try:
        built = materialise(
            store, "train", 1, "tests.training.kill_me:build", {"name": name}, {},
            by="test", leased=True, during=lambda key: during(key, store),
        )  # fmt: skip
        answer.put((str(built.ref), trained))
    except SerError as error:
        answer.put((repr(error), trained))
