"""Is a score a continuum or two kinds of clips? Dip test, one Gaussian against two, silhouette."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ser_tasks.rudeness.null import p_value

Floats = npt.NDArray[np.float64]
FEWEST_CLIPS = 100
SEPARATION = 4.0
"""Of two equal groups, in their standard deviations, that the dip test must be able to see before it may say no."""
SIMULATIONS = 200
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
    draw = np.random.default_rng(seed)
    n = min(len(values), LARGEST_SIMULATION)
    null = np.array([dip(draw.random(n)) for _ in range(SIMULATIONS)])
    found = dip(values)
    return found, p_value(found * np.sqrt(len(values)), null * np.sqrt(n))


def shape_of(score: Floats, *, chosen_extremes: bool, seed: int) -> dict[str, Any]:
    """What can be said of "continuous".

    Args:
        score: Held-out scores [n].
        chosen_extremes: The groups were picked as the trait's ends (a stand-in), so that nothing lies between.
        seed: Of the simulations.

    Returns:
        `verdict`: supported | not supported | too little data, with `why`, and the figures behind it. Supported means
        that one Gaussian describes the scores well enough and that two groups 4 SD apart would have shown.
    """
    n = len(score)
    if n < FEWEST_CLIPS:
        return {"verdict": "too little data", "why": f"{n} clips: at least {FEWEST_CLIPS} are needed", "clips": n}
    found, p = dip_test(score, seed)
    one, two = _bic(score, 1, seed), _bic(score, 2, seed)
    silhouette, silhouette_p = _silhouette(score, seed)
    power = _dip_power(n, seed)
    figures = {
        "clips": n, "dip": round(found, 5), "dip_p": round(p, 5), "dip_power": round(power, 3),
        "bic_two_minus_one": round(two - one, 2), "silhouette": round(silhouette, 4),
        "silhouette_p": round(silhouette_p, 4),
    }  # fmt: skip
    if chosen_extremes:
        verdict, why = "too little data", "the two groups were chosen as opposite emotions: clips between are missing"
    elif p < 0.05:
        verdict, why = "not supported", f"the scores have more than one mode (dip test, p {p:.3f})"
    elif two - one < -10:
        verdict, why = (
            "not supported",
            (
                f"the tests disagree: one mode (dip test, p {p:.2f}), yet two Gaussians describe the "
                "scores better than one: a skewed continuum, or two kinds that overlap"
            ),
        )
    elif power < 0.8:
        verdict, why = "too little data", f"the dip test would see two groups {SEPARATION:g} SD apart in {power:.0%}"
    else:
        verdict, why = "supported", f"one mode (dip test, p {p:.2f}), and one Gaussian describes the scores well enough"
    return {"verdict": verdict, "why": why, **figures}


def _bic(score: Floats, parts: int, seed: int) -> float:
    from sklearn.mixture import GaussianMixture

    values = score[:, None]
    return float(GaussianMixture(parts, n_init=3, random_state=seed).fit(values).bic(values))


def _silhouette(score: Floats, seed: int) -> tuple[float, float]:
    """Of the best cut in two, and its p-value against one Gaussian (which has .6 by itself)."""
    draw = np.random.default_rng(seed)
    n = min(len(score), LARGEST_SIMULATION)
    sample = score if len(score) == n else draw.choice(score, n, replace=False)
    null = np.array([_cut_silhouette(draw.normal(size=n)) for _ in range(99)])
    found = _cut_silhouette(sample)
    return found, p_value(found, null)


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


def _dip_power(n: int, seed: int) -> float:
    """Share of samples of two equal groups `SEPARATION` SD apart in which the dip test finds p below .05."""
    draw = np.random.default_rng([seed, 1])
    m = min(n, LARGEST_SIMULATION)
    limit = np.quantile([dip(draw.random(m)) for _ in range(SIMULATIONS)], 0.95)
    found = [dip(draw.normal(size=m) + SEPARATION * (draw.random(m) < 0.5)) for _ in range(100)]
    return float(np.mean(np.array(found) > limit))
