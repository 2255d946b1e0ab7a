"""The same model on parts of the test clips: who is served worse, and is the number of speakers enough to say so.

Best and worst group are picked by looking: with many groups the gap between them is wide without any difference. So a
gap has a p-value by permutation, which picks as well, and an interval that holds for every two groups at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ser_tasks.evaluation.comparison import holm
from ser_tasks.evaluation.metrics import FEW_SPEAKERS, Counts, Estimate, Floats, interval, recalls
from ser_tasks.evaluation.resampling import speaker_weights

AGE_BANDS = ((0, 30, "under 30"), (30, 45, "30 to 44"), (45, 60, "45 to 59"), (60, 200, "60 and over"))
SHORT_S, LONG_S = 2.0, 4.0
FEW_CLIPS = 20
PERMUTATIONS = 999
"""Of the groups' labels; the smallest p is 1 / (1 + this)."""


def slice_columns(manifest: pd.DataFrame) -> pd.DataFrame:
    """What clips are sliced by, as text with None where the corpus does not say: sex, age band, race, intensity,
    sentence, duration."""
    bands = pd.Series(None, index=manifest.index, dtype=object)
    for low, high, name in AGE_BANDS:
        bands[(manifest["age"] >= low) & (manifest["age"] < high)] = name
    seconds = manifest["duration_s"]
    duration = np.where(seconds < SHORT_S, f"under {SHORT_S:g} s", f"{SHORT_S:g} to {LONG_S:g} s")
    return pd.DataFrame(
        {
            "sex": manifest["sex"],
            "age": bands,
            "race": manifest["race"],
            "intensity": manifest["intensity"],
            "sentence": manifest["sentence_id"],
            "duration": np.where(seconds >= LONG_S, f"{LONG_S:g} s and over", duration),
        },
        index=manifest.index,
    )


