"""Figures of the trait: held-out scores, prosody by group, and the evidence for and against the direction."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_tasks.report.figures import HIGH, LOW, PLAIN, Picture, Scene, canvas, dots, in_words, remarks, with_remarks
from ser_tasks.rudeness.null import AUC_NAMES
from ser_tasks.rudeness.prosody import MEASURES

ENDS = 10
"""Clips shown at either end of the direction."""


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
    auc = "; ".join(f"{found['name']} {in_words(found)}" for found in metrics["auc"].values())
    inside = metrics["auc"]["inside_speakers"]
    axis.set_title(f"{inside['name']} {in_words(inside)}" + (f", rho {rank['rho']:.2f}" if rank else ""))
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


def evidence_pictures(trait: Path, metrics: Mapping[str, Any], scene: Scene) -> list[Picture]:
    """What the trait step found besides scores: AUC by layer, the nulls, confounds, prosodic effects, the ends.

    Args:
        trait: Folder that the step wrote: curve, null, effects and scores, each .parquet.
        metrics: Of the same.
        scene: Names the trait and the corpus.

    Returns:
        The pictures; none for a folder of before there was evidence.
    """
    if "evidence" not in metrics:
        return []
    return [
        curve_picture(pd.read_parquet(trait / "curve.parquet"), metrics, scene),
        null_picture(pd.read_parquet(trait / "null.parquet"), metrics, scene),
        confound_picture(metrics, scene),
        effects_picture(pd.read_parquet(trait / "effects.parquet"), metrics, scene),
        ends_picture(ends(pd.read_parquet(trait / "scores.parquet")), metrics, scene),
    ]


def _picture(
    name: str,
    title: str,
    said: str,
    alt: str,
    figure: Figure,
    data: pd.DataFrame,
    metrics: Mapping[str, Any],
    scene: Scene,
) -> Picture:
    trait, notes = scene.trait.capitalize(), "; ".join(_notes(metrics))
    data = with_remarks(data, notes, scene.synthetic)
    return Picture(name, trait, title, said, alt, figure, data)


def curve_picture(curve: pd.DataFrame, metrics: Mapping[str, Any], scene: Scene) -> Picture:
    """AUC of each layer by itself, pooled and inside speakers, and how many folds chose it."""
    title = f"{scene.trait.capitalize()}: AUC by layer, {scene.corpus}"
    figure, axes = canvas(title, 4.2, remarks(_notes(metrics), scene.synthetic), columns=2, sharey=True)
    place = curve["candidate"].str.extract(r"layer (\d+)", expand=False).fillna(0).astype(int)
    pooling = curve["candidate"].str.partition(", ")[2].replace("", "all")
    for axis, pairs, words in (
        (axes[0, 0], "pooled", "all pairs of clips"),
        (axes[0, 1], "within", "pairs inside speakers"),
    ):
        for (name, rows), colour, marker, nudge in zip(
            curve.groupby(pooling, sort=True), (LOW, HIGH), ("o", "^"), (-0.06, 0.06), strict=False
        ):
            spread = [rows[pairs] - rows[f"{pairs}_low"], rows[f"{pairs}_high"] - rows[pairs]]
            axis.errorbar(
                place[rows.index] + nudge, rows[pairs], spread, c=colour, marker=marker, capsize=2, label=name
            )
            low = rows[f"{pairs}_low"].to_numpy(dtype=np.float64)
            for x, y, folds in zip(place[rows.index] + nudge, low, rows["folds"], strict=True):
                if folds:
                    look: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
                    axis.annotate(f"{folds} fold{'s' if folds > 1 else ''}", (x, y), (0, -12), color=colour, **look)
        if curve[f"{pairs}_low"].min() < 0.75:  # far above it the line would flatten the curve
            axis.axhline(0.5, color=PLAIN, linewidth=1, linestyle=":")
        axis.set(title=words, xlabel="layer", xticks=sorted(set(place)))
        axis.margins(y=0.15)
        axis.grid(axis="y")
    axes[0, 0].set_ylabel("AUC, held out")
    axes[0, 0].legend(loc="lower right")
    best = curve.sort_values("within").iloc[-1]
    held_out = metrics["left_out_together"]
    return _picture(
        "trait-layers", title,
        f"Each layer by itself, the {held_out} held out; bars: 95 %, jackknife over speakers; dotted: chance. Under a "
        "point: in how many folds it was chosen, on the training clips alone. The AUC reported elsewhere is of the "
        "chosen layers, not of the best one.",
        f"AUC inside speakers by layer: highest {best['within']:.2f} at {best['candidate']}.",
        figure, curve, metrics, scene,
    )  # fmt: skip


def null_picture(null: pd.DataFrame, metrics: Mapping[str, Any], scene: Scene) -> Picture:
    """Both AUCs under shuffled labels, with the observed ones."""
    held_out = metrics["left_out_together"]
    section = metrics["evidence"]["left_out"][held_out]
    null = null[null["left_out"] == held_out]
    title = f"{scene.trait.capitalize()}: AUC against shuffled labels, {scene.corpus}"
    figure, axes = canvas(title, 3.9, remarks(_notes(metrics), scene.synthetic), columns=2, sharey=True)
    words = []
    for axis, pairs, named in zip(axes[0], ("within_speaker", "one_clip"), AUC_NAMES.values(), strict=True):
        observed = section[pairs]["value"]
        shown = null[null["pairs"] == pairs]
        edges = np.linspace(min(shown["auc"].min(), observed) - 0.01, max(shown["auc"].max(), observed) + 0.01, 50)
        for (name, rows), colour in zip(shown.groupby("null"), (LOW, "#e0a800"), strict=False):
            axis.hist(rows["auc"], edges, color=colour, alpha=0.6, label=f"shuffled within {name}")
        axis.axvline(observed, color=HIGH, linewidth=2.2, label="observed")
        p = section[pairs]["p"]
        beyond = section[pairs].get("p_within_emotion")
        name = named.removeprefix("AUC ")
        words.append(f"{name} {observed:.2f}, p {p:.3f}" + (f" (within emotion {beyond:.3f})" if beyond else ""))
        axis.set(title=words[-1], xlabel="AUC, held out")
        axis.grid(axis="y")
        axis.set_axisbelow(True)
    axes[0, 0].set_ylabel("shuffles")
    axes[0, 1].legend(loc="best", fontsize=8.5)
    shuffles = int((null["pairs"] == "one_clip").sum() / max(null["null"].nunique(), 1))
    return _picture(
        "trait-null", title,
        f"{shuffles} shuffles of the labels; each goes through fitting, choice of layer and scoring as the true labels "
        "do. p: share of shuffles, the true labels among them, with an AUC as high.",
        f"Observed AUC against shuffled labels: {'; '.join(words)}.", figure, null, metrics, scene,
    )  # fmt: skip


def confound_picture(metrics: Mapping[str, Any], scene: Scene) -> Picture:
    """AUC inside speakers of the direction, of it without each confound, and of each confound alone."""
    evidence = metrics["evidence"]
    rows = []
    for name, value in evidence["residual"].items():
        words = "direction, without speakers' means" if name == "speaker" else f"... and without {name}"
        rows.append({"what": words, "kind": "direction"} | {k: value[k] for k in ("value", "low", "high")})
    for name, value in evidence["alone"].items():
        if name != "speaker":
            rows.append({"what": f"{name} alone", "kind": "alone"} | {k: value[k] for k in ("value", "low", "high")})
    data = pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})
    title = f"{scene.trait.capitalize()}: what explains the direction, {scene.corpus}"
    said = remarks(_notes(metrics), scene.synthetic)
    figure, axes = canvas(title, 1.4 + 0.36 * len(data), said)
    axis = axes[0, 0]
    _forest(axis, data, [HIGH if kind == "direction" else LOW for kind in data["kind"]])
    axis.axvline(0.5, color=PLAIN, linewidth=1, linestyle=":")
    axis.set_xlabel("AUC inside speakers, held out")
    verdict = evidence["verdict"]
    return _picture(
        "trait-confounds", title,
        f"Explained by: {verdict['explained_by']}: {verdict['why']}. Confounds are taken out of the embeddings by "
        "regression on their splines, on training clips; alone, they are classified by logistic regression, same "
        "folds. Bars: 95 %.",
        f"Explained by {verdict['explained_by']}: {verdict['why']}.", figure, data, metrics, scene,
    )  # fmt: skip


def effects_picture(effects: pd.DataFrame, metrics: Mapping[str, Any], scene: Scene) -> Picture:
    """Cohen's d of each prosodic measure with its interval."""
    data = effects.rename(columns={"d": "value", "d_low": "low", "d_high": "high"})
    data = data.assign(what=[MEASURES.get(name, name) for name in data["measure"]])
    title = f"Prosody of {scene.trait}, {scene.corpus}"
    said = remarks(_notes(metrics), scene.synthetic)
    figure, axes = canvas(title, 1.4 + 0.3 * len(data), said)
    axis = axes[0, 0]
    clear = (data["q"] < 0.05) & (data["low"] * data["high"] > 0)
    _forest(axis, data, [HIGH if kept else "#94a3b8" for kept in clear])
    axis.axvline(0, color=PLAIN, linewidth=1, linestyle=":")
    axis.set_xlabel("Cohen's d inside speakers, high minus low")
    named = [f"{row.measure} {row.value:.2f}" for row in data[clear].itertuples()]
    return _picture(
        "trait-effects", title,
        "High minus low, differences between speakers left out; bars: 95 %, jackknife over speakers. Coloured: "
        "the bar leaves 0 out, and q below .05 (labels shuffled within speakers, Benjamini and Hochberg). "
        "The measures are this project's own: not to be compared with norms that were measured with Praat.",
        f"Measures that differ (Cohen's d): {', '.join(named) or 'none'}.", figure,
        effects, metrics, scene,
    )  # fmt: skip


