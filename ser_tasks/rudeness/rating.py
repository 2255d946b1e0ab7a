"""How a score goes with the mean rating: Spearman's rho, with an interval and a p-value that know of speakers."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from ser_tasks.rudeness.null import Value, p_value, student_reach

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


def spearman(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    """Spearman's rho of each pair of columns, [columns]; NaN where one is constant. Both are [n, columns]."""
    x, y = (rankdata(values, axis=0) for values in (first, second))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).sum(axis=0) / np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0)))


def correlation(scores: Floats, ratings: Floats, speakers: Ints) -> Value:
    """Spearman's rho of score and mean rating.

    Clips of one speaker are not independent: where score and rating both vary by speaker, they go together by chance
    far more often than so many independent clips would. So the p-value (one-sided) is of ratings shuffled inside
    speakers, and the interval is the jackknife over speakers with Student's t, of Fisher's z.

    Args:
        scores: [n, 1 + shuffles]: by the true labels, then by the directions that shuffled ones gave.
        ratings: [n, 1 + shuffles], shuffled in the same way inside speakers.
        speakers: int [n], from 0.

    Returns:
        The value is NaN where all scores or all ratings are equal.
    """
    rho = spearman(scores, ratings)
    if not np.isfinite(rho[0]):
        return Value(float("nan"), float("nan"), float("nan"), None)
    p = p_value(float(rho[0]), rho[1:][np.isfinite(rho[1:])]) if len(rho) > 1 else None
    kept = [speakers != one for one in np.unique(speakers)]
    without = np.array([spearman(scores[rows, :1], ratings[rows, :1])[0] for rows in kept if rows.any()])
    z, each = (np.arctanh(np.clip(values, -1 + 1e-9, 1 - 1e-9)) for values in (rho[0], without[np.isfinite(without)]))
    reach = student_reach(float(z), each) if len(each) > 1 else np.inf
    return Value(float(rho[0]), float(np.tanh(z - reach)), float(np.tanh(z + reach)), p)
