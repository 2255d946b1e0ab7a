"""What chance gives: labels shuffled inside strata, and how far an AUC is from that."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm
from scipy.stats import t as student

from ser_tasks.rudeness.ranks import leave_one_out, resampled_auc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


AUC_NAMES = {"inside_speakers": "AUC inside speakers", "one_clip": "AUC of one clip of an unknown speaker"}
"""The first is of pairs of clips of one speaker; the second of raw held-out scores, as a single clip is served."""


@dataclass(frozen=True)
class Value:
    """An AUC with its 95 % interval and its one-sided p-value (None where labels cannot be shuffled)."""

    value: float
    low: float
    high: float
    p: float | None

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


def shuffled(high: Bools, strata: Ints, shuffles: int, seed: int) -> Bools:
    """The true labels and shuffles of them inside strata: bool [n, 1 + shuffles], the true ones first."""
    return high[shuffled_rows(high, strata, shuffles, seed)]


def shuffled_rows(high: Bools, strata: Ints, shuffles: int, seed: int) -> Ints:
    """Whose label each clip gets in `shuffled`: int [n, 1 + shuffles]; clips whose label cannot change keep theirs."""
    draw = np.random.default_rng(seed)
    source = np.repeat(np.arange(len(high))[:, None], shuffles + 1, axis=1)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        if 0 < high[rows].sum() < len(rows):
            source[rows, 1:] = rows[draw.random((shuffles, len(rows))).argsort(axis=1)].T
    return source


def movable(high: Bools, strata: Ints) -> int:
    """Clips in strata that have both groups: the others keep their label in every shuffle."""
    both = [rows for s in np.unique(strata) if 0 < high[rows := strata == s].sum() < rows.sum()]
    return int(sum(rows.sum() for rows in both))


def p_value(observed: float, null: Floats) -> float:
    """One-sided, with the observed value counted among the null's (Phipson & Smyth 2010): never 0."""
    return float((1 + np.sum(null >= observed - 1e-12)) / (1 + len(null)))


def estimate(
    observed: float, null: Floats | None, score: Floats, high: Bools, speakers: Ints, draws: Floats, *, within: bool
) -> Value:
    """An AUC of held-out scores with an interval and a p-value.

    The interval lies on the logit scale, with half a pair won and half a pair lost added to what the clips are worth
    (Haldane 1956), so that an AUC of 1 has a low end too. Its half width is the larger of two: the jackknife over
    speakers with Student's t (who happened to be recorded), and the spread of the AUC under shuffled labels (what
    fitting adds). The first alone is too narrow near .5: folds share training clips, so their scores vary together, by
    up to twice the variance that held-out scores can show (Bengio & Grandvalet 2004). Where the first has nothing to
    go by, at an AUC near 1, the second is the bound.

    Args:
        observed: The AUC.
        null: AUCs under shuffled labels; None: their spread is that of fixed scores (Mann & Whitney 1947).
        score: Held-out [n].
        high: bool [n].
        speakers: int [n], from 0.
        draws: [resamples, speakers], of `draw_clusters`: how many speakers there are.
        within: Whether the AUC's pairs are those inside speakers.
    """
    if not np.isfinite(observed):
        return Value(float("nan"), float("nan"), float("nan"), None)
    p = None if null is None else p_value(observed, null)
    spread = _null_variance(high, speakers if within else np.zeros_like(speakers))
    if null is not None and np.isfinite(null).any():
        spread = max(spread, float(np.nanvar(null)))
    clips = 0.25 / spread  # independent pairs whose share won would vary as much
    without = resampled_auc(score, high, speakers, leave_one_out(draws.shape[1]), within=within)
    told = _with_pairs(high, speakers) if within else np.bincount(speakers, minlength=draws.shape[1]) > 0
    without = without[told & np.isfinite(without)]
    if len(without) < 2:
        return Value(observed, 0.0, 1.0, p)
    middle = float(_logit(observed, clips))
    reach = max(
        student_reach(middle, _logit(without, clips)),
        float(norm.ppf(0.975)) / np.sqrt(clips * expit(middle) * expit(-middle)),
    )
    low, top = expit([middle - reach, middle + reach])
    return Value(observed, min(float(low), observed), max(float(top), observed), p)


def student_reach(value: float, without: Floats) -> float:
    """Half width of a 95 % interval by the jackknife over speakers (Tukey 1958) with Student's t.

    Args:
        value: Over all speakers.
        without: The same without one of the n speakers, [n].
    """
    n = len(without)
    error = np.sqrt((n - 1) / n * np.square(without - value).sum())
    return float(student.ppf(0.975, n - 1) * error)


def _logit(auc: float | Floats, clips: float) -> Floats:
    return np.asarray(logit((np.asarray(auc) * clips + 0.5) / (clips + 1)))


def _with_pairs(high: Bools, speakers: Ints) -> Bools:
    """Which speakers have clips in both groups: the others have no part in an AUC inside speakers."""
    count = np.bincount(speakers)
    top = np.bincount(speakers, weights=high)
    return np.asarray((top > 0) & (top < count))


def _null_variance(high: Bools, strata: Ints) -> float:
    """Of the AUC over the pairs inside strata if scores that do not depend on labels had no ties."""
    count = np.bincount(strata)
    top = np.bincount(strata, weights=high)
    pairs = top * (count - top)
    return float((pairs * (count + 1) / 12).sum() / pairs.sum() ** 2)


def rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """For storage: what is not a number is absent in JSON."""
    return {name: None if v is None or not np.isfinite(v) else round(float(v), 6) for name, v in values.items()}
