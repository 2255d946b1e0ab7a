"""Held-out scores of the difference of means, with the layer chosen inside each fold, for many labellings at once.

One code path scores the true labels and every shuffle of them, so that a null distribution has been through the same
choices as the value that is set against it. The mean of a group is a sum over the corpus's folds, so that leaving a
fold out is a subtraction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ser_tasks.rudeness.ranks import pairs_within

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
MOST_FOLDS = 24
"""With more speakers several are left out together: more folds cost time and change little."""
INNER_FOLDS = 5
"""Parts of the training clips on which a fold's layer is chosen."""
AT_ONCE = 256
"""Labellings that are worked on together: bounds the memory."""


@dataclass(frozen=True)
class Layers:
    """Candidate representations of the same clips.

    Attributes:
        names: Of the candidates, e.g. "layer 3, mean".
        read: Candidate number to float32 [n, dim]; read when needed, so that one is in memory at a time.
    """

    names: Sequence[str]
    read: Callable[[int], Floats]


@dataclass(frozen=True)
class HeldOut:
    """Scores of clips by directions that were fitted without their fold.

    Attributes:
        scores: float32 [n, labellings], centred within each fold: two folds' directions have no common zero.
        raw: float32 [n, labellings], not centred: a clip by itself, as a direction is served.
        chosen: int [folds, labellings]: the candidate that each fold chose.
        curve: float32 [n, candidates]: the first labelling's centred scores by each candidate, none chosen.
    """

    scores: Floats
    raw: Floats
    chosen: Ints
    curve: Floats


def numbered(values: Sequence[str]) -> Ints:
    """Number of each value among the sorted distinct ones."""
    return np.unique(np.asarray(values, dtype=str), return_inverse=True)[1].astype(np.int64)


