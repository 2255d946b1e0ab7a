"""The training loop: one for every model."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ser_tasks.audio.packed import SAMPLE_RATE_HZ
from ser_tasks.errors import BadInput
from ser_tasks.training.checkpoints import Checkpoint, Checkpoints, copy_of, load_newest, save_checkpoint
from ser_tasks.training.device import make_accelerator
from ser_tasks.training.epoch import Setup, evaluate, rows_of_epoch, set_up, train_epoch, uar
from ser_tasks.training.examples import Examples
from ser_tasks.training.options import CNN_FIT, WAV2VEC2_FIT, FitOptions
from ser_tasks.training.schedule import restore_optimiser

__all__ = ["CNN_FIT", "WAV2VEC2_FIT", "EpochMetrics", "Examples", "FitOptions", "fit", "uar"]

_ELSEWHERE = ("device", "threads", "cache_gb", "checkpoint_epochs", "checkpoint_minutes")
"""Options that say where and how fast a training runs, not which one it is."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochMetrics:
    """What an epoch came to.

    Attributes:
        epoch: Counted from 1.
        train_loss: Mean over the epoch's clips while they were learnt from; nats, plus the weighted error of the tone.
        dev_loss: Nats.
        dev_uar: In [0, 1].
        seconds: Of training and evaluation.
        audio_seconds_per_s: Audio learnt from in a second of training, all processes together.
        dev_tone_error: Root mean square error of the second head, on the ratings' scale; None without one.
        flop_utilisation: Model FLOP utilisation of the GPUs, in [0, 1]; None on a CPU.
    """

    epoch: int
    train_loss: float
    dev_loss: float
    dev_uar: float
    seconds: float
    audio_seconds_per_s: float
    dev_tone_error: float | None = None
    flop_utilisation: float | None = None


def fit(
    model: nn.Module,
    train: Examples,
    dev: Examples,
    labels: Sequence[str],
    options: FitOptions,
    *,
    checkpoints: Checkpoints | None = None,
    cache_folder: Path | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
) -> list[EpochMetrics]:
    """Train a model; at the end it holds the weights of the epoch with the best dev UAR, in evaluation mode.

    The dev clips decide which epoch is taken and when to stop, and nothing else does. With checkpoints a training that
    was cut off goes on after the last epoch that was saved, and ends with the same bits as one that was not (same
    machine, versions, number of threads and processes). Under torchrun or `accelerate launch` every process calls this
    alike; they share each batch, and the first of them saves and reports.

    Args:
        model: As `build_model` makes it.
        train: Clips to learn from.
        dev: Clips to select by; of other speakers than `train`.
        labels: Names of the classes.
        options: How to train.
        checkpoints: Where to keep state; None: nowhere.
        cache_folder: Where to keep a frozen feature encoder's features; None: they are computed every epoch.
        on_epoch: Called after each epoch that is trained now, once its checkpoint is written.

    Returns:
        Metrics of every epoch, those before a resumption included.

    Raises:
        BadInput: No clips, an unusable target, a loss that is not a number, too little memory, or checkpoints of
            another training.
    """
    train.check("train", labels, options)
    dev.check("dev", labels, options)
    accelerator = make_accelerator(options.device, options.precision)
    device = accelerator.device
    with _threads(options.threads), torch.random.fork_rng([device] if device.type == "cuda" else []):
        model.to(device)
        training = _identity(model, train, dev, labels, options)
        setup = set_up(accelerator, model, train, dev, len(labels), options, cache_folder)
        history: list[EpochMetrics] = []
        best = copy_of(model.state_dict())
        found = load_newest(checkpoints, training) if checkpoints else None
        if found is not None:
            history = [EpochMetrics(**epoch) for epoch in found.history]
            model.load_state_dict(found.model)
            restore_optimiser(setup.optimiser, found.optimiser)
            best = found.best
            _log.info("going on after epoch %d of %d", len(history), options.epochs)
        _agree(accelerator, len(history))
        due = _Interval(options, len(history))
        with _progress(len(history), setup) as progress:
            while not _finished(history, options):
                metrics = _one_epoch(setup, history, progress)
                if metrics.dev_uar > max((past.dev_uar for past in history), default=-1.0):
                    best = copy_of(model.state_dict())
                history.append(metrics)
                if checkpoints and accelerator.is_main_process and due(len(history)):
                    plain = [asdict(each) for each in history]
                    state = Checkpoint(training, plain, model.state_dict(), best, setup.optimiser.state_dict())
                    save_checkpoint(checkpoints, state)
                speed = metrics.audio_seconds_per_s
                _log.info("epoch %d of %d: %s", len(history), options.epochs, _line(metrics.train_loss, history, speed))
                if on_epoch and accelerator.is_main_process:
                    on_epoch(metrics)
    model.load_state_dict(best)
    model.eval()
    return history


