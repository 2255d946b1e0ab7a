"""Figures of the trait: held-out scores, and loudness and brightness by group."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from ser_tasks.report.figures import HIGH, LOW, PLAIN, Picture, Scene, canvas, dots, in_words, remarks, with_remarks


def score_picture(scores: pd.DataFrame, metrics: Mapping[str, Any], scene: Scene) -> Picture:
    """Held-out score of the trait against the mean rating; for a trait without ratings, by group.

    Args:
        scores: utterance_id, speaker_id, emotion, rating (NaN without), high, score.
        metrics: Of the trait step.
        scene: Its seed decides the jitter.
    """
    trait = scene.trait
    rated = scores["rating"].notna().any()
    said = remarks(_notes(metrics), scene.synthetic)
    title = f"{trait.capitalize()} score {'against mean rating' if rated else 'by group'}, {scene.corpus}"
    figure, axes = canvas(title, 4.8, said)
    axis = axes[0, 0]
    high = scores["high"].to_numpy(dtype=bool)
    if rated:
        for group, colour, marker, name in ((~high, LOW, "o", "low"), (high, HIGH, "^", "high")):
            axis.scatter(
                scores["rating"][group], scores["score"][group], c=colour, marker=marker, alpha=0.7,
                label=f"{name} ({group.sum()} clips)", **dots(len(scores)),
            )  # fmt: skip
        axis.set_xlabel(f"mean {trait} rating")
        axis.legend(loc="best")
        axis.grid()
    else:
        _boxes(axis, scores["score"], high, scene.seed)
    axis.set_ylabel(f"{trait} score, held out")
    rank = metrics["spearman"]["rating"]
    ranked = f" Spearman's rho with the rating {rank['rho']:.2f} over {rank['clips']} clips." if rank else ""
    auc = f"AUC {in_words(metrics['auc'])}"
    axis.set_title(f"{auc}" + (f", rho {rank['rho']:.2f}" if rank else ""))
    columns = ["utterance_id", "speaker_id", "session", "emotion", "rating", "high", "score"]
    return Picture(
        name="trait-score",
        section=trait.capitalize(),
        title=title,
        caption=f"{metrics['groups'].capitalize()}; each clip is scored by a direction fitted without its "
        f"{metrics['left_out_together']}, in embeddings by {metrics['embeddings']}. {auc}, {metrics['interval']}."
        f"{ranked}",
        alt=f"{title}: {auc} over {metrics['clips']} clips, {metrics['high_clips']} of them high.{ranked}",
        figure=figure,
        data=with_remarks(scores[columns], "; ".join(_notes(metrics)), scene.synthetic),
    )


def prosody_picture(scores: pd.DataFrame, metrics: Mapping[str, Any], scene: Scene) -> Picture:
    """RMS and spectral centroid of clips by group of the trait.

    Args:
        scores: utterance_id, speaker_id, high, score, rms_db, centroid_hz.
        metrics: Of the trait step.
        scene: Its seed decides the jitter.
    """
    trait = scene.trait
    said = remarks(_notes(metrics), scene.synthetic)
    title = f"Loudness and brightness by {trait}, {scene.corpus}"
    figure, axes = canvas(title, 4.6, said, columns=2)
    high = scores["high"].to_numpy(dtype=bool)
    means, ranks = [], []
    for axis, column, name, unit in (
        (axes[0, 0], "rms_db", "RMS", "dB of full scale"),
        (axes[0, 1], "centroid_hz", "spectral centroid", "Hz"),
    ):
        _boxes(axis, scores[column], high, scene.seed)
        axis.set_title(name)
        axis.set_ylabel(unit)
        mean = metrics["prosody_means"][column]
        means.append(f"{name}: high {mean['high']:.1f}, low {mean['low']:.1f} {unit}")
        if rank := metrics["spearman"][column]:
            ranks.append(f"{rank['rho']:.2f} with the {name}")
    with_score = f" Spearman's rho of the score: {', '.join(ranks)}." if ranks else ""
    columns = ["utterance_id", "speaker_id", "high", "score", "rms_db", "centroid_hz"]
    return Picture(
        name="trait-prosody",
        section=trait.capitalize(),
        title=title,
        caption="One point a clip; boxes: quartiles and median; whiskers: 1.5 times the quartile range. Means: "
        f"{'; '.join(means)}.{with_score}",
        alt=f"{title}. Means: {'; '.join(means)}.",
        figure=figure,
        data=with_remarks(scores[columns], "; ".join(_notes(metrics)), scene.synthetic),
    )


def _notes(metrics: Mapping[str, Any]) -> list[str]:
    """A stand-in's groups are no ratings: that belongs to what a reader must know, like the encoder's note."""
    stands_in = metrics["groups"] if metrics["groups"].startswith("stand-in") else ""
    return remarks([stands_in, metrics["note"]], synthetic=False)


def _boxes(axis: Axes, values: pd.Series, high: npt.NDArray[np.bool_], seed: int) -> None:
    """Points with jitter and boxes, low group left, high group right."""
    rng = np.random.default_rng(seed)
    groups = (("low", ~high, LOW), ("high", high, HIGH))
    for place, (_, mask, colour) in enumerate(groups):
        shown = values[mask].dropna().to_numpy(dtype=np.float64)
        jitter = rng.uniform(-0.18, 0.18, len(shown))
        axis.scatter(place + jitter, shown, c=colour, alpha=0.45, **dots(len(values)))
        line = {"color": PLAIN, "linewidth": 1.3}
        axis.boxplot(
            [shown], positions=[place], widths=0.5, showfliers=False,
            medianprops=line | {"linewidth": 2.2}, boxprops=line, whiskerprops=line, capprops=line,
        )  # fmt: skip
    axis.set_xticks([0, 1], [f"{name}\n{mask.sum()} clips" for name, mask, _ in groups])
    axis.set_xlim(-0.6, 1.6)
    axis.grid(axis="y")
