"""One epoch: the training clips in steps of the optimiser, then the dev clips.

A step learns from one batch. It is cut into pieces, some for each process, which takes them one after the other; a
piece's loss is its part of the whole batch's mean, and its random draws are seeded by its place in the order. So the
number of processes and pieces decides how much memory and time a step takes, not what is learnt (but for batch norms,
which see a piece at a time).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ser_tasks.audio.packed import SAMPLE_RATE_HZ
from ser_tasks.audio.padding import padded_width
from ser_tasks.errors import BadInput
from ser_tasks.training.batches import Waveforms, pieces, prediction_batches, training_batches
from ser_tasks.training.examples import Examples, balanced_rows
from ser_tasks.training.features import Inputs, cached_features, can_cache
from ser_tasks.training.flops import Flops, peak_rate
from ser_tasks.training.losses import Targets, class_weights, make_targets, mix_up
from ser_tasks.training.network import Network, compile_layers
from ser_tasks.training.options import FitOptions
from ser_tasks.training.schedule import make_optimiser, rate_factor


@dataclass(frozen=True)
class Side:
    """Train or dev: clips, how they are read, what they should give."""

    examples: Examples
    inputs: Inputs
    targets: Targets


@dataclass(frozen=True)
class Setup:
    """What stays the same over all epochs; `network` is the model as accelerate prepared it."""

    options: FitOptions
    accelerator: Any
    network: nn.Module
    optimiser: Any
    train: Side
    dev: Side
    flops: Flops


def set_up(
    accelerator: Any,
    model: nn.Module,
    train: Examples,
    dev: Examples,
    classes: int,
    options: FitOptions,
    cache_folder: Path | None,
) -> Setup:
    """Put everything on its device. Raises BadInput where a tone is to be learnt and the model has no head for it."""
    device = accelerator.device
    of_train: Inputs = Waveforms(train.audio, device)
    of_dev: Inputs = of_train if dev.audio is train.audio else Waveforms(dev.audio, device)
    cached: Inputs | None = None
    if cache_folder is not None and dev.audio is train.audio and can_cache(model, options):
        with accelerator.local_main_process_first():  # the first process of a machine fills the cache
            clips = [*train.clips, *dev.clips]
            cached = cached_features(model, train.audio, clips, options, device, cache_folder)
    network = Network(model, cached=cached is not None)
    if options.tone_weight and not network.has_tone:
        raise BadInput("training: tone_weight is set, but the model has no head for a tone: build it with one")
    if options.compile:
        compile_layers(model)
    weights = class_weights(train.targets, classes, options)
    prepared, optimiser = accelerator.prepare(network, make_optimiser(model, options))
    return Setup(
        options,
        accelerator,
        prepared,
        optimiser,
        Side(train, cached or of_train, make_targets(train, weights, options, device)),
        Side(dev, cached or of_dev, make_targets(dev, weights, options, device)),
        Flops(peak_rate(device, options.precision)),
    )


def rows_of_epoch(train: Examples, options: FitOptions, epoch: int) -> list[int]:
    """Rows to learn from in an epoch: each once, or as many of each class."""
    if options.class_sampling:
        return balanced_rows(train.targets.tolist(), options.seed, epoch)
    return list(range(len(train.rows)))


def train_epoch(setup: Setup, epoch: int) -> Iterator[tuple[list[int], int, float]]:
    """Train for one epoch.

    A loss is looked at while the next step is on its way, so that a GPU is not left waiting.

    Yields:
        For each batch its rows, how many samples it has with padding, and this process's part of its loss.
    """
    train, options = setup.train.examples, setup.options
    drawn = rows_of_epoch(train, options, epoch)
    lengths = [train.audio.length(train.rows[row][0]) for row in drawn]
    batches = training_batches(lengths, options.batch_size, options.batch_seconds, options.seed, epoch)
    setup.network.train()
    waiting: tuple[list[int], int, tuple[Tensor, Tensor]] | None = None
    for number, places in enumerate(batches):
        batch = [drawn[place] for place in places]
        padded = len(batch) * padded_width(max(lengths[place] for place in places))
        factor = rate_factor((epoch + (number + 0.5) / len(batches)) / options.epochs, options.warmup_fraction)
        for group in setup.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        seconds = padded / SAMPLE_RATE_HZ
        with _memory_named(train, batch, f"epoch {epoch + 1}", seconds), setup.flops.counted(padded):
            loss = _step(setup, batch, (options.seed, epoch, number))
        if waiting:
            yield _settled(*waiting, train, epoch)
        waiting = (batch, padded, loss)
    if waiting:
        yield _settled(*waiting, train, epoch)
    _average_buffers(setup)


def _step(setup: Setup, batch: list[int], place: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """One step of the optimiser; gives this process's part of the batch's loss, and how long the gradient was."""
    accelerator, train, options = setup.accelerator, setup.train, setup.options
    processes, device = accelerator.num_processes, accelerator.device
    whole = train.targets.whole(torch.tensor(batch, device=device))
    mine = list(enumerate(pieces(batch, processes * options.accumulate)))[accelerator.process_index :: processes]
    total = torch.zeros((), device=device)
    for number, piece in mine:
        torch.manual_seed(int(np.random.SeedSequence([*place, number]).generate_state(1)[0]))
        rows = piece or batch[:1]  # a process without clips takes part with a loss of 0
        inputs, lengths = train.inputs([train.examples.rows[row][0] for row in rows])
        inputs, lengths, mix = mix_up(inputs, lengths, torch.tensor(rows, device=device), options.mixup)
        with accelerator.no_sync(setup.network) if number != mine[-1][0] else nullcontext():
            logits, tone = setup.network(inputs, lengths)
            loss = train.targets.loss(logits, tone, mix, whole) * float(bool(piece))
            accelerator.backward(loss * processes)  # gradients are averaged over processes, and are to be added up
        total += loss.detach()
    length = accelerator.clip_grad_norm_(setup.network.parameters(), options.clip_norm or math.inf)
    setup.optimiser.step()
    setup.optimiser.zero_grad(set_to_none=True)
    return total, length


def _settled(
    batch: list[int], padded: int, found: tuple[Tensor, Tensor], train: Examples, epoch: int
) -> tuple[list[int], int, float]:
    """Look at a step's loss and gradient: a gradient that is no number has made every weight one that is none."""
    loss, length = (value.item() for value in found)
    for name, value in (("loss", loss), ("gradient's length", length)):
        if not np.isfinite(value):
            raise BadInput(
                f"training: the {name} is {value} in epoch {epoch + 1}, in the batch of {train.names(batch)}: "
                "look at these clips, or lower the learning rate"
            )
    return batch, padded, loss