def _one_epoch(setup: Setup, history: Sequence[EpochMetrics], progress: "tqdm[None]") -> EpochMetrics:
    """Train for one epoch, then look at the dev clips."""
    train, accelerator = setup.train.examples, setup.accelerator
    started = time.perf_counter()
    clips, samples, padded, loss = 0, 0, 0, 0.0
    for batch, with_padding, part in train_epoch(setup, len(history)):
        clips += len(batch)
        samples += sum(train.audio.length(train.rows[row][0]) for row in batch)
        padded += with_padding
        loss += part * len(batch)
        progress.update(len(batch))
        speed = samples / SAMPLE_RATE_HZ / (time.perf_counter() - started)
        progress.set_postfix_str(_line(part * accelerator.num_processes, history, speed), refresh=False)
    loss = accelerator.reduce(torch.tensor(loss, device=accelerator.device), "sum").item()
    trained = time.perf_counter() - started
    dev_loss, dev_uar, dev_tone_error = evaluate(setup)
    return EpochMetrics(
        epoch=len(history) + 1,
        train_loss=loss / clips,
        dev_loss=dev_loss,
        dev_uar=dev_uar,
        seconds=time.perf_counter() - started,
        audio_seconds_per_s=samples / SAMPLE_RATE_HZ / trained,
        dev_tone_error=dev_tone_error,
        flop_utilisation=setup.flops.utilisation(padded, trained),
    )


def _identity(model: nn.Module, train: Examples, dev: Examples, labels: Sequence[str], options: FitOptions) -> str:
    """Says which training a checkpoint belongs to; where and how fast it runs is no part of it."""
    said = json.dumps(
        [
            [part.rows for part in (train, dev)],
            [part.names(range(len(part.rows))) for part in (train, dev)],
            list(labels),
            {key: value for key, value in asdict(options).items() if key not in _ELSEWHERE},
        ]
    )
    digest = hashlib.sha256(said.encode())
    targets = {f"{i}": t for i, t in enumerate((train.soft, dev.soft, train.tone, dev.tone)) if t is not None}
    for name, tensor in [*targets.items(), *model.state_dict().items()]:
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _agree(accelerator: Any, epochs: int) -> None:
    """Raises BadInput where processes found different checkpoints: a folder that not all of them see."""
    found = accelerator.gather(torch.tensor([epochs], device=accelerator.device)).tolist()
    if len(set(found)) > 1:
        raise BadInput(f"training: the processes would go on after epochs {found}: let all see the same checkpoints")


class _Interval:
    """Whether a checkpoint is due: by epochs, or by minutes."""

    def __init__(self, options: FitOptions, epoch: int) -> None:
        self.options, self.epoch, self.time = options, epoch, time.monotonic()

    def __call__(self, epoch: int) -> bool:
        minutes = (time.monotonic() - self.time) / 60
        by_time = self.options.checkpoint_minutes
        due = minutes >= by_time if by_time else epoch - self.epoch >= self.options.checkpoint_epochs
        if due:
            self.epoch, self.time = epoch, time.monotonic()
        return due


def _finished(history: Sequence[EpochMetrics], options: FitOptions) -> bool:
    if len(history) >= options.epochs:
        return True
    scores = [past.dev_uar for past in history]
    return bool(options.patience and scores and len(scores) - 1 - scores.index(max(scores)) >= options.patience)


def _line(loss: float, history: Sequence[EpochMetrics], speed: float) -> str:
    """What bar and log say: loss, UAR of the last finished epoch, speed, utilisation."""
    parts = [f"loss {loss:.3f}"]
    if history:
        best = max(past.dev_uar for past in history)
        parts.append(f"dev UAR {history[-1].dev_uar:.3f} (best {best:.3f})")
    parts.append(f"{speed:.0f} s audio/s")
    if history and history[-1].flop_utilisation is not None:
        parts.append(f"MFU {history[-1].flop_utilisation:.0%}")
    return ", ".join(parts)


def _progress(epochs: int, setup: Setup) -> "tqdm[None]":
    """A bar on stderr over all epochs; none where stderr is not a terminal, there the log has a line per epoch."""
    clips = len(rows_of_epoch(setup.train.examples, setup.options, 0))
    hidden = None if setup.accelerator.is_main_process else True
    return tqdm(total=setup.options.epochs * clips, initial=epochs * clips, unit="clip", disable=hidden, leave=False)


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
