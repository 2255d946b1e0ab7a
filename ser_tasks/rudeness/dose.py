"""Dose and response: does a score rise with the mean rating inside each half, or does it jump between two kinds?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student

from ser_tasks.rudeness.null import rounded

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
FEWEST_CLIPS = 40
"""In each half, of which at least three ratings must differ: under that there is no dose to follow."""
SURE = 0.05
COLLINEAR = 0.02
"""Share of the variance of the mean rating that two kinds must leave over, else no score could tell the two apart."""


@dataclass(frozen=True)
class Rated:
    """Mean ratings and how far they err.

    Attributes:
        mean: [n], NaN where a clip has none.
        error: [n], the variance of the mean by the raters' disagreement on the same clip; NaN where it is not known.
    """

    mean: Floats
    error: Floats


@dataclass(frozen=True)
class Slope:
    """A coefficient with its 95 % interval and two-sided p; NaN, and p 1, where too few speakers have any spread."""

    value: float
    low: float
    high: float
    p: float

    @property
    def rises(self) -> bool:
        return self.value > 0 and self.p < SURE

    def as_dict(self) -> dict[str, float | None]:
        return rounded(asdict(self))


def mean_and_error(ratings: pd.DataFrame, utterances: pd.Series) -> Rated:
    """Mean ratings of clips [n] and their error.

    Args:
        ratings: utterance_id, annotator_id, rating; one row a rating.
        utterances: The clips [n].
    """
    table = ratings.pivot_table(index="utterance_id", columns="annotator_id", values="rating", aggfunc="last")
    return of_table(table.reindex(utterances).to_numpy(dtype=np.float64))


def of_table(values: Floats) -> Rated:
    """Mean ratings, and the variance of each: that of one rating inside clips, by the number of the clip's ratings.

    Where the same people rated every clip, their leniency moves all means alike and is no error; where clips have
    different raters, it is one.

    Args:
        values: [n, raters], NaN where a rater did not hear a clip.
    """
    known = np.isfinite(values)
    count = known.sum(axis=1)
    mean = np.where(count > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
    people = values.shape[1]
    crossed = bool(known.all()) and len(values) > 0
    leniency = values.mean(axis=0) - values.mean() if crossed else np.zeros(people)
    free = int((count - 1)[count > 1].sum()) - (people - 1 if crossed else 0)
    if free < FEWEST_CLIPS:
        return Rated(mean, np.full(len(values), np.nan))
    variance = float(np.nansum(np.square(values - mean[:, None] - leniency)) / free)
    return Rated(mean, np.where(count > 0, variance / np.maximum(count, 1), np.nan))


def dose_response(score: Floats, rating: Rated, high: Bools, speakers: Ints) -> dict[str, Any] | None:
    """Hold a straight line in the mean rating against two kinds of clips, of which raters only hear which it is.

    Were there two kinds, the mean rating of a clip would be its kind's plus the raters' error, whose size their
    disagreement tells; the expected score would follow the probability of the upper kind, which is a step with a
    shoulder. Were there one continuum, it would follow the mean rating itself. The score is regressed on both at once,
    inside speakers (Davidson & MacKinnon 1981, the J test of models that do not contain each other): what the line
    adds to the step speaks against two kinds, what the step adds to the line against a continuum.

    Args:
        score: Held-out scores [n].
        rating: Of the clips.
        high: bool [n], the two halves.
        speakers: int [n].

    Returns:
        `verdict`: continuum | two kinds | cannot be told, with `why`; `slope_low`, `slope_high`: rise of the score, in
        its SD inside speakers, for each point of the rating inside a half; `line` and `step`: the coefficients of the
        two, in SD of the score for the range between the kinds. Each with value, low, high and two-sided p, by the
        jackknife over speakers with Student's t. None where the ratings have no grades inside the halves.
    """
    known = np.isfinite(rating.mean)
    score, mean, error, high = score[known], rating.mean[known], rating.error[known], high[known]
    speakers = np.unique(speakers[known], return_inverse=True)[1]
    halves = (~high, high)
    if any(half.sum() < FEWEST_CLIPS or len(np.unique(mean[half])) < 3 for half in halves):
        return None
    score = score / (inside_speakers(score[:, None], speakers).std() + 1e-12)
    slope_low, slope_high = (_regress(score[half], mean[half][:, None], speakers[half])[0] for half in halves)
    found: dict[str, Any] = {
        "slope_low": slope_low.as_dict(), "slope_high": slope_high.as_dict(), "clips": len(score)
    }  # fmt: skip
    if not np.isfinite(error).all():
        return found | {"verdict": "cannot be told", "why": "without two ratings of a clip raters' error is not known"}
    step, gap = two_kinds(mean, error)
    inside = inside_speakers(np.column_stack([mean / max(gap, 1e-9), step]), speakers)
    shared = float(np.asarray(np.corrcoef(inside.T))[0, 1] ** 2) if (inside.std(axis=0) > 1e-9).all() else 1.0
    if not np.isfinite(shared) or shared > 1 - COLLINEAR:
        why = "raters differ so much that two kinds of clips would get the mean ratings of a continuum"
        return found | {"verdict": "cannot be told", "why": why}
    line, jump = _regress(score, inside, speakers)
    found |= {"line": line.as_dict(), "step": jump.as_dict()}
    figures = f"low {slope_low.value:+.2f}, high {slope_high.value:+.2f} SD a point"
    if line.rises and slope_low.rises and slope_high.rises and not jump.p < SURE:
        why = (
            f"the score rises with the mean rating inside each half ({figures}), by more than two kinds of clips and "
            f"their raters' error would give (p {line.p:.3f})"
        )
        return found | {"verdict": "continuum", "why": why}
    if jump.rises and not line.rises:
        why = (
            f"the score jumps between the halves as two kinds do (p {jump.p:.3f}), and follows the mean rating no "
            f"further inside them ({figures})"
        )
        return found | {"verdict": "two kinds", "why": why}
    both = "both describe the score in part" if line.rises and jump.rises else "these data do not tell them apart"
    return found | {"verdict": "cannot be told", "why": f"a line in the mean rating, or two kinds: {both} ({figures})"}


def inside_speakers(values: Floats, speakers: Ints) -> Floats:
    """Values [n, k] without the mean of their speaker; `speakers` are numbered from 0, some numbers may be absent."""
    sums = np.zeros((int(speakers.max()) + 1, values.shape[1]))
    np.add.at(sums, speakers, values)
    return np.asarray(values - (sums / np.maximum(np.bincount(speakers), 1)[:, None])[speakers])


def two_kinds(mean: Floats, error: Floats) -> tuple[Floats, float]:
    """Probability [n] of the upper of two kinds by a clip's mean rating, and how far apart the kinds are rated.

    A mixture of two normals whose variances are known: the errors of the means. Fitted by expectation-maximisation.
    """
    least = max(float(np.median(error)), 1e-4 * max(float(mean.var()), 1e-9))  # raters of one mind have an error too
    precision = 1 / np.maximum(error, least / 10)
    low, top = np.quantile(mean, [0.2, 0.8])
    share, chance = 0.5, np.full(len(mean), 0.5)
    for _ in range(200):
        odds = np.log(share / (1 - share)) + precision * (top - low) * (mean - (top + low) / 2)
        before, chance = chance, 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
        share = float(np.clip(chance.mean(), 0.01, 0.99))
        up, down = chance * precision, (1 - chance) * precision
        top, low = float(up @ mean / (up.sum() + 1e-12)), float(down @ mean / (down.sum() + 1e-12))
        if np.abs(chance - before).max() < 1e-6:
            break
    return chance, abs(top - low)


def _regress(score: Floats, columns: Floats, speakers: Ints) -> list[Slope]:
    """Least squares inside speakers, one result a column: value, low, high, p by the jackknife over speakers."""
    x, y = inside_speakers(columns, speakers), inside_speakers(score[:, None], speakers)[:, 0]
    who = np.unique(speakers)
    members = [x[speakers == s] for s in who]
    squares = np.stack([rows.T @ rows for rows in members])
    products = np.stack([rows.T @ y[speakers == s] for rows, s in zip(members, who, strict=True)])
    useful = np.trace(squares, axis1=1, axis2=2) > 1e-9
    squares, products = squares[useful], products[useful]
    count = len(squares)
    if count < 3:
        return [Slope(float("nan"), float("nan"), float("nan"), 1.0) for _ in columns.T]
    value = np.linalg.lstsq(squares.sum(axis=0), products.sum(axis=0), rcond=None)[0]
    without = np.stack(
        [
            np.linalg.lstsq(squares.sum(axis=0) - square, products.sum(axis=0) - product, rcond=None)[0]
            for square, product in zip(squares, products, strict=True)
        ]
    )
    error = np.sqrt((count - 1) / count * np.square(without - value).sum(axis=0)) + 1e-12
    reach = float(student.ppf(0.975, count - 1))
    p = 2 * student.sf(np.abs(value / error), count - 1)
    return [
        Slope(float(v), float(v - reach * e), float(v + reach * e), float(one))
        for v, e, one in zip(value, error, p, strict=True)
    ]
