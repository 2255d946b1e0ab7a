"""How fast training is on a GPU: `python -m tests.gpu.throughput [--tiny]`, one JSON line a measurement.

Needs torch, torchaudio, transformers and accelerate alone; the corpus is noise of CREMA-D's lengths, read through a
memory map. Both sides train the same network (wav2vec2-base's configuration, random weights, frozen feature
encoder, batches of the same size), in turn, and of each only what follows its first epoch or steps counts, and the
filling of a cache. The other side is transformers' Trainer as its audio-classification example uses it: random order,
padded to the longest clip of the batch. `--tiny` is a smoke test on a CPU whose figures mean nothing.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ser_tasks.audio.packed import SAMPLE_RATE_HZ, PackedAudio, write_packed
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.fit import Examples, FitOptions, fit

EPOCHS = 10
"""Over which the filling of the cache is spread; a fine-tuning has about 15."""
LABELS = ["angry", "disgust", "fear", "happy", "neutral", "sad"]
CREMA_D_SECONDS = (
    1.27, 1.84, 1.94, 2.04, 2.1, 2.2, 2.27, 2.3, 2.37, 2.44, 2.5,
    2.54, 2.6, 2.67, 2.74, 2.84, 2.94, 3.04, 3.17, 3.47, 5.0,
)  # fmt: skip
"""Quantiles 0, .05, ... 1 of the 7,442 official files' durations."""


@dataclass(frozen=True)
class Size:
    """How much is measured; `clips` to train on, as many again / 8 as dev."""

    encoder: dict[str, int]
    channels: tuple[int, int, int, int]
    clips: int
    cnn_clips: int
    batch_size: int
    cnn_batch_size: int
    epochs: int
    steps: int
    rounds: int


FULL = Size(
    {"hidden_size": 768, "layers": 12, "heads": 12, "feed_forward_size": 3072, "convolution_channels": 512},
    (32, 64, 128, 256),
    clips=2048, cnn_clips=7442, batch_size=32, cnn_batch_size=256, epochs=3, steps=60, rounds=2,
)  # fmt: skip
TINY = Size(
    {"hidden_size": 16, "layers": 1, "heads": 2, "feed_forward_size": 16, "convolution_channels": 8},
    (8, 8, 8, 8),
    clips=16, cnn_clips=16, batch_size=4, cnn_batch_size=8, epochs=2, steps=4, rounds=1,
)  # fmt: skip


