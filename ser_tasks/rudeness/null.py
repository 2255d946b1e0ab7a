"""What chance gives: labels shuffled inside strata, and how far an AUC is from that."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ser_tasks.rudeness.ranks import resampled_auc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


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
    draw = np.random.default_rng(seed)
    labels = np.repeat(high[:, None], shuffles + 1, axis=1)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        if 0 < high[rows].sum() < len(rows):
            order = draw.random((shuffles, len(rows))).argsort(axis=1)
            labels[rows, 1:] = high[rows][order].T
    return labels


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

    The interval is the wider, on either side, of two: speakers resampled with their clips (who happened to be
    recorded), and the spread of the same AUC under shuffled labels (what fitting adds). The first alone is too narrow
    near .5: folds share training clips, so their scores vary together, by up to twice the variance that resampling
    held-out scores can see (Bengio & Grandvalet 2004).

    Args:
        observed: The AUC.
        null: AUCs under shuffled labels.
        score: Held-out [n].
        high: bool [n].
        speakers: int [n].
        draws: Of `draw_clusters`.
        within: Whether the AUC's pairs are those inside speakers.
    """
    if not np.isfinite(observed):
        return Value(float("nan"), float("nan"), float("nan"), None)
    resampled = resampled_auc(score, high, speakers, draws, within=within)
    low, top = np.nanpercentile(resampled, [2.5, 97.5]) if np.isfinite(resampled).any() else (0.0, 1.0)
    if null is not None:
        below, above = np.nanpercentile(null, [2.5, 97.5]) - np.nanmedian(null)
        low, top = min(low, observed - above), max(top, observed - below)
    return Value(
        observed, float(max(low, 0.0)), float(min(top, 1.0)), None if null is None else p_value(observed, null)
    )


def rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """For storage: what is not a number is absent in JSON."""
    return {name: None if v is None or not np.isfinite(v) else round(float(v), 6) for name, v in values.items()}