def slice_results(
    target: Counts, predicted: Counts, speaker: Sequence[str], columns: Mapping[str, Sequence[Any]], classes: int,
    resamples: int, seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """UAR of every group of every column, and the gap between its best and worst group.

    UAR is over the classes that every group of a column has, so that groups are compared on the same task. Speakers are
    resampled for all groups at once, so that gaps are paired where groups share speakers. The interval of a gap holds
    for all pairs of groups at once: it reaches as far as the widest of their errors in resamples. Its p-value is the
    share of shuffles of the groups whose gap, best to worst, is at least as wide: where the group is a property of the
    speaker, speakers are shuffled among the groups; else each speaker's own groups are shuffled as wholes, so that who
    speaks makes no gap, and neither does a difference that is another one for every speaker (with clips shuffled one by
    one it did, in up to 37 % of studies). `p_holm` is corrected for the number of columns (Holm 1979).

    Args:
        target: int64 [clips].
        predicted: int64 [clips].
        speaker: Of each clip.
        columns: Name to value of each clip; None: unknown, left out.
        classes: Number of classes.
        resamples: Of the bootstrap over speakers.
        seed: Of the bootstrap.

    Returns:
        One row a column that has at least two groups: {"by", "classes", "groups": [{"group", "clips", "speakers",
        "uar": Estimate, "note"}], "gap": Estimate, "p", "p_holm", "shuffled": "speakers" or "groups of each speaker",
        "best", "worst", "note"}.
    """
    names, index = np.unique(np.asarray(speaker), return_inverse=True)
    weights = speaker_weights(len(names), resamples, seed)
    rows: list[dict[str, Any]] = []
    for column, values in columns.items():
        groups = sorted({value for value in values if pd.notna(value)}, key=str)
        masks = [np.array([value == group for value in values]) for group in groups]
        common = [c for c in range(classes) if all((target[mask] == c).any() for mask in masks)]
        if len(groups) < 2 or not common:
            continue
        counts = np.zeros((len(groups), len(names), classes, classes), dtype=np.int64)
        for number, mask in enumerate(masks):
            np.add.at(counts[number], (index[mask], target[mask], predicted[mask]), 1)
        drawn = np.einsum("rs,gsij->rgij", weights, counts)
        value, resampled = _uar(counts.sum(axis=1), common), _uar(drawn, common)
        best, worst = int(value.argmax()), int(value.argmin())
        gap = float(value[best] - value[worst])
        _, noise = interval(np.ptp(resampled - value, axis=1), len(names))
        shuffled, p = _gap_by_chance(target, predicted, index, np.stack(masks), common, classes, seed)
        about = [_about(mask, index) for mask in masks]
        rows.append(
            {
                "by": column,
                "classes": common,
                "groups": [
                    {
                        "group": str(group),
                        **about[number],
                        "uar": Estimate(
                            float(value[number]), *interval(resampled[:, number], about[number]["speakers"])
                        ),
                    }
                    for number, group in enumerate(groups)
                ],
                "best": str(groups[best]),
                "worst": str(groups[worst]),
                "gap": Estimate(gap, gap - noise, min(1.0, gap + noise)),
                "p": p,
                "shuffled": shuffled,
                "note": "; ".join(sorted({a["note"] for a in about if a["note"]})),
            }
        )
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return rows


def _gap_by_chance(
    target: Counts, predicted: Counts, speaker: Counts, masks: npt.NDArray[np.bool_], common: list[int], classes: int,
    seed: int,
) -> tuple[str, float]:  # fmt: skip
    """What is shuffled, and the share of shuffles, the true order among them, whose gap is at least as wide.

    Args:
        target: int64 [clips].
        predicted: int64 [clips].
        speaker: Number of each clip's speaker.
        masks: [groups, clips]; a clip of no group takes no part.
        common: Classes that every group has.
        classes: Number of classes.
        seed: Of the shuffles.
    """
    kept = masks.any(axis=0)
    group, target, right = masks[:, kept].argmax(axis=0), target[kept], (predicted == target)[kept]
    _, speaker = np.unique(speaker[kept], return_inverse=True)
    draw, speakers, groups = np.random.default_rng(seed), int(speaker.max()) + 1, len(masks)
    sums = np.zeros((2, speakers, groups, classes))
    np.add.at(sums[0], (speaker, group, target), right)
    np.add.at(sums[1], (speaker, group, target), 1)
    sums, there = sums[..., common], sums[1].any(axis=-1)
    of_speakers = bool((there.sum(axis=1) == 1).all())
    place, gaps = np.argsort(~there, axis=1, kind="stable"), [_gap(sums.sum(axis=1))]
    for _ in range(PERMUTATIONS):
        if of_speakers:
            dealt = np.eye(groups)[draw.permutation(there.argmax(axis=1))]
            gaps.append(_gap(np.einsum("sg,nsc->ngc", dealt, sums.sum(axis=2))))
        else:
            # Groups that a speaker has come first, in random order: the first of them takes the place of the first.
            order = np.argsort(np.where(there, draw.random(there.shape), 2.0), axis=1)
            source = np.empty_like(order)
            np.put_along_axis(source, place, order, axis=1)
            gaps.append(_gap(np.take_along_axis(sums, source[None, :, :, None], axis=2).sum(axis=1)))
    shuffled = "speakers" if of_speakers else "groups of each speaker"
    return shuffled, float(np.mean(np.asarray(gaps) >= gaps[0] - 1e-12))


def _gap(sums: Floats) -> float:
    """Between the best and the worst group.

    Args:
        sums: Right clips and all clips, float64 [2, groups, classes].
    """
    held = _mean_of_seen(np.divide(sums[0], sums[1], out=np.full(sums[0].shape, np.nan), where=sums[1] > 0))
    return float(np.nanmax(held) - np.nanmin(held))


def _about(mask: Any, index: Any) -> dict[str, Any]:
    clips, speakers = int(mask.sum()), len(np.unique(index[mask]))
    small = [f"under {FEW_SPEAKERS} speakers"] if speakers < FEW_SPEAKERS else []
    small += [f"under {FEW_CLIPS} clips"] if clips < FEW_CLIPS else []
    return {"clips": clips, "speakers": speakers, "note": f"{' and '.join(small)}: means little" if small else ""}


def _uar(confusion: Counts, common: list[int]) -> Floats:
    """UAR over the common classes, [...]; a resample that lacks one of them counts those that it has."""
    return _mean_of_seen(recalls(confusion)[..., common])


def _mean_of_seen(held: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    with np.errstate(invalid="ignore"):
        seen = ~np.isnan(held)
        return np.asarray(np.where(seen, held, 0).sum(axis=-1) / np.where(seen.any(axis=-1), seen.sum(axis=-1), np.nan))
