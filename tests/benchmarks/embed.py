"""`embed`: embeddings of 200 clips of CREMA-D's lengths by a wav2vec2-base, against a one-by-one float32 loop.

The same weights (random ones) and the same device on both sides. Ours in the precision that the device computes
quickly, in batches of similar length. `--clips N` for less.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import numpy as np

from ser_tasks.audio.packed import SAMPLE_RATE_HZ, PackedAudio, write_packed
from ser_tasks.inference.predict import embed_packed
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.device import choose_device
from tests.benchmarks.common import alternate, finish, packed_ravdess
from tests.benchmarks.naive_embed import one_by_one
from tests.conftest import SHARED_CORPORA

ROUNDS = 3
BARS = {"cpu": 1.8, "cuda": 15.0}
LEAST_COSINE = 0.999
BASE = {"hidden_size": 768, "layers": 12, "heads": 12, "feed_forward_size": 3072, "convolution_channels": 512}
"""wav2vec2-base's shape, with random weights: how long it takes does not depend on them."""


def crema_d_lengths(count: int) -> list[int]:
    """Samples of clips drawn from the official list."""
    with (SHARED_CORPORA / "crema_d" / "crema_d_official.csv").open(newline="") as file:
        lengths = [(int(row["bytes"]) - 44) // 2 for row in csv.DictReader(file)]
    return [lengths[i] for i in np.random.default_rng(0).choice(len(lengths), count, replace=False)]


def speech_of(lengths: list[int], folder: Path) -> PackedAudio:
    """Real speech cut to these lengths."""
    speech = packed_ravdess().samples
    starts = np.random.default_rng(1).integers(0, len(speech) - max(lengths), len(lengths))
    items = ((f"clip{i}", np.array(speech[s : s + n])) for i, (s, n) in enumerate(zip(starts, lengths, strict=True)))
    write_packed(folder, items)
    return PackedAudio.open(folder)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=200)
    clips = parser.parse_args().clips
    lengths = crema_d_lengths(clips)
    with tempfile.TemporaryDirectory() as folder:
        audio = speech_of(lengths, Path(folder))
        spec = ModelSpec("probe", {"encoder": {"random": BASE}}, ["a", "b"])
        model, same = build_model(spec).eval(), build_model(spec).eval()
        device = choose_device("auto")
        results: dict[str, np.ndarray] = {}
        everything = list(range(len(audio)))

        def ours() -> None:
            results["ours"] = embed_packed(model, audio, everything, precision="auto")

        def naive() -> None:
            results["naive"] = one_by_one(same.to(device), audio, device)

        seconds = alternate({"naive": naive, "ours": ours}, ROUNDS)
    one, other = results["naive"].astype(np.float64), results["ours"].astype(np.float64)
    cosine = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    audio_s = sum(lengths) / SAMPLE_RATE_HZ
    figures = {
        "clips": clips,
        "naive_audio_s_per_s": audio_s / seconds["naive"],
        "ours_audio_s_per_s": audio_s / seconds["ours"],
        "least_cosine": float(cosine.min()),
        "on_a_gpu": device.type == "cuda",
    }
    ratios = {"naive": seconds["naive"] / seconds["ours"]}
    return finish("embed", figures, ratios, {"naive": BARS[device.type]}, figures["least_cosine"] >= LEAST_COSINE)


if __name__ == "__main__":
    sys.exit(main())