def make_folds(groups: Sequence[str]) -> tuple[Ints, int]:
    """Fold of each clip, and how many groups a fold leaves out together (1 unless there are more than MOST_FOLDS)."""
    group = numbered(groups)
    count = int(group.max()) + 1
    together = -(-count // MOST_FOLDS)
    return group // together, together


def standardise(values: Floats) -> Floats:
    """Each dimension with mean 0 and standard deviation 1; a constant one 0."""
    centred = values - values.mean(axis=0)
    deviation = centred.std(axis=0)
    return np.asarray(centred / np.where(deviation > 1e-12, deviation, 1), dtype=np.float32)


def held_out(layers: Layers, labels: Bools, folds: Ints, speakers: Ints, chosen: Ints | None = None) -> HeldOut:
    """Score every clip by a direction fitted on the other folds.

    In each fold the training clips are standardised by their own mean and deviation, v is the difference of means,
    and the candidate is the one with the highest AUC inside speakers when the training folds are themselves held out
    in `INNER_FOLDS` parts.

    Args:
        layers: The candidates.
        labels: bool [n, labellings]; the first column is the true one.
        folds: int [n], from 0.
        speakers: int [n], from 0.
        chosen: int [folds, 1 or labellings]: the candidates, where they are chosen already.
    """
    many = len(layers.names)
    count = int(folds.max()) + 1
    curve = np.zeros((len(folds), many), dtype=np.float32)
    if chosen is None:
        found = np.full((many, count, labels.shape[1]), 0.5)
        for candidate in range(many):
            sums = _Sums(layers.read(candidate), folds)
            curve[:, candidate] = _centred(_outer(sums, labels[:, :1], folds), folds)[:, 0]
            if many > 1:
                for start in range(0, labels.shape[1], AT_ONCE):
                    part = slice(start, start + AT_ONCE)
                    found[candidate, :, part] = _inner_auc(sums, labels[:, part], folds, speakers)
        chosen = found.argmax(axis=0)
    chosen = np.broadcast_to(chosen, (count, labels.shape[1]))
    scores = np.zeros(labels.shape, dtype=np.float32)
    for candidate in np.unique(chosen):
        sums = _Sums(layers.read(int(candidate)), folds)
        for start in range(0, labels.shape[1], AT_ONCE):
            part = slice(start, start + AT_ONCE)
            wanted = (chosen[:, part] == candidate)[folds]
            scores[:, part] = np.where(wanted, _outer(sums, labels[:, part], folds), scores[:, part])
    return HeldOut(_centred(scores, folds), scores, chosen, curve)


def _centred(scores: Floats, folds: Ints) -> Floats:
    sums = np.zeros((int(folds.max()) + 1, scores.shape[1]), dtype=np.float64)
    np.add.at(sums, folds, scores)
    return np.asarray(scores - (sums / np.bincount(folds)[:, None])[folds], dtype=np.float32)


class _Sums:
    """Clips of one candidate with what each fold adds to sums over clips."""

    def __init__(self, values: Floats, folds: Ints) -> None:
        self.values = standardise(values)  # takes nothing from the folds' own scaling, and keeps float32 exact enough
        self.rows = [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]
        self.count = np.array([len(rows) for rows in self.rows])
        self.total = np.stack([self.values[rows].sum(axis=0) for rows in self.rows])
        self.square = np.stack([np.square(self.values[rows]).sum(axis=0) for rows in self.rows])

    def of_high(self, labels: Bools) -> tuple[Floats, npt.NDArray[np.float64]]:
        """Sums over each fold's high clips: [folds, dim, labellings] and their numbers [folds, labellings]."""
        sums = np.stack([self.values[rows].T @ labels[rows].astype(np.float32) for rows in self.rows])
        return sums, np.stack([labels[rows].sum(axis=0, dtype=np.float64) for rows in self.rows])

    def scale(self, training: Ints) -> tuple[Floats, Floats]:
        """Mean and deviation [dim] of the clips of the training folds."""
        n = self.count[training].sum()
        mean = self.total[training].sum(axis=0) / n
        variance = self.square[training].sum(axis=0) / n - mean**2
        return mean, np.sqrt(np.maximum(variance, 1e-12))


def _project(sums: _Sums, high: Floats, n_high: npt.NDArray[np.float64], training: Ints, rows: Ints) -> Floats:
    """Rows projected on the unit direction of the training folds, all standardised by these: [rows, labellings]."""
    mean, deviation = sums.scale(training)
    top, n_top = high[training].sum(axis=0), n_high[training].sum(axis=0)
    n = sums.count[training].sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        vector = top / n_top - (sums.total[training].sum(axis=0)[:, None] - top) / (n - n_top)
    vector = np.nan_to_num(vector, posinf=0.0, neginf=0.0) / deviation[:, None]  # no direction without both groups
    vector /= np.linalg.norm(vector, axis=0) + 1e-12
    return np.asarray(((sums.values[rows] - mean) / deviation) @ vector.astype(np.float32))


def _outer(sums: _Sums, labels: Bools, folds: Ints) -> Floats:
    """Scores of every clip, [n, labellings]."""
    high, n_high = sums.of_high(labels)
    scores = np.zeros(labels.shape, dtype=np.float32)
    every = np.arange(len(sums.rows))
    for fold, rows in enumerate(sums.rows):
        scores[rows] = _project(sums, high, n_high, every[every != fold], rows)
    return scores


def _inner_auc(sums: _Sums, labels: Bools, folds: Ints, speakers: Ints) -> npt.NDArray[np.float64]:
    """AUC inside speakers over the training clips of each fold, held out in parts: [folds, labellings]."""
    high, n_high = sums.of_high(labels)
    every = np.arange(len(sums.rows))
    result = np.full((len(every), labels.shape[1]), 0.5)
    for fold in every:
        rest = every[every != fold]
        parts = [rest[k::INNER_FOLDS] for k in range(min(INNER_FOLDS, len(rest)))]
        if len(parts) < 2:
            continue
        won, possible = np.zeros(labels.shape[1]), np.zeros(labels.shape[1])
        for part in parts:
            rows = np.concatenate([sums.rows[k] for k in part])
            scores = _project(sums, high, n_high, np.setdiff1d(rest, part), rows)
            pairs = pairs_within(scores, labels[rows], np.unique(speakers[rows], return_inverse=True)[1])
            won, possible = won + pairs.won.sum(axis=0), possible + pairs.possible.sum(axis=0)
        result[fold] = np.where(possible > 0, won / np.maximum(possible, 1), 0.5)
    return result