def _average_buffers(setup: Setup) -> None:
    """Running statistics of batch norms: each process has seen its own pieces."""
    if setup.accelerator.num_processes > 1:
        for buffer in setup.network.buffers():
            if buffer.is_floating_point():
                buffer.copy_(setup.accelerator.reduce(buffer, "mean"))


@torch.inference_mode()
def evaluate(setup: Setup) -> tuple[float, float, float | None]:
    """Look at the dev clips, which the processes share.

    Returns:
        Cross-entropy in nats, UAR, and root mean square error of the tone (None without ratings or head).
    """
    accelerator, dev = setup.accelerator, setup.dev
    network = accelerator.unwrap_model(setup.network)
    network.eval()
    rows, classes = dev.targets.labels.shape
    outputs = torch.zeros(rows, classes + 1, device=accelerator.device)
    batches = prediction_batches(dev.examples.lengths, setup.options.batch_seconds)
    for batch in batches[accelerator.process_index :: accelerator.num_processes]:
        clips = [dev.examples.rows[row][0] for row in batch]
        seconds = len(batch) * max(dev.examples.audio.length(i) for i in clips) / SAMPLE_RATE_HZ
        with _memory_named(dev.examples, batch, "evaluation", seconds):
            logits, tone = network(*dev.inputs(clips))
            outputs[batch, :classes] = logits.float()
            if tone is not None:
                outputs[batch, classes] = tone.float()
    outputs = accelerator.reduce(outputs, "sum")
    if len(wrong := (~outputs.isfinite().all(dim=1)).nonzero()[:, 0].tolist()):
        raise BadInput(
            f"training: the network gives no numbers for the dev clips {dev.examples.names(wrong)}: "
            "look at these clips, or lower the learning rate"
        )
    logits, tone = outputs[:, :classes], outputs[:, classes]
    everything = torch.arange(rows, device=accelerator.device)
    loss = dev.targets.loss(logits, None, [(1.0, everything)], dev.targets.whole(everything)).item()
    score = uar(dev.examples.targets.numpy(), logits.argmax(dim=1).cpu().numpy())
    if not network.has_tone or not bool(dev.targets.rated.any()):
        return loss, score, None
    squared = (tone - dev.targets.tone).square() * dev.targets.rated
    return loss, score, float((squared.sum() / dev.targets.rated.sum()).sqrt())


def uar(targets: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    """Unweighted average recall over the classes that occur in `targets`, in [0, 1]."""
    return float(np.mean([np.mean(predictions[targets == label] == label) for label in np.unique(targets)]))


@contextmanager
def _memory_named(examples: Examples, batch: Sequence[int], when: str, seconds: float) -> Iterator[None]:
    """Turn a failed allocation into a message that says which batch, and what to set."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
        if not out_of_memory:
            raise
        raise BadInput(
            f"training: out of memory in {when}, in the batch of {len(batch)} clips, {seconds:.0f} s with padding "
            f"({examples.names(batch)}): raise fit.accumulate (the same batches in smaller pieces), lower "
            f"fit.batch_seconds below {seconds:.0f}, or switch on the encoder's gradient_checkpointing"
        ) from error
