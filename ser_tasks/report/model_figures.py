"""Figures of the models: confusion matrices, UAR with intervals, learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ser_tasks.report.figures import PLAIN, Picture, canvas, file_name, in_words, remarks, with_remarks

Metrics = Mapping[str, Any]
"""A model's metrics.json on one corpus."""


def uar_picture(results: Sequence[Metrics], synthetic: frozenset[str]) -> Picture:
    """UAR of every model on every corpus, with 95 % intervals; chance is marked.

    Args:
        results: In the order to show; one panel a corpus.
        synthetic: Corpora made by speech synthesis.
    """
    corpora = list(dict.fromkeys(result["corpus"] for result in results))
    said = remarks((f"{r['title']}: {r['note']}" for r in results if r["note"]), bool(synthetic & set(corpora)))
    most = max(sum(result["corpus"] == corpus for result in results) for corpus in corpora)
    row = 0.55 if any(result["open"] for result in results) else 0.42
    height = 1.0 + len(corpora) * (0.7 + row * most)
    title = "UAR of each model, within and across corpora"
    figure, axes = canvas(title, height, said, rows=len(corpora), sharex=True)
    for axis, corpus in zip(axes[:, 0], corpora, strict=True):
        shown = [result for result in results if result["corpus"] == corpus]
        _intervals(axis, shown)
        made = " (synthetic)" if corpus in synthetic else ""
        axis.set_title(
            f"{shown[0]['relation']} corpus: {corpus}{made}, {shown[0]['clips']} clips, {shown[0]['speakers']} speakers"
        )
    axes[-1, 0].set_xlabel("UAR (unweighted average recall)")
    rows = [
        {
            **{key: result[key] for key in ("model", "title", "corpus", "relation", "clips", "speakers", "chance_uar")},
            **{f"uar_{key}" if key != "value" else "uar": result["uar"][key] for key in ("value", "low", "high")},
            **{
                f"uar_open_{key}" if key != "value" else "uar_open": result["open"]["uar"][key]
                if result["open"]
                else None
                for key in ("value", "low", "high")
            },
            "labels": result["labels_protocol"]["sentence"],
            "answers": result["answers"],
            "note": result["note"],
            "synthetic": "yes" if result["corpus"] in synthetic else "no",
        }
        for result in results
    ]
    crosses = " Crosses: when any label of the model may be answered, those that the corpus lacks too."
    return Picture(
        name="uar",
        section="Results",
        title=title,
        caption="Points: UAR on the test clips. Bars: 95 % interval, bootstrap over speakers. "
        "Dashed: chance, the most that a guess without hearing can have."
        + (crosses if any(result["open"] for result in results) else "")
        + _labels_in_words(results),
        alt="; ".join(f"{r['title']}{_noted(r)} on {r['corpus']}: UAR {in_words(r['uar'])}{_open(r)}" for r in results)
        + ".",
        figure=figure,
        data=pd.DataFrame(rows),
    )


def _noted(result: Metrics) -> str:
    return f" ({result['note']})" if result["note"] else ""


def _open(result: Metrics) -> str:
    """The number under the open protocol, and what is odd of the answers, where there is such."""
    opened = f", {in_words(result['open']['uar'])} when any label may be answered" if result["open"] else ""
    return opened + (f", {result['answers']}" if result["answers"] else "")


def _labels_in_words(results: Sequence[Metrics]) -> str:
    """Corpora that lack a label of a model, or have others: what the number is about there."""
    odd = {
        result["corpus"]: ", ".join(result["labels_protocol"]["shared"])
        for result in results
        if result["open"] or result["labels_protocol"]["corpus_only"]
    }
    return "".join(
        f" {corpus}: among the labels that model and corpus share ({labels})." for corpus, labels in odd.items()
    )


