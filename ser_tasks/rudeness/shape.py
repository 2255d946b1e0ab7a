"""Is a score a continuum or two kinds of clips? Dose and response where ratings have grades, else the modes."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ser_tasks.rudeness.dose import Rated, dose_response, inside_speakers
from ser_tasks.rudeness.null import p_value, rounded

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
FEWEST_CLIPS = 100
SURE = 0.05
ENOUGH = 0.8
"""Share of corpora of two kinds in which the dip test must see them before one mode may speak against two kinds."""
ONE_MODE = 2.0
"""Two normal distributions of equal variance so many SD apart, or fewer, have one mode at any share of the two."""
FAR = 9.0
"""Kinds further apart than so many SD are simulated as if they were so far: there is nothing between them."""
SIMULATIONS = 200
POWER_SIMULATIONS = 100
LARGEST_SIMULATION = 500
"""Clips in a simulation; the dip of n uniform values shrinks as 1 / sqrt(n), so that larger samples are scaled."""


def dip(values: Floats) -> float:
    """Hartigan's dip: the largest distance of the empirical distribution from the nearest unimodal one.

    For continuous values: where many are tied, the steps of the distribution count as modes.

    Hartigan & Hartigan 1985, "The dip test of unimodality": the modal interval is narrowed, and outside it the
    distribution is held against its greatest convex minorant (left) and least concave majorant (right).
    """
    places, counts = np.unique(values, return_counts=True)
    n = len(values)
    above = np.cumsum(counts) / n
    below = above - counts / n
    low, high, found = 0, len(places) - 1, 1 / n
    while high > low:
        x, f, g = places[low : high + 1], above[low : high + 1], below[low : high + 1]
        convex, concave = _hull(x, g, 1), _hull(x, f, -1)
        lower, upper = np.interp(x, x[convex], g[convex]), np.interp(x, x[concave], f[concave])
        knots = np.union1d(convex, concave)
        widest = int(knots[(upper - lower)[knots].argmax()])
        if (upper - lower)[widest] <= found:
            break
        if widest in convex:
            left, right = widest, int(concave[concave >= widest][0])
        else:
            left, right = int(convex[convex <= widest][-1]), widest
        found = max(found, (f - lower)[: left + 1].max(), (upper - g)[right:].max())
        if left == 0 and right == len(x) - 1:
            break
        low, high = low + left, low + right
    return float(found / 2)


def _hull(x: Floats, y: Floats, side: int) -> npt.NDArray[np.int64]:
    """Places of the knots of the convex minorant (side 1) or the concave majorant (side -1) of points."""
    knots: list[int] = []
    xs, ys = x.tolist(), (side * y).tolist()
    for i in range(len(xs)):
        while len(knots) > 1:
            a, b = knots[-2], knots[-1]
            if (ys[b] - ys[a]) * (xs[i] - xs[a]) < (ys[i] - ys[a]) * (xs[b] - xs[a]):
                break
            knots.pop()
        knots.append(i)
    return np.asarray(knots, dtype=np.int64)


def dip_test(values: Floats, seed: int) -> tuple[float, float]:
    """The dip and its p-value against the uniform distribution, the least favourable unimodal one."""
    null = _uniform_dips(min(len(values), LARGEST_SIMULATION), seed)
    found = dip(values)
    return found, p_value(found * np.sqrt(len(values)), null)


@lru_cache(maxsize=8)
def _uniform_dips(n: int, seed: int) -> Floats:
    """Dips of samples of n uniform values, times sqrt(n)."""
    draw = np.random.default_rng(seed)
    return np.asarray(np.sqrt(n) * np.array([dip(draw.random(n)) for _ in range(SIMULATIONS)]))


def shape_of(
    score: Floats,
    high: Bools,
    speakers: Ints,
    auc: Mapping[str, float | None],
    *,
    rating: Rated | None = None,
    chosen_extremes: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """What can be said of "continuous".

    Scores are taken without their speaker's mean: speakers differ, and that makes no kinds of clips. Where ratings have
    grades, dose and response decide (see `dose_response`). Otherwise, and where these cannot tell, the modes of the
    scores do. Two kinds that the groups name are about sqrt(2) z(AUC) standard deviations apart (equal variances); up
    to 2 they have one mode whatever the data, so that one mode speaks against two kinds only where kinds as close as
    the lower end of the AUC's interval would have shown.

    Args:
        score: Held-out scores [n].
        high: bool [n].
        speakers: int [n].
        auc: Of the score, pairs inside speakers: value, low (95 %), high.
        rating: Mean ratings of the clips and their error; None without ratings.
        chosen_extremes: The groups were picked as the trait's ends (a stand-in), so that nothing lies between.
        seed: Of the simulations.

    Returns:
        `verdict`: supported | not supported | cannot be told | too little data, with `why`, `by` (dose and response |
        modes) and the figures behind it: `separation` (value, low, high), `dip` and `dip_p` against the least
        favourable distribution of one mode, which no skewed one passes more often; `dip_power` against two kinds at
        the separation's low end, `dip_p_two_kinds`: share of these that look as much like one kind as the scores do.
    """
    n = len(score)
    if n < FEWEST_CLIPS:
        return {"verdict": "too little data", "why": f"{n} clips: at least {FEWEST_CLIPS} are needed", "clips": n}
    inside = inside_speakers(score[:, None], speakers)[:, 0]
    found, p = dip_test(inside, seed)
    separation = {key: _separation(auc[key]) for key in ("value", "low", "high")}
    power, alike = _against_two_kinds(found, high, speakers, min(separation["low"], FAR), seed)
    dose = None if rating is None else dose_response(score, rating, high, speakers)
    figures = {
        "clips": n, "by": "modes", "separation": rounded(separation),
        "dip": round(found, 5), "dip_p": round(p, 5), "dip_power": round(power, 3), "dip_p_two_kinds": round(alike, 4),
        "bic_two_minus_one": round(_bic(inside, 2, seed) - _bic(inside, 1, seed), 2),
        "silhouette": round(_cut_silhouette(inside), 4), "dose": dose,
    }  # fmt: skip
    apart = f"{separation['low']:.1f} SD apart, as close as the AUC's interval allows"
    if chosen_extremes:
        verdict, why = "cannot be told", "the two groups were chosen as opposite emotions: clips between are missing"
    elif dose is not None and dose["verdict"] != "cannot be told":
        verdict, why = ("supported" if dose["verdict"] == "continuum" else "not supported"), dose["why"]
        figures["by"] = "dose and response"
    elif p < SURE:
        verdict, why = "not supported", f"the scores have more than one mode (dip test, p {p:.3f})"
    elif power < ENOUGH:
        seen = (
            "have one mode" if separation["low"] <= ONE_MODE else f"show more than one in {power:.0%} of such corpora"
        )
        verdict, why = "cannot be told", f"two kinds this close would look the same: {apart}, they {seen}"
    elif alike >= SURE:
        verdict, why = "cannot be told", f"two kinds {apart}, would look so in {alike:.0%} of such corpora"
    else:
        seen = f"two kinds {apart}, would show more than one in {power:.0%} of such corpora"
        verdict, why = "supported", f"one mode (dip test, p {p:.2f}); {seen}"
    if verdict == "cannot be told" and dose is not None and not chosen_extremes:
        why += f"; by the ratings: {dose['why']}"
    return {"verdict": verdict, "why": why, **figures}


def _separation(auc: float | None) -> float:
    """Of two kinds of equal variance with this AUC, in their SD: sqrt(2) z(AUC), at least 0, infinite for 1."""
    return float(np.sqrt(2) * norm.ppf(max(auc or 0.5, 0.5)))


def _against_two_kinds(found: float, high: Bools, speakers: Ints, separation: float, seed: int) -> tuple[float, float]:
    """Samples of two kinds, in each speaker as many of either as in the groups, without the speakers' means.

    Returns:
        Share in which the dip test finds more than one mode, and share with a dip of at most the one found. Where two
        kinds have one mode, the first is the test's level.
    """
    if separation <= ONE_MODE:
        return SURE, 1.0
    draw = np.random.default_rng([seed, 1])
    n = len(high)
    limit = np.quantile(_uniform_dips(min(n, LARGEST_SIMULATION), seed), 1 - SURE) / np.sqrt(n)
    samples = draw.normal(size=(POWER_SIMULATIONS, n)) + separation * high
    dips = np.array([dip(inside_speakers(sample[:, None], speakers)[:, 0]) for sample in samples])
    return float(np.mean(dips > limit)), float((1 + np.sum(dips <= found)) / (1 + len(dips)))


def _bic(score: Floats, parts: int, seed: int) -> float:
    from sklearn.mixture import GaussianMixture

    values = score[:, None]
    return float(GaussianMixture(parts, n_init=3, random_state=seed).fit(values).bic(values))


def _cut_silhouette(values: Floats) -> float:
    """Mean silhouette (Rousseeuw 1987) of the cut of sorted values in two that has the least variance inside."""
    x = np.sort(values)
    n = len(x)
    total, count = np.cumsum(x), np.arange(1, n)
    gain = total[:-1] ** 2 / count + (total[-1] - total[:-1]) ** 2 / (n - count)
    cut = int(gain.argmax()) + 1
    first, second = _mean_distance(x, 0, cut), _mean_distance(x, cut, n)
    own = np.concatenate([first[:cut] * cut / max(cut - 1, 1), second[cut:] * (n - cut) / max(n - cut - 1, 1)])
    other = np.concatenate([second[:cut], first[cut:]])
    return float(np.mean((other - own) / np.maximum(np.maximum(own, other), 1e-12)))


def _mean_distance(x: Floats, start: int, end: int) -> Floats:
    """Mean distance of every value to those of one part, from sums: sorted values need no matrix."""
    part = x[start:end]
    sums = np.concatenate([[0.0], np.cumsum(part)])
    below = np.searchsorted(part, x, side="right")
    return np.asarray((x * below - sums[below] + (sums[-1] - sums[below]) - x * (len(part) - below)) / len(part))