@contextmanager
def corpus(clips: int) -> Iterator[tuple[Examples, Examples]]:
    """Noise of CREMA-D's lengths."""
    generator = np.random.default_rng(0)
    seconds = np.interp(generator.random(clips), np.linspace(0, 1, len(CREMA_D_SECONDS)), CREMA_D_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        noise = (generator.normal(size=int(SAMPLE_RATE_HZ * max(seconds)) + clips) * 3000).astype(np.int16)
        items = [(f"clip{i}", noise[i : i + int(s * SAMPLE_RATE_HZ)]) for i, s in enumerate(seconds)]
        write_packed(Path(folder), items)
        audio = PackedAudio.open(Path(folder))
        rows = [(i, i % len(LABELS)) for i in range(clips)]
        yield Examples(audio, rows), Examples(audio, rows[: max(1, clips // 8)])


def ours(
    spec: ModelSpec, pair: tuple[Examples, Examples], options: FitOptions, cached: bool = False
) -> tuple[float, float | None]:
    """Audio seconds a second over the epochs after the first, and the part of the peak that was reached in them.

    With cached features, what comes before the first epoch counts too, spread over `EPOCHS`: filling the cache, and
    more than that.
    """
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        history = fit(build_model(spec), *pair, LABELS, options, cache_folder=Path(folder) if cached else None)
        before = time.perf_counter() - begin - sum(epoch.seconds for epoch in history)
    heard, later = pair[0].seconds, history[1:]
    seconds = statistics.mean(heard / epoch.audio_seconds_per_s for epoch in later) + cached * before / EPOCHS
    used = [epoch.flop_utilisation for epoch in later if epoch.flop_utilisation is not None]
    return heard / seconds, statistics.mean(used) if used else None


def trainers(size: Size, pair: tuple[Examples, Examples], bf16: bool, use_cpu: bool) -> float:
    """Audio seconds a second of transformers' Trainer, from the second quarter of the steps on."""
    from transformers import (
        Trainer,
        TrainerCallback,
        TrainingArguments,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
    )

    shape, train = size.encoder, pair[0]
    config = Wav2Vec2Config(
        hidden_size=shape["hidden_size"], num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"],
        intermediate_size=shape["feed_forward_size"], conv_dim=(shape["convolution_channels"],) * 7,
        num_labels=len(LABELS), layerdrop=0.0, apply_spec_augment=False, classifier_proj_size=shape["hidden_size"],
    )  # fmt: skip
    model = Wav2Vec2ForSequenceClassification(config)
    model.freeze_feature_encoder()
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    seen: list[float] = []  # when each step ended

    def collate(rows: list[int]) -> Any:
        waveforms = [train.audio.waveform(train.rows[row][0]) for row in rows]
        batch = extractor(waveforms, sampling_rate=SAMPLE_RATE_HZ, padding="longest", return_tensors="pt")
        batch["labels"] = torch.tensor([train.rows[row][1] for row in rows])
        return dict(batch)

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seen.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=size.batch_size, max_steps=size.steps,
        bf16=bf16, use_cpu=use_cpu, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        remove_unused_columns=False, learning_rate=3e-5, warmup_steps=1, dataloader_num_workers=0 if use_cpu else 4,
    )  # fmt: skip
    rows: Any = list(range(len(train.rows)))
    Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()]).train()
    first = len(seen) // 4
    clips = (len(seen) - 1 - first) * size.batch_size
    return clips * train.seconds / len(train.rows) / (seen[-1] - seen[first])


def wav2vec2(size: Size, use_cpu: bool) -> list[dict[str, Any]]:
    """Fine-tuning, ours and Trainer's in turn."""
    spec = ModelSpec("wav2vec2", {"encoder": {"random": size.encoder}}, LABELS)
    options = FitOptions(
        epochs=size.epochs, batch_size=size.batch_size, batch_seconds=1e9, learning_rate=1e-3,
        encoder_learning_rate=1e-5, precision="bf16", device="cpu" if use_cpu else "cuda",
    )  # fmt: skip
    found: dict[str, list[float]] = {}
    utilisation: dict[str, float | None] = {}
    with corpus(size.clips) as pair:
        for _ in range(size.rounds):
            for name, compiled, cached in (
                ("ours", False, False),
                ("ours, cached features", False, True),
                ("ours, cached and compiled", True, True),
            ):
                if compiled and use_cpu:
                    continue  # minutes of compilation for nothing
                speed, utilisation[name] = ours(spec, pair, replace(options, compile=compiled), cached)
                found.setdefault(name, []).append(speed)
            for name, bf16 in (("Trainer fp32", False), ("Trainer bf16", True)):
                found.setdefault(name, []).append(trainers(size, pair, bf16, use_cpu))
    against = {name: statistics.median(found[name]) for name in ("Trainer fp32", "Trainer bf16")}
    return [
        {
            "benchmark": "gpu_train_wav2vec2", "side": name, "audio_seconds_per_s": round(statistics.median(speeds), 1),
            "batch_size": size.batch_size, "rounds": len(speeds), "flop_utilisation": utilisation.get(name),
            "ratio_to_trainer_fp32": round(statistics.median(speeds) / against["Trainer fp32"], 3),
            "ratio_to_trainer_bf16": round(statistics.median(speeds) / against["Trainer bf16"], 3),
        }
        for name, speeds in found.items()
    ]  # fmt: skip


def cnn(size: Size, use_cpu: bool, compiled: bool = False) -> list[dict[str, Any]]:
    """Utterances a second of the CNN, its log-mel features and augmentation included."""
    options = FitOptions(
        epochs=size.epochs + 1, batch_size=size.cnn_batch_size, batch_seconds=1e9, precision="bf16",
        device="cpu" if use_cpu else "cuda", compile=compiled,
    )  # fmt: skip
    with corpus(size.cnn_clips) as pair:
        speed, utilisation = ours(ModelSpec("cnn", {"channels": list(size.channels)}, LABELS), pair, options)
        per_clip = pair[0].seconds / len(pair[0].rows)
    return [{
        "benchmark": "gpu_train_cnn", "side": "compiled" if compiled else "plain",
        "utterances_per_s": round(speed / per_clip), "batch_size": size.cnn_batch_size,
        "flop_utilisation": utilisation,
    }]  # fmt: skip


def measure(tiny: bool) -> list[dict[str, Any]]:
    """Everything; each line is printed as soon as it is known."""
    device = "CPU, tiny: the figures mean nothing" if tiny else torch.cuda.get_device_name()
    size, lines = (TINY if tiny else FULL), []
    parts = [cnn, wav2vec2] if tiny else [cnn, wav2vec2, partial(cnn, compiled=True)]
    for part in parts:
        for line in part(size, tiny):
            lines.append({**line, "device": device, "torch": torch.__version__, "size": asdict(size)["clips"]})
            print(json.dumps(lines[-1]), flush=True)
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a smoke test on a CPU")
    measure(parser.parse_args().tiny)
