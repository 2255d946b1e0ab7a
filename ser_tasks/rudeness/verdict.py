"""What may be said: how much data it takes, how large an effect would show, and what explains the direction."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ser_tasks.errors import BadInput
from ser_tasks.rudeness.null import Value

MIN_CLIPS = 10
"""Fewer clips than this in either group give no direction worth the name."""
MIN_SPEAKERS = 3
FEW_SPEAKERS = 6
"""Under this many speakers with clips in both groups intervals mean little, and are said to."""
FOUND = 0.01
"""A direction counts as found inside speakers at a p-value of this or less."""
CONFIDENT = 0.05
"""What remains without a confound counts as something below this p-value."""
MOST = 0.8
"""Share of an AUC above .5 that goes with a confound, from which on the confound explains the direction."""
HALF = 0.5
"""From this share on it does so too if nothing that remains is distinguishable from chance."""
SPEAKER_AUC = 0.1
"""By so much the AUC of "who speaks" alone must exceed what chance gives for the speaker to explain the direction."""
SPEAKER_SHUFFLES = 300

INSEPARABLE = 0.95
"""AUC of a confound alone above which hardly two clips with different labels are alike in it."""

ExplainedBy = Literal["loudness", "speaker", "emotion", "cannot be separated", "none"]


def refuse_too_little(high: npt.NDArray[np.bool_], speakers: int, folds: npt.NDArray[np.int64]) -> None:
    """Refuse what could only mislead.

    Raises:
        BadInput: Too few clips, speakers or sessions; says how many there are and how many it takes.
    """
    n_high, n_low = int(high.sum()), int((~high).sum())
    if min(n_high, n_low) < MIN_CLIPS or speakers < MIN_SPEAKERS:
        raise BadInput(
            f"trait: {n_high} high and {n_low} low clips of {speakers} speakers say nothing: at least {MIN_CLIPS} "
            f"clips in either group and {MIN_SPEAKERS} speakers are needed; rate more clips, or change trait.threshold"
        )
    for fold in np.unique(folds):
        rest = high[folds != fold]
        if rest.all() or not rest.any():
            raise BadInput(
                f"trait: without fold {fold + 1} of {folds.max() + 1} only one of the two groups is left, so that "
                "nothing can be held out: more rated clips of more speakers are needed"
            )


def power_of(null: npt.NDArray[np.float64]) -> dict[str, float]:
    """What this much data can show, from the spread of the AUC under shuffled labels.

    Returns:
        `null_sd`; `detectable_auc`: found in 80 % of such corpora at two-sided 5 %; `power_at_0.6`, `power_at_0.7`.
    """
    from scipy.stats import norm

    sd = max(float(np.nanstd(null)), 1e-6)
    reach = float(norm.ppf(0.975))
    return {
        "null_sd": round(sd, 5),
        "detectable_auc": round(min(1.0, 0.5 + (reach + float(norm.ppf(0.8))) * sd), 4),
        "power_at_0.6": round(float(norm.cdf(0.1 / sd - reach)), 4),
        "power_at_0.7": round(float(norm.cdf(0.2 / sd - reach)), 4),
    }


def speaker_only(high: npt.NDArray[np.bool_], speakers: npt.NDArray[np.int64]) -> dict[str, Any]:
    """How far "who speaks" gives the label: AUC of each speaker's share of high clips.

    The share is of the same clips, so that chance gives more than .5, the more so the fewer clips a speaker has: labels
    shuffled over all clips say how much (`null_mean`) and how often as much (`p`).
    """
    from ser_tasks.rudeness.null import p_value, shuffled
    from ser_tasks.rudeness.ranks import pairs_within

    one = np.zeros(len(high), dtype=np.int64)
    labels = shuffled(high, one, SPEAKER_SHUFFLES, 0)
    count = np.bincount(speakers)
    count = count[count > 0]
    number = np.unique(speakers, return_inverse=True)[1]
    shares = (np.eye(len(count))[number].T @ labels / count[:, None])[number]
    values = pairs_within(shares, labels, one).auc()
    return {
        "value": round(float(values[0]), 6),
        "null_mean": round(float(values[1:].mean()), 6),
        "p": p_value(float(values[0]), values[1:]),
        "clips": len(high),
        "speakers": len(count),
    }


def explain(
    base: Value, alone: Mapping[str, Value], left: Mapping[str, Value], speaker: Mapping[str, Any], *, stand_in: bool
) -> dict[str, Any]:
    """What explains the direction.

    All AUCs are those of pairs inside speakers, of embeddings without their speaker's mean, by the same folds.

    Args:
        base: AUC of the direction.
        alone: Confound (loudness, emotion) to the AUC of a classifier that knows nothing else.
        left: Confound to the AUC of the direction once the confound is taken out of the embeddings by regression.
        speaker: Of `speaker_only`.
        stand_in: The two groups are emotions, not ratings.

    Returns:
        `explained_by` (loudness | speaker | emotion | cannot be separated | none), `found` (whether there is a
        direction inside speakers), `why` in words, `inseparable`: confounds that alone tell the groups apart so well
        that nothing can be said without them, and `shares`: of each confound, the part of the AUC above .5 that goes
        with it.
    """
    found = base.p is not None and base.p <= FOUND
    by_speaker = speaker["value"] - speaker["null_mean"] >= SPEAKER_AUC and speaker["p"] < 0.01
    if not found:
        result: dict[str, Any] = {"found": False, "inseparable": [], "shares": {}}
        chance = f"inside speakers it does no better than chance ({in_figures(base)})"
        if by_speaker:
            words = (
                f"who speaks gives the label (AUC {speaker['value']:.2f}, chance {speaker['null_mean']:.2f}); {chance}"
            )
            return result | {"explained_by": "speaker", "why": words}
        return result | {"explained_by": "none", "why": f"there is no direction to explain: {chance}"}
    shares = {
        name: round(float(np.clip((base.value - value.value) / (base.value - 0.5), 0, 1)), 4)
        for name, value in left.items()
        if np.isfinite(value.value)
    }
    close = [name for name in left if alone[name].value > INSEPARABLE]
    result = {"found": True, "inseparable": close, "shares": shares}
    kept = ", ".join(f"{in_figures(value)} without {name}" for name, value in left.items()) or "nothing to take out"
    if close:
        words = "; ".join(f"{name} alone gives AUC {in_figures(alone[name])}" for name in close)
        why = (
            f"{words}: hardly two clips of the two groups are alike in it, so that these data cannot separate the "
            f"direction from {' and '.join(close)}; AUC inside speakers {in_figures(base)}; by regression {kept}"
        )
        return result | {"explained_by": "cannot be separated", "why": why}
    explains = [
        name
        for name, share in shares.items()
        if alone[name].low > 0.5 and (share >= MOST or (share >= HALF and (left[name].p or 0) >= CONFIDENT))
    ]
    if explains:
        name = max(explains, key=shares.__getitem__)
        words = (
            f"{name} alone gives AUC {in_figures(alone[name])}; the direction falls from {in_figures(base)} to "
            f"{in_figures(left[name])} once {name} is taken out: {shares[name]:.0%} of what lies above chance"
        )
        return result | {"explained_by": name, "why": words}
    if stand_in:
        words = f"the two groups are emotions by choice; AUC inside speakers {in_figures(base)}; {kept}"
        return result | {"explained_by": "emotion", "why": words}
    return result | {"explained_by": "none", "why": f"AUC inside speakers {in_figures(base)}; {kept}"}


def beyond(left: Value, alone: Value) -> tuple[bool | None, str]:
    """Whether something is left without a confound (None: the data cannot separate the two), and that in words."""
    if alone.value > INSEPARABLE:
        return None, f"alone it gives {in_figures(alone)}, so that these data cannot separate the two"
    found = left.p is not None and left.p < CONFIDENT
    return found, "something is left" if found else "what is left is not distinguishable from chance"


def matched_in_words(matched: Mapping[str, Any]) -> str:
    """`of 33 pairs of one speaker within 2 dB (9 speakers) 100 % are won by the high clip (.72 to 1.00; ...)`."""
    return (
        f"of {matched['pairs']} pairs of one speaker within {matched['within_db']:g} dB ({matched['speakers']} "
        f"speakers) the high clip wins {matched['value']:.0%} ({matched['low']:.0%} to {matched['high']:.0%}), and is "
        f"the louder one in {matched['louder']:.0%}"
    )


def in_figures(value: Value) -> str:
    """`0.84 (0.74 to 0.92)`."""
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"
