"""Would other speakers have given the same direction? And which way does it point, next to anger and arousal?"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ser_tasks.rudeness.directions import cosine
from ser_tasks.rudeness.folds import standardise
from ser_tasks.rudeness.null import rounded, student_reach
from ser_tasks.rudeness.ranks import leave_one_out

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
HIGH_AROUSAL = ("angry", "happy", "excited", "fear", "surprised", "frustrated")
LOW_AROUSAL = ("sad", "calm", "neutral")
"""Stand for arousal where a corpus has no ratings of it (Russell's circumplex)."""


class _Weighted:
    """Differences of means under weights of speakers, from sums over each speaker's clips."""

    def __init__(self, values: npt.NDArray[np.float32], first: Bools, second: Bools, speakers: Ints) -> None:
        count = int(speakers.max()) + 1
        member = [(speakers == s) for s in range(count)]
        self.sums = [np.stack([values[m & g].sum(axis=0, dtype=np.float64) for m in member]) for g in (first, second)]
        self.n = [np.array([float((m & g).sum()) for m in member]) for g in (first, second)]

    def vectors(self, weights: Floats) -> Floats:
        """[resamples, dim] for weights [resamples, speakers]; NaN where a group is empty."""
        with np.errstate(invalid="ignore", divide="ignore"):
            top, low = (weights @ s / (weights @ n)[:, None] for s, n in zip(self.sums, self.n, strict=True))
        return np.asarray(top - low)


def _cosines(first: Floats, second: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        length = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
        return np.asarray((first * second).sum(axis=-1) / length)


def stability(
    embeddings: npt.NDArray[np.float32], high: Bools, speakers: Ints, draws: Floats, seed: int
) -> dict[str, dict[str, float | None]]:
    """Cosine of v with itself over other draws of speakers.

    Args:
        embeddings: [n, dim] of one candidate; standardised here.
        high: bool [n].
        speakers: int [n].
        draws: Of `draw_clusters`.
        seed: Of the halves.

    Returns:
        `bootstrap`: speakers resampled, cosine to the v of all; `split_half`: v of one half of the speakers against
        v of the other. Each as median and 95 % range.
    """
    weighted = _Weighted(standardise(embeddings), high, ~high, speakers)
    count = len(weighted.n[0])
    full = weighted.vectors(np.ones((1, count)))
    halves = np.random.default_rng(seed).random((200, count)).argsort(axis=1) < count // 2
    half = _cosines(weighted.vectors(halves.astype(float)), weighted.vectors((~halves).astype(float)))
    return {"bootstrap": _spread(_cosines(weighted.vectors(draws), full)), "split_half": _spread(half)}


def _spread(cosines: Floats) -> dict[str, float | None]:
    if not np.isfinite(cosines).any():
        return {"value": None, "low": None, "high": None}
    low, middle, top = np.nanpercentile(cosines, [2.5, 50, 97.5])
    return rounded({"value": middle, "low": low, "high": top})


def _fisher(value: float, without: Floats) -> dict[str, float]:
    z, each = (np.arctanh(np.clip(cosines, -1 + 1e-9, 1 - 1e-9)) for cosines in (value, without[np.isfinite(without)]))
    reach = student_reach(float(z), each) if len(each) > 1 else np.inf
    return {"low": float(np.tanh(z - reach)), "high": float(np.tanh(z + reach))}


def compass(
    embeddings: npt.NDArray[np.float32],
    high: Bools,
    speakers: Ints,
    emotions: Sequence[str],
    ratings: Mapping[str, Floats],
) -> dict[str, dict[str, float | str | None]]:
    """Cosine of v with the directions of anger and of arousal, valence and dominance.

    Every direction is fitted on embeddings without their speaker's mean. Noise in either direction draws a cosine
    towards 0; an interval that leaves 0 out says that the two share something.

    Args:
        embeddings: [n, dim] of one candidate, without the speakers' means; standardised here.
        high: bool [n].
        speakers: int [n].
        emotions: Of the clips.
        ratings: `activation`, `valence`, `dominance`, each [n], NaN where a clip has none.

    Returns:
        Name to value, low, high (95 %: the jackknife over speakers with Student's t, of Fisher's z) and `from`: what
        the other direction was made from; only those that the corpus allows.
    """
    values = standardise(embeddings)
    trait = _Weighted(values, high, ~high, speakers)
    emotion = np.asarray(emotions, dtype=str)
    pairs: dict[str, tuple[Bools, Bools, str]] = {}
    if 0 < (emotion == "angry").sum() < len(emotion):
        pairs["anger"] = (emotion == "angry", emotion != "angry", "angry clips against the others")
    for name, values_of in ratings.items():
        known = np.isfinite(values_of)
        if known.sum() >= 20 and np.ptp(values_of[known]) > 0:
            middle = np.median(values_of[known])
            above, below = known & (values_of > middle), known & (values_of <= middle)
            pairs["arousal" if name == "activation" else name] = (above, below, f"rated {name}, split at its median")
    aroused, subdued = np.isin(emotion, HIGH_AROUSAL), np.isin(emotion, LOW_AROUSAL)
    if "arousal" not in pairs and aroused.any() and subdued.any():
        pairs["arousal"] = (aroused, subdued, "emotions of high against those of low arousal: nothing is rated")
    found: dict[str, dict[str, float | str | None]] = {}
    count = len(trait.n[0])
    everyone, without = np.ones((1, count)), leave_one_out(count)
    for name, (first, second, made_from) in pairs.items():
        if not first.any() or not second.any():
            continue
        other = _Weighted(values, first, second, speakers)
        value = cosine(trait.vectors(everyone)[0], other.vectors(everyone)[0])
        interval = _fisher(value, _cosines(trait.vectors(without), other.vectors(without)))
        found[name] = {**rounded({"value": value, **interval}), "from": made_from}
    return found
