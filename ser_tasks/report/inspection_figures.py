"""Pictures of a scanned corpus: balance, speakers, durations, loudness, and what the emotions look like."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_tasks.audio.decode import decode
from ser_tasks.audio.logmel import LogMel, LogMelOptions
from ser_tasks.errors import BadInput
from ser_tasks.report.figures import EMOTION_LOOKS, PLAIN, Picture, canvas, remarks, with_remarks

SEX_LOOKS = {"female": "#0f766e", "male": "#99b8c9", "unknown": "#e2e8f0"}
"""Colours of the sexes: none is an emotion's."""
SHOWN_NUMBERS = 40
"""Up to so many speakers the heat map has numbers in it."""
RANGE_DB = 70.0
"""Of a spectrogram, below its loudest point."""
FREQUENCIES_HZ = (100, 500, 1000, 2000, 4000, 8000)

Read = Callable[[str], bytes]


def corpus_pictures(report: Mapping[str, Any], manifest: pd.DataFrame, read: Read) -> list[Picture]:
    """Every picture of a corpus, in the order of the page; none for a corpus without clips.

    Args:
        report: Of `inspect_corpus`.
        manifest: That it was made from.
        read: Gives the bytes of a path of the manifest.
    """
    if manifest.empty:
        return []
    return [
        _balance(report),
        _speakers(report),
        _durations_and_levels(report, manifest),
        _spectrograms(report, manifest, read),
    ]


def _colour(emotion: str) -> str:
    return EMOTION_LOOKS.get(emotion, (PLAIN, "o"))[0]


def _picture(
    report: Mapping[str, Any], name: str, title: str, caption: str, alt: str, figure: Figure, data: Any
) -> Picture:
    frame = with_remarks(pd.DataFrame(data), "", report["synthetic"])
    return Picture(name, "Pictures", title, caption, alt, figure, frame)


def _said(report: Mapping[str, Any]) -> list[str]:
    return remarks([], report["synthetic"])


def _balance(report: Mapping[str, Any]) -> Picture:
    emotions, by_sex = list(report["emotions"]), report["emotions_by_sex"]
    sexes = [sex for sex in SEX_LOOKS if any(sex in counts for counts in by_sex.values())]
    sexes += sorted({sex for counts in by_sex.values() for sex in counts} - set(sexes))
    title = "Clips by emotion and sex"
    figure, axes = canvas(title, 1.3 + 0.36 * len(emotions), _said(report))
    axis = axes[0, 0]
    start = np.zeros(len(emotions))
    for sex in sexes:
        counts = np.array([by_sex[emotion].get(sex, 0) for emotion in emotions], dtype=float)
        colour = SEX_LOOKS.get(sex, SEX_LOOKS["unknown"])
        speakers = report["sexes"][sex]
        label = f"{sex} ({speakers:,} speaker{'s' if speakers != 1 else ''})"
        axis.barh(range(len(emotions)), counts, left=start, color=colour, edgecolor="white", height=0.72, label=label)
        start += counts
    for row, total in enumerate(start):
        axis.annotate(f"{total:,.0f}", (total, row), (4, 0), textcoords="offset points", va="center", fontsize=9)
    _name_rows(axis, emotions)
    axis.set_xlim(0, start.max() * 1.09)
    axis.set_xlabel("clips")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=len(sexes), fontsize=9.5)
    data = [{"emotion": e, "sex": s, "clips": by_sex[e].get(s, 0)} for e in emotions for s in sexes]
    totals = ", ".join(f"{emotion} {n:,}" for emotion, n in report["emotions"].items())
    caption = "Each bar: the clips of one emotion, by the speakers' sex."
    return _picture(report, "balance", title, caption, f"Clips by emotion: {totals}.", figure, data)


