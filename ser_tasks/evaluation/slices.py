"""The same model on parts of the test clips: who is served worse, and is the number of speakers enough to say so."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.evaluation.metrics import FEW_SPEAKERS, Counts, Estimate, Floats, interval, recalls
from ser_tasks.evaluation.resampling import speaker_weights

AGE_BANDS = ((0, 30, "under 30"), (30, 45, "30 to 44"), (45, 60, "45 to 59"), (60, 200, "60 and over"))
SHORT_S, LONG_S = 2.0, 4.0
FEW_CLIPS = 20


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
    resampled for all groups at once, so that gaps are paired where groups share speakers.

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
        "uar": Estimate, "note"}], "gap": Estimate, "best", "worst", "note"}.
    """
    names, index = np.unique(np.asarray(speaker), return_inverse=True)
    weights = speaker_weights(len(names), resamples, seed)
    rows = []
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
        about = [_about(mask, index) for mask in masks]
        rows.append(
            {
                "by": column,
                "classes": common,
                "groups": [
                    {
                        "group": str(group),
                        **about[number],
                        "uar": Estimate(float(value[number]), *interval(resampled[:, number])),
                    }
                    for number, group in enumerate(groups)
                ],
                "best": str(groups[best]),
                "worst": str(groups[worst]),
                "gap": Estimate(float(value[best] - value[worst]), *interval(resampled[:, best] - resampled[:, worst])),
                "note": "; ".join(sorted({a["note"] for a in about if a["note"]})),
            }
        )
    return rows


def _about(mask: Any, index: Any) -> dict[str, Any]:
    clips, speakers = int(mask.sum()), len(np.unique(index[mask]))
    small = [f"under {FEW_SPEAKERS} speakers"] if speakers < FEW_SPEAKERS else []
    small += [f"under {FEW_CLIPS} clips"] if clips < FEW_CLIPS else []
    return {"clips": clips, "speakers": speakers, "note": f"{' and '.join(small)}: means little" if small else ""}


def _uar(confusion: Counts, common: list[int]) -> Floats:
    """UAR over the common classes, [...]; a resample that lacks one of them counts those that it has."""
    held = recalls(confusion)[..., common]
    with np.errstate(invalid="ignore"):
        seen = ~np.isnan(held)
        return np.asarray(np.where(seen, held, 0).sum(axis=-1) / np.where(seen.any(axis=-1), seen.sum(axis=-1), np.nan))
