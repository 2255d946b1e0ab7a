"""Clips with what is to be learnt from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ser_tasks.audio.packed import SAMPLE_RATE_HZ, PackedAudio
from ser_tasks.errors import BadInput
from ser_tasks.training.options import FitOptions


@dataclass(frozen=True)
class Examples:
    """Clips with targets.

    Attributes:
        audio: Where the clips are.
        rows: (number of the clip in `audio`, number of its label).
        soft: Raters' votes as distributions, float32 [rows, classes]; a row of NaN has none.
        tone: Mean rating of the social tone, float32 [rows]; NaN: none.
    """

    audio: PackedAudio
    rows: Sequence[tuple[int, int]]
    soft: Tensor | None = None
    tone: Tensor | None = None

    @property
    def clips(self) -> list[int]:
        """Number of each row's clip in `audio`."""
        return [i for i, _ in self.rows]

    @property
    def targets(self) -> Tensor:
        """int64 [rows]."""
        return torch.tensor([target for _, target in self.rows])

    @property
    def lengths(self) -> list[int]:
        """Samples of each row's clip."""
        return [self.audio.length(i) for i, _ in self.rows]

    @property
    def seconds(self) -> float:
        """Of all rows together."""
        return sum(self.lengths) / SAMPLE_RATE_HZ

    def names(self, rows: Sequence[int]) -> str:
        """Utterance ids of rows, for messages."""
        return ", ".join(self.audio.utterance_ids[self.rows[row][0]] for row in rows)

    def check(self, name: str, labels: Sequence[str], options: FitOptions) -> None:
        """Raises BadInput where there is nothing to learn from, or a target does not fit."""
        if not self.rows:
            raise BadInput(f"{name}: no clips: check the split")
        for i, target in self.rows:
            if not 0 <= target < len(labels):
                place = self.audio.utterance_ids[i]
                raise BadInput(f"{name}: {place}: target {target}, but there are {len(labels)} labels")
        if self.soft is not None and tuple(self.soft.shape) != (len(self.rows), len(labels)):
            wanted = (len(self.rows), len(labels))
            raise BadInput(f"{name}: votes of shape {tuple(self.soft.shape)}, expected {wanted}: clips, labels")
        if self.tone is not None and tuple(self.tone.shape) != (len(self.rows),):
            raise BadInput(f"{name}: tones of shape {tuple(self.tone.shape)} do not fit {len(self.rows)} clips")
        if name == "train" and options.soft_weight and self.soft is None:
            raise BadInput("train: soft_weight is set, but there are no raters' votes: set it to 0")
        if name == "train" and options.tone_weight and self.tone is None:
            raise BadInput("train: tone_weight is set, but there are no ratings of a tone: set it to 0")


def balanced_rows(targets: Sequence[int], seed: int, epoch: int) -> list[int]:
    """Rows for an epoch in which every class comes equally often; every clip of a class as often as any other, or once
    more.

    Args:
        targets: Label of every row.
        seed: Of the training.
        epoch: Counted from 0.

    Returns:
        Rows, len(targets) of them or a few more, in random order.
    """
    generator = np.random.default_rng([seed, epoch, 1])
    known = np.unique(targets)
    quota = -(-len(targets) // len(known))
    drawn: list[int] = []
    for label in known:
        held = np.flatnonzero(np.asarray(targets) == label)
        rounds = [generator.permutation(held) for _ in range(-(-quota // len(held)))]
        drawn += np.concatenate(rounds)[:quota].tolist()
    return [drawn[i] for i in generator.permutation(len(drawn))]