def _name_rows(axis: Axes, emotions: Sequence[str]) -> None:
    axis.set_yticks(range(len(emotions)), emotions)
    axis.set_ylim(len(emotions) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
    axis.set_axisbelow(True)


def _speakers(report: Mapping[str, Any]) -> Picture:
    emotions, rows = list(report["emotions"]), report["by_speaker"]
    counts = np.array([[row["emotions"].get(emotion, 0) for row in rows] for emotion in emotions])
    names = [row["speaker"] for row in rows]
    title = "Clips by speaker and emotion"
    figure, axes = canvas(title, 1.7 + 0.33 * len(emotions), _said(report))
    axis, most = axes[0, 0], max(int(counts.max()), 1)
    image = axis.imshow(counts, cmap="Blues", vmin=0, vmax=most, aspect="auto", interpolation="nearest")
    if len(names) <= SHOWN_NUMBERS:
        size = 9 if len(names) <= 24 and most < 1000 else 7
        for (row, column), n in np.ndenumerate(counts):
            colour = "#b42318" if n == 0 else "white" if n > 0.55 * most else "#0f172a"
            axis.text(column, row, str(n), ha="center", va="center", fontsize=size, color=colour)
    step = -(-len(names) // SHOWN_NUMBERS)
    turn = 90 if max(map(len, names)) > 3 or len(names) > 30 else 0
    axis.set_xticks(range(0, len(names), step), [_short(name, 12) for name in names[::step]], rotation=turn, fontsize=9)
    axis.set_yticks(range(len(emotions)), emotions)
    axis.set_xlabel("speaker" if step == 1 else f"speaker (every {step}th is named)")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.hlines(np.arange(len(emotions) - 1) + 0.5, -0.5, len(names) - 0.5, color="white", linewidth=1)
    if len(names) <= SHOWN_NUMBERS:
        axis.vlines(np.arange(len(names) - 1) + 0.5, -0.5, len(emotions) - 0.5, color="white", linewidth=1)
    figure.colorbar(image, ax=axis, label="clips", shrink=0.85, pad=0.01, aspect=14)
    none = int((counts == 0).sum())
    sizes = [row["clips"] for row in rows]
    caption = (
        f"{len(rows):,} speakers with {min(sizes):,}"
        + (f" to {max(sizes):,} clips; " if min(sizes) < max(sizes) else " clips each; ")
        + (f"{none:,} pairs of speaker and emotion have no clip." if none else "every speaker has every emotion.")
    )  # fmt: skip
    data = [
        {"speaker": row["speaker"], "emotion": emotion, "clips": row["emotions"].get(emotion, 0)}
        for row in rows for emotion in emotions
    ]  # fmt: skip
    return _picture(report, "speakers", title, caption, caption, figure, data)


def _short(name: str, most: int) -> str:
    """A name's end is what tells it from its neighbours."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _durations_and_levels(report: Mapping[str, Any], manifest: pd.DataFrame) -> Picture:
    emotions = list(report["emotions"])
    title = "Durations and loudness by emotion"
    figure, axes = canvas(title, 1.3 + 0.36 * len(emotions), _said(report), columns=2, sharey=True)
    data = []
    for axis, column, unit in (
        (axes[0, 0], "duration_s", "duration, s"),
        (axes[0, 1], "rms_db", "level (RMS), dB of full scale"),
    ):
        for row, emotion in enumerate(emotions):
            values = manifest.loc[manifest["emotion"] == emotion, column].dropna().to_numpy(np.float64)
            if len(values):
                spread = np.percentile(values, [5, 25, 50, 75, 95])
                _box(axis, row, spread, _colour(emotion))
                data.append({"emotion": emotion, "fact": column, **_named(spread)})
        _name_rows(axis, emotions)
        axis.set_xlabel(unit)
    caption = "Box: the middle half of the clips, with the median. Lines: from the 5th to the 95th percentile."
    medians = "; ".join(
        f"{row['emotion']} {row['median_duration_s']} s, {row['median_rms_db']} dB" for row in report["by_emotion"]
    )
    return _picture(report, "durations", title, caption, f"Medians by emotion: {medians}.", figure, data)


def _named(spread: npt.NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(("p5", "p25", "median", "p75", "p95"), spread.tolist(), strict=True))


def _box(axis: Axes, row: int, spread: npt.NDArray[np.float64], colour: str) -> None:
    low, lower, median, upper, high = spread
    axis.hlines(row, low, high, color=colour, linewidth=1.6)
    axis.barh(row, upper - lower, left=lower, height=0.56, color=colour, alpha=0.35, edgecolor="none")
    axis.vlines([low, high], row - 0.14, row + 0.14, color=colour, linewidth=1.6)
    axis.vlines(median, row - 0.28, row + 0.28, color=colour, linewidth=3)


def chosen_clips(manifest: pd.DataFrame) -> pd.DataFrame:
    """One clip of each emotion to look at: one speaker and sentence where possible, and without a known issue.

    The speaker and sentence with the most emotions are taken, the first by name of those; what they lack comes from the
    same speaker, and what that speaker lacks from anybody. Always the same clips of the same manifest.

    Args:
        manifest: Columns utterance_id, speaker_id, sentence_id, emotion, known_issue.

    Returns:
        Rows of the manifest, sorted by emotion.
    """
    sound = manifest[manifest["known_issue"].isna()]
    rows = manifest if sound.empty else sound
    rows = rows.assign(sentence=rows["sentence_id"].fillna("")).sort_values("utterance_id")
    richest: Any = rows.groupby(["speaker_id", "sentence"])["emotion"].nunique().idxmax()
    same_speaker = rows["speaker_id"] == richest[0]
    nearness = (same_speaker & (rows["sentence"] == richest[1])).astype(int) + same_speaker
    ranked = rows.assign(nearness=nearness).sort_values(["nearness"], ascending=False, kind="stable")
    first = pd.concat([ranked, manifest]).drop_duplicates("emotion")  # an emotion may have clips with an issue only
    return first.drop(columns=["sentence", "nearness"]).sort_values("emotion", ignore_index=True)


def _spectrograms(report: Mapping[str, Any], manifest: pd.DataFrame, read: Read) -> Picture:
    clips = chosen_clips(manifest)
    title = "Log-mel spectrograms, one clip of each emotion"
    rows = -(-len(clips) // 2)
    figure, axes = canvas(title, 0.9 + 1.75 * rows, _said(report), rows=rows, columns=2, sharex=True, sharey=True)
    logmel = LogMel(LogMelOptions())
    drawn, longest = None, 0.0
    for axis, clip in zip(axes.ravel(), clips.itertuples(), strict=False):
        axis.set_title(f"{clip.emotion}: {_short(str(clip.utterance_id), 40)}", fontsize=9.5)
        try:
            samples = decode(read(str(clip.path)), str(clip.path)).samples
        except (BadInput, OSError) as error:
            axis.text(0.02, 0.5, f"cannot be read: {error}", transform=axis.transAxes, fontsize=8.5, wrap=True)
            continue
        levels, seconds = _levels(logmel, samples), len(samples) / logmel.options.sample_rate_hz
        extent = (0.0, seconds, -0.5, logmel.options.n_mels - 0.5)
        drawn = axis.imshow(
            levels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-RANGE_DB, vmax=0, rasterized=True
        )
        longest = max(longest, seconds)
    for axis in axes.ravel()[len(clips) :]:
        axis.set_visible(False)
    _name_frequencies(axes, logmel, longest or 1.0)
    for axis in (axes[-1, 0], axes[-1 if len(clips) % 2 == 0 else -2, 1]):
        axis.set_xlabel("time, s")
        axis.tick_params(labelbottom=True)
    if drawn is not None:
        figure.colorbar(drawn, ax=axes, label="dB below the clip's loudest point", shrink=0.6, pad=0.01, aspect=30)
    caption = (
        "As the networks see the clips, before they are normalised: 16 kHz mono, 64 mel bands from 50 Hz, windows of "
        "25 ms, 10 ms apart, nothing under −80 dB of full scale. " + _choice(clips)
    )
    alt = "Spectrograms of " + ", ".join(f"{clip.utterance_id} ({clip.emotion})" for clip in clips.itertuples()) + "."
    data = clips[["emotion", "utterance_id", "speaker_id", "sentence_id", "path"]]
    return _picture(report, "spectrograms", title, caption, alt, figure, data)


def _choice(clips: pd.DataFrame) -> str:
    one_speaker, one_sentence = clips["speaker_id"].nunique() == 1, clips["sentence_id"].nunique(dropna=False) == 1
    if not one_speaker:
        return "No speaker has clips of every emotion: they are of several."
    speaker, sentence = clips["speaker_id"].iloc[0], clips["sentence_id"].iloc[0]
    if one_sentence and pd.notna(sentence):
        return f"All by speaker {speaker}, sentence {sentence}."
    return f"All by speaker {speaker}; the words differ."


def _levels(logmel: LogMel, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """dB below the loudest point, [mel bands, frames]."""
    features, _ = logmel(torch.from_numpy(samples.copy())[None, :], torch.tensor([len(samples)]))
    power_db = features[0].numpy().astype(np.float64) * 10 / np.log(10)
    return np.asarray(power_db - power_db.max())


def _name_frequencies(axes: npt.NDArray[np.object_], logmel: LogMel, longest: float) -> None:
    filters = logmel.mel.mel_scale.fb.numpy()  # [frequency bins, mel bands]
    hertz = np.linspace(0, logmel.options.sample_rate_hz / 2, len(filters))
    centres = (filters * hertz[:, None]).sum(axis=0) / filters.sum(axis=0)
    places = np.interp(FREQUENCIES_HZ, centres, np.arange(len(centres)))
    for axis in axes[:, 0]:
        axis.set_yticks(places, [f"{value / 1000:g}" for value in FREQUENCIES_HZ])
        axis.set_ylabel("kHz")
    axes[0, 0].set_xlim(0, longest)