def ends(scores: pd.DataFrame, count: int = ENDS) -> pd.DataFrame:
    """The clips with the lowest and the highest scores, to be listened to: `end` (low, high), lowest score first."""
    ordered = scores.sort_values(["score", "utterance_id"], ignore_index=True)
    count = min(count, len(ordered) // 2)
    low, high = ordered.head(count).assign(end="low"), ordered.tail(count).assign(end="high")
    columns = ["end", "utterance_id", "speaker_id", "emotion", "rating", "high", "score"]
    measures = [name for name in MEASURES if name in scores]
    return pd.concat([low, high], ignore_index=True)[columns + measures]


def ends_picture(clips: pd.DataFrame, metrics: Mapping[str, Any], scene: Scene) -> Picture:
    """The clips at either end, by name, with what they are labelled."""
    title = f"Clips at the ends of {scene.trait}, {scene.corpus}"
    figure, axes = canvas(title, 0.9 + 0.24 * len(clips), remarks(_notes(metrics), scene.synthetic))
    axis = axes[0, 0]
    colours = [HIGH if label else LOW for label in clips["high"]]
    axis.barh(range(len(clips)), clips["score"], color=colours, height=0.7)
    rated = clips["rating"].notna().any()
    words = [
        f"{row.utterance_id}  {row.emotion}" + (f"  {row.rating:.1f}" if rated else "") for row in clips.itertuples()
    ]
    axis.set_yticks(range(len(clips)), words, fontsize=8.5)
    axis.axvline(0, color=PLAIN, linewidth=1)
    axis.set_xlabel(f"{scene.trait} score, held out")
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    right = int((clips["high"] == (clips["end"] == "high")).sum())
    said = f"{right} of these {len(clips)} clips are labelled as their end says (blue: low, red: high)."
    beside = ", emotion and mean rating" if rated else " and emotion"
    return _picture(
        "trait-ends", title, f"The lowest and the highest held-out scores, with utterance{beside}. {said}",
        said, figure, clips, metrics, scene,
    )  # fmt: skip


def _forest(axis: Axes, data: pd.DataFrame, colours: Sequence[str]) -> None:
    """Values with intervals, one a line, the first on top."""
    values = data[["low", "value", "high"]].to_numpy(dtype=np.float64)
    for place, ((low, value, high), colour) in enumerate(zip(values, colours, strict=True)):
        axis.plot([low, high], [place, place], color=colour, linewidth=2)
        axis.plot([value], [place], color=colour, marker="o", markersize=6)
    axis.set_yticks(range(len(data)), list(data["what"]))
    axis.invert_yaxis()
    axis.grid(axis="x")


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