def _intervals(axis: Axes, shown: Sequence[Metrics]) -> None:
    for row, result in enumerate(shown):
        value, low, high = (result["uar"][key] for key in ("value", "low", "high"))
        colour = "#94a3b8" if result["note"] else "#0072b2"
        axis.hlines(row, low, high, color=colour, linewidth=2.5)
        axis.plot(value, row, "o", color=colour, markersize=8, markerfacecolor="white" if result["note"] else colour)
        axis.annotate(f"{value:.2f}", (value, row), (0, 7), textcoords="offset points", ha="center", fontsize=9)
        if result["open"]:
            opened = result["open"]["uar"]["value"]
            axis.plot(opened, row, "x", color=PLAIN, markersize=7)
            axis.annotate(f"{opened:.2f}", (opened, row), (0, -13), textcoords="offset points", ha="center", fontsize=8)
    chance = shown[0]["chance_uar"]
    axis.axvline(chance, color=PLAIN, linestyle="--", linewidth=1)
    axis.annotate(
        f"chance {chance:.2f}", (chance, 1), (3, -1), xycoords=("data", "axes fraction"),
        textcoords="offset points", va="top", fontsize=9, color=PLAIN,
    )  # fmt: skip
    axis.set_yticks(range(len(shown)), [r["title"] + (" (see note)" if r["note"] else "") for r in shown])
    axis.set_ylim(len(shown) - 0.4, -0.9)
    axis.set_xlim(0, 1)
    axis.grid(axis="x")
    axis.set_axisbelow(True)


def confusion_picture(result: Metrics, confusion: pd.DataFrame, synthetic: bool) -> Picture:
    """A confusion matrix: counts, and shares of each true class, side by side.

    Args:
        result: The model's metrics on the corpus.
        confusion: int [classes (true), classes (predicted)], labels as index and columns.
        synthetic: The corpus is.
    """
    labels = list(confusion.columns)
    counts = confusion.to_numpy()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    said = remarks([f"{result['title']}: {result['note']}" if result["note"] else ""], synthetic)
    title = f"{result['title']} on {result['corpus']} ({result['relation']})"
    figure, axes = canvas(title, 5.1, said, columns=2)
    for axis, values, peak, name, form in (
        (axes[0, 0], counts.astype(float), max(float(counts.max()), 1.0), "clips", "{:.0f}"),
        (axes[0, 1], shares, 1.0, "share of the true class", "{:.2f}"),
    ):
        axis.imshow(values, cmap="Blues", vmin=0, vmax=peak)
        for (true, predicted), value in np.ndenumerate(values):
            if not np.isnan(value):
                axis.text(
                    predicted, true, form.format(value), ha="center", va="center",
                    fontsize=10 if len(labels) <= 6 else 8.5, color="white" if value > 0.55 * peak else "#0f172a",
                )  # fmt: skip
        axis.set_title(name)
        axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(labels)), labels)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    data = pd.DataFrame(
        {
            "model": result["model"],
            "corpus": result["corpus"],
            "true": np.repeat(labels, len(labels)),
            "predicted": np.tile(labels, len(labels)),
            "clips": counts.ravel(),
            "share_of_true": shares.ravel(),
            **{f"share_{end}": _ends(result["confusion"]["shares"], end) for end in ("low", "high")},
        }
    )
    recalls = ", ".join(f"{label} {value:.2f}" for label, value in result["recall"].items())
    return Picture(
        name=file_name("confusion", result["model"], result["corpus"]),
        section="Confusion matrices",
        title=title + _noted(result),
        caption=f"{result['clips']} test clips of {result['speakers']} speakers. "
        "Left: clips. Right: each row as shares; the diagonal is the recall, and its mean the UAR. "
        f"{result['labels_protocol']['sentence']}.{' ' + result['answers'] + '.' if result['answers'] else ''} "
        "The data has each share's 95 % interval.",
        alt=f"Confusion matrix of {title}{_noted(result)}. Recall: {recalls}. "
        f"UAR {in_words(result['uar'])}{_open(result)}.",
        figure=figure,
        data=with_remarks(data, result["note"], synthetic),
    )


def _ends(shares: Sequence[Sequence[Mapping[str, float] | None]], end: str) -> list[float]:
    """One end of each share's interval, row by row; NaN in the row of a class without clips."""
    return [share[end] if share else np.nan for row in shares for share in row]


