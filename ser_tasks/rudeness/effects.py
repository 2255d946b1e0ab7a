"""Which prosodic measures differ between the groups of a trait, inside speakers, with the false discovery rate held."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import false_discovery_control

from ser_tasks.rudeness.null import shuffled, student_reach
from ser_tasks.rudeness.ranks import leave_one_out, pairs_within

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
FEWEST_CLIPS = 10
COLUMNS = ["measure", "d", "d_low", "d_high", "delta", "p", "q", "clips", "speakers"]


def effect_sizes(measures: pd.DataFrame, high: Bools, speakers: Ints, shuffles: int, seed: int) -> pd.DataFrame:
    """Cohen's d and Cliff's delta of each measure, high minus low, without differences between speakers.

    Args:
        measures: One column a measure, NaN where a clip has none.
        high: bool [n].
        speakers: int [n], from 0.
        shuffles: Of labels inside speakers, for the p-values (two-sided, of d).
        seed: Of the shuffles.

    Returns:
        One row a measure: measure, d, d_low, d_high (95 %, the jackknife over speakers with Student's t), delta, p,
        q (Benjamini & Hochberg over the rows), clips, speakers (those with clips in both groups). Measures with too
        few clips have NaN instead of figures, and with one speaker d has no interval.
    """
    rows: list[dict[str, Any]] = []
    for measure in measures.columns:
        value = measures[measure].to_numpy(dtype=np.float64)
        rows.append({"measure": measure} | _effect(value, high, speakers, shuffles, seed))
    found = pd.DataFrame(rows, columns=COLUMNS)
    known = found["p"].notna()
    if known.any():
        found.loc[known, "q"] = false_discovery_control(found.loc[known, "p"])
    return found


def _effect(value: Floats, high: Bools, speakers: Ints, shuffles: int, seed: int) -> dict[str, Any]:
    known = np.isfinite(value)
    nothing = dict.fromkeys(("d", "d_low", "d_high", "delta", "p", "q"), np.nan)
    if min((known & high).sum(), (known & ~high).sum()) < FEWEST_CLIPS or np.ptp(value[known]) == 0:
        return nothing | {"clips": int(known.sum()), "speakers": 0}
    value, labels, who = value[known], shuffled(high[known], speakers[known], shuffles, seed), speakers[known]
    count = int(speakers.max()) + 1
    sums = _Sums(value, labels, who, count)
    d = sums.cohen(np.ones((1, count)))[0]
    if not np.isfinite(d[0]):
        return nothing | {"clips": len(value), "speakers": 0}
    without = sums.cohen(leave_one_out(count), first_only=True)[sums.informative(), 0]
    reach = student_reach(d[0], without) if len(without) > 1 else np.nan
    delta = 2 * float(pairs_within(value, labels[:, :1], who).auc()[0]) - 1
    p = float((1 + (np.abs(d[1:]) >= abs(d[0]) - 1e-12).sum()) / (1 + shuffles))
    return {
        "d": float(d[0]), "d_low": float(d[0] - reach), "d_high": float(d[0] + reach), "delta": delta, "p": p,
        "q": np.nan, "clips": len(value), "speakers": int(sums.informative().sum()),
    }  # fmt: skip


class _Sums:
    """What each speaker adds to a difference of means inside speakers and to the variance inside its groups."""

    def __init__(self, value: Floats, labels: Bools, speakers: Ints, count: int) -> None:
        shape = (count, labels.shape[1])
        self.weight, self.difference, self.inside, self.freedom = (np.zeros(shape) for _ in range(4))
        for speaker in np.unique(speakers):
            rows = speakers == speaker
            x = value[rows] - value[rows].mean()  # keeps sums of squares exact
            y = labels[rows]
            n_high = y.sum(axis=0).astype(np.float64)
            n_low = len(x) - n_high
            both = (n_high > 0) & (n_low > 0)
            top, low = x @ y, x @ ~y
            with np.errstate(invalid="ignore", divide="ignore"):
                gap = np.where(both, top / n_high - low / n_low, 0.0)
                inside = (x @ x) - np.where(both, top**2 / n_high + low**2 / n_low, 0.0)
            self.weight[speaker] = np.where(both, n_high * n_low / len(x), 0.0)
            self.difference[speaker] = self.weight[speaker] * gap
            self.inside[speaker] = inside
            self.freedom[speaker] = len(x) - np.where(both, 2, 1)

    def informative(self) -> Bools:
        """Which speakers have clips in both groups, [speakers]."""
        return np.asarray(self.weight[:, 0] > 0)

    def cohen(self, weights: Floats, first_only: bool = False) -> Floats:
        """Cohen's d for weights [resamples, speakers]: [resamples, labellings]."""
        part = slice(0, 1) if first_only else slice(None)
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = (weights @ self.difference[:, part]) / (weights @ self.weight[:, part])
            return np.asarray(gap / np.sqrt((weights @ self.inside[:, part]) / (weights @ self.freedom[:, part])))


def centred_by(values: npt.NDArray[np.floating[Any]], speakers: Sequence[int] | Ints) -> Floats:
    """Values [n, k] without the mean of their speaker's known values."""
    frame = pd.DataFrame(np.asarray(values, dtype=np.float64))
    return np.asarray(frame - frame.groupby(np.asarray(speakers)).transform("mean"))
