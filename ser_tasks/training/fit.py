"""The training loop: one for every model."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ser_tasks.audio.packed import SAMPLE_RATE_HZ, PackedAudio
from ser_tasks.errors import BadInput
from ser_tasks.training.apply import apply_to_clips
from ser_tasks.training.batches import collate, training_batches
from ser_tasks.training.checkpoints import Checkpoint, copy_of, load_newest, save_checkpoint
from ser_tasks.training.device import Device, Precision, autocast, choose_device

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitOptions:
    """How to train.

    Attributes:
        epochs: At most so many passes over the training clips.
        batch_size: Most clips in a batch.
        batch_seconds: Most seconds of audio in a batch, padding included.
        learning_rate: The highest; after warm-up it falls to 0 along a cosine.
        encoder_learning_rate: The same for a pretrained encoder's weights; None: the same rate.
        weight_decay: Of AdamW, on matrices and kernels, not on biases and norms.
        warmup_fraction: Part of all steps in which the rate rises from 0.
        clip_norm: Longest gradient, all weights together.
        patience: Stop after so many epochs without a better dev UAR; 0: never.
        class_weights: Weigh classes by the inverse of their frequency, as UAR does.
        label_smoothing: In [0, 1).
        seed: Decides order of clips, augmentation and dropout.
        device: auto takes a GPU where there is one.
        precision: auto takes bfloat16 where the device computes it quickly.
        threads: Of the CPU; 0: leave torch's own choice.
    """

    epochs: int = 40
    batch_size: int = 32
    batch_seconds: float = 240.0
    learning_rate: float = 3e-3
    encoder_learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    clip_norm: float = 1.0
    patience: int = 0
    class_weights: bool = True
    label_smoothing: float = 0.0
    seed: int = 0
    device: Device = "auto"
    precision: Precision = "auto"
    threads: int = 0


CNN_FIT = FitOptions()
WAV2VEC2_FIT = FitOptions(epochs=15, learning_rate=1e-3, encoder_learning_rate=1e-5, patience=5)


@dataclass(frozen=True)
class Examples:
    """Clips with targets: rows are (number of the clip in `audio`, number of its label)."""

    audio: PackedAudio
    rows: Sequence[tuple[int, int]]

    @property
    def targets(self) -> Tensor:
        """int64 [rows]."""
        return torch.tensor([target for _, target in self.rows])


@dataclass(frozen=True)
class EpochMetrics:
    """What an epoch came to. Losses in nats; UAR in [0, 1]; epoch counted from 1."""

    epoch: int
    train_loss: float
    dev_loss: float
    dev_uar: float
    seconds: float
    audio_seconds_per_s: float


def fit(
    model: nn.Module,
    train: Examples,
    dev: Examples,
    labels: Sequence[str],
    options: FitOptions,
    *,
    checkpoint_folder: Path | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
) -> list[EpochMetrics]:
    """Train a model; at the end it holds the weights of the epoch with the best dev UAR, in evaluation mode.

    The dev clips decide which epoch is taken and when to stop, and nothing else does. With a checkpoint folder a
    training that was cut off goes on after its last finished epoch, and ends with the same bits as one that was not
    (same machine, same number of threads).

    Args:
        model: As `build_model` makes it.
        train: Clips to learn from.
        dev: Clips to select by; of other speakers than `train`.
        labels: Names of the classes.
        options: How to train.
        checkpoint_folder: Where to keep state after each epoch; None: nowhere.
        on_epoch: Called after each epoch that is trained now, once its checkpoint is written.

    Returns:
        Metrics of every epoch, those before a resumption included.

    Raises:
        BadInput: No clips, an unusable target, a loss that is not a number, or checkpoints of another training.
    """
    _check(train, dev, labels)
    device = choose_device(options.device)
    model.to(device)
    optimiser = _optimiser(model, options)
    criterion = _criterion(train, labels, options).to(device)
    training = _identity(model, train, dev, labels, options)
    history: list[EpochMetrics] = []
    best = copy_of(model.state_dict())
    found = load_newest(checkpoint_folder, training) if checkpoint_folder else None
    if found is not None:
        history = [EpochMetrics(**epoch) for epoch in found.history]
        model.load_state_dict(found.model)
        optimiser.load_state_dict(found.optimiser)
        best = found.best
        _log.info("going on after epoch %d of %d", len(history), options.epochs)
    train_seconds = sum(train.audio.length(i) for i, _ in train.rows) / SAMPLE_RATE_HZ

    with _threads(options.threads), torch.random.fork_rng(), _progress(history, train, options) as progress:
        while not _finished(history, options):
            epoch = len(history)
            torch.manual_seed(int(np.random.SeedSequence([options.seed, epoch]).generate_state(1)[0]))
            started = time.perf_counter()
            train_loss = 0.0
            for clips, loss in _train_epoch(model, train, criterion, optimiser, options, epoch=epoch):
                train_loss += loss * clips / len(train.rows)
                progress.update(clips)
                progress.set_postfix_str(_postfix(loss, history), refresh=False)
            trained = time.perf_counter()
            dev_loss, dev_uar = _evaluate(model, dev, criterion, options)
            metrics = EpochMetrics(
                epoch=epoch + 1,
                train_loss=train_loss,
                dev_loss=dev_loss,
                dev_uar=dev_uar,
                seconds=time.perf_counter() - started,
                audio_seconds_per_s=train_seconds / (trained - started),
            )
            if dev_uar > max((past.dev_uar for past in history), default=-1.0):
                best = copy_of(model.state_dict())
            history.append(metrics)
            if checkpoint_folder:
                plain = [asdict(each) for each in history]
                state = Checkpoint(training, plain, model.state_dict(), best, optimiser.state_dict())
                save_checkpoint(checkpoint_folder, state)
            _log.info("epoch %d of %d: %s", epoch + 1, options.epochs, _postfix(metrics.train_loss, history))
            if on_epoch:
                on_epoch(metrics)
    model.load_state_dict(best)
    model.eval()
    return history


def _train_epoch(
    model: nn.Module,
    train: Examples,
    criterion: nn.CrossEntropyLoss,
    optimiser: torch.optim.Optimizer,
    options: FitOptions,
    *,
    epoch: int,
) -> Iterator[tuple[int, float]]:
    """One pass over the training clips; yields the number of clips and the loss of each batch."""
    device = choose_device(options.device)
    lengths = [train.audio.length(i) for i, _ in train.rows]
    targets = train.targets
    batches = training_batches(lengths, options.batch_size, options.batch_seconds, options.seed, epoch)
    model.train()
    for number, batch in enumerate(batches):
        factor = _rate((epoch + (number + 0.5) / len(batches)) / options.epochs, options.warmup_fraction)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        waveforms, samples = collate(train.audio, [train.rows[row][0] for row in batch])
        with autocast(device, options.precision):
            logits = model(waveforms.to(device), samples.to(device))
        loss = criterion(logits, targets[batch].to(device))
        if not torch.isfinite(loss):
            _fail_on(loss, train, batch, epoch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        optimiser.step()
        yield len(batch), loss.item()


def uar(targets: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    """Unweighted average recall over the classes that occur in `targets`, in [0, 1]."""
    return float(np.mean([np.mean(predictions[targets == label] == label) for label in np.unique(targets)]))


def _check(train: Examples, dev: Examples, labels: Sequence[str]) -> None:
    for name, examples in (("train", train), ("dev", dev)):
        if not examples.rows:
            raise BadInput(f"{name}: no clips: check the split")
        for i, target in examples.rows:
            if not 0 <= target < len(labels):
                place = examples.audio.utterance_ids[i]
                raise BadInput(f"{name}: {place}: target {target}, but there are {len(labels)} labels")


def _optimiser(model: nn.Module, options: FitOptions) -> torch.optim.AdamW:
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            of_encoder = name.startswith("encoder.") and options.encoder_learning_rate is not None
            rate = options.encoder_learning_rate if of_encoder else options.learning_rate
            decay = options.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate or 0.0, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": held, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), held in groups.items()]
    )


def _criterion(train: Examples, labels: Sequence[str], options: FitOptions) -> nn.CrossEntropyLoss:
    counts = torch.bincount(train.targets, minlength=len(labels)).float()
    weights = counts.sum() / (len(labels) * counts.clamp(min=1)) if options.class_weights else None
    return nn.CrossEntropyLoss(weight=weights, label_smoothing=options.label_smoothing)


def _identity(model: nn.Module, train: Examples, dev: Examples, labels: Sequence[str], options: FitOptions) -> str:
    """Says which training a checkpoint belongs to; where and how fast it runs is no part of it."""
    said = json.dumps(
        [
            [part.rows for part in (train, dev)],
            [[part.audio.utterance_ids[i] for i, _ in part.rows] for part in (train, dev)],
            list(labels),
            {key: value for key, value in asdict(options).items() if key not in ("device", "threads")},
        ]
    )
    digest = hashlib.sha256(said.encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _finished(history: Sequence[EpochMetrics], options: FitOptions) -> bool:
    if len(history) >= options.epochs:
        return True
    scores = [past.dev_uar for past in history]
    return bool(options.patience and scores and len(scores) - 1 - scores.index(max(scores)) >= options.patience)


def _rate(progress: float, warmup: float) -> float:
    """Part of the highest rate, `progress` in (0, 1) being the part of the training that is done."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _evaluate(
    model: nn.Module, dev: Examples, criterion: nn.CrossEntropyLoss, options: FitOptions
) -> tuple[float, float]:
    """Loss and UAR on the dev clips."""
    device = choose_device(options.device)
    model.eval()
    indices = [i for i, _ in dev.rows]
    logits = apply_to_clips(model, dev.audio, indices, device, options.batch_seconds, precision=options.precision)
    loss = criterion(logits.to(device), dev.targets.to(device)).item()
    return loss, uar(dev.targets.numpy(), logits.argmax(dim=1).numpy())


def _fail_on(loss: Tensor, train: Examples, batch: Sequence[int], epoch: int) -> None:
    names = ", ".join(train.audio.utterance_ids[train.rows[row][0]] for row in batch)
    raise BadInput(
        f"training: the loss is {loss.item()} in epoch {epoch + 1}, in the batch of {names}: "
        "look at these clips, or lower the learning rate"
    )


def _postfix(loss: float, history: Sequence[EpochMetrics]) -> str:
    if not history:
        return f"loss {loss:.3f}"
    best = max(past.dev_uar for past in history)
    last = history[-1]
    return f"loss {loss:.3f}, dev UAR {last.dev_uar:.3f} (best {best:.3f}), {last.audio_seconds_per_s:.0f} s audio/s"


def _progress(history: Sequence[EpochMetrics], train: Examples, options: FitOptions) -> "tqdm[None]":
    """A bar on stderr over all epochs; none where stderr is not a terminal, there the log has a line per epoch."""
    clips = len(train.rows)
    return tqdm(total=options.epochs * clips, initial=len(history) * clips, unit="clip", disable=None, leave=False)


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