def learning_picture(
    model: str, spec: Mapping[str, Any], history: pd.DataFrame, corpus: str, synthetic: bool
) -> Picture:
    """Loss and dev UAR by epoch.

    Args:
        model: Its name in the study.
        spec: Its model.json.
        history: One row an epoch: epoch, train_loss, dev_loss, dev_uar.
        corpus: That it was trained on.
        synthetic: The corpus is.
    """
    said = remarks([spec["note"]], synthetic)
    title = f"{spec['title']}: learning on {corpus}"
    figure, axes = canvas(title, 3.9, said, columns=2)
    loss, uar = axes[0]
    dots = {"marker": "o" if len(history) < 15 else "", "markersize": 4}
    loss.plot(history["epoch"], history["train_loss"], color="#0072b2", label="train", **dots)
    loss.plot(history["epoch"], history["dev_loss"], color="#d55e00", label="dev", linestyle="--", **dots)
    loss.set_title("loss (cross-entropy)")
    loss.legend()
    best = history.iloc[int(history["dev_uar"].to_numpy().argmax())]
    first, last = history.iloc[0], history.iloc[-1]
    chance = 1 / len(spec["labels"])
    uar.plot(history["epoch"], history["dev_uar"], color="#d55e00", **dots)
    uar.plot(
        best["epoch"], best["dev_uar"], "*", color="#0f172a", markersize=12, label=f"highest, {best['dev_uar']:.2f}"
    )
    uar.axhline(chance, color=PLAIN, linestyle=":", label=f"chance, {chance:.2f}")
    uar.set_title("dev UAR")
    uar.set_ylim(0, 1)
    uar.legend()
    for axis in (loss, uar):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid()
    data = history[["epoch", "train_loss", "dev_loss", "dev_uar"]].assign(model=model)
    return Picture(
        name=file_name("learning", model),
        section="Learning",
        title=title + _noted(spec),
        caption="Left: loss on train and dev. Right: UAR on dev; "
        f"highest {best['dev_uar']:.3f} at epoch {best['epoch']:.0f} of {len(history)}.",
        alt=f"Learning curves of {spec['title']}{_noted(spec)}: dev UAR from {first['dev_uar']:.2f} at the first epoch "
        f"to {best['dev_uar']:.2f} at epoch {best['epoch']:.0f}; train loss from {first['train_loss']:.2f} to "
        f"{last['train_loss']:.2f}.",
        figure=figure,
        data=with_remarks(data, spec["note"], synthetic),
    )


def calibration_picture(results: Sequence[Metrics], corpus: str, synthetic: bool) -> Picture:
    """Do probabilities mean what they say: reliability, and accuracy on the clips that a model is surest of.

    Args:
        results: Of every model on the corpus.
        corpus: Its name.
        synthetic: The corpus is.
    """
    said = remarks((f"{r['title']}: {r['note']}" for r in results if r["note"]), synthetic)
    title = f"Calibration on {corpus}"
    figure, axes = canvas(title, 4.6, said, columns=2)
    left, right = axes[0, 0], axes[0, 1]
    left.plot([0, 1], [0, 1], color=PLAIN, linestyle="--", linewidth=1)
    rows = []
    for number, result in enumerate(results):
        bins, risk = result["calibration"]["reliability"]["scaled"], result["calibration"]["selective_risk"]
        style = {"color": f"C{number}", "marker": "osD^v"[number % 5], "markersize": 5, "label": result["title"]}
        left.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], **style)
        right.plot([r["coverage"] for r in risk], [r["accuracy"] for r in risk], **style)
        about = {"model": result["model"], "corpus": corpus, "synthetic": "yes" if synthetic else "no"}
        rows += [about | {"curve": "reliability", "x": b["confidence"], "y": b["accuracy"], "clips": b["clips"]}
                 for b in bins]  # fmt: skip
        rows += [
            about | {"curve": "coverage", "x": r["coverage"], "y": r["accuracy"], "clips": r["clips"]} for r in risk
        ]
    for axis, name, across in ((left, "reliability", "confidence"), (right, "accuracy against coverage", "coverage")):
        axis.set_title(name)
        axis.set_xlabel(across)
        axis.set_ylabel("accuracy")
        axis.set_xlim(0, 1.02)
        axis.set_ylim(0, 1.02)
        axis.grid()
        axis.set_axisbelow(True)
    left.legend(fontsize=8, loc="upper left", frameon=False)
    return Picture(
        name=file_name("calibration", corpus),
        section="Calibration",
        title=title,
        caption="Left: accuracy of the clips of each bin of confidence (15 equal-width bins); dashed: as they say. "
        "Right: accuracy on the clips that a model is surest of, by share kept. Both with the temperature "
        "that is part of each model, as its users get them.",
        alt="; ".join(
            f"{r['title']}: expected calibration error {in_words(r['calibration']['ece']['scaled'])}" for r in results
        ) + ".",
        figure=figure,
        data=pd.DataFrame(rows),
    )  # fmt: skip
