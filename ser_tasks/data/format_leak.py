"""Does anything about the files' format give the label away? Measured, not guessed.

From each fact of the files alone, and from all together, a small decision tree guesses the emotion of speakers that it
has not seen. What gets above chance is known before a model hears a sound. Rate, channels and codec say nothing about
a voice: a guess from them is a fault of the corpus. Level and duration are part of speech and of how it was recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student_t
from sklearn.model_selection import GroupKFold
from sklearn.tree import DecisionTreeClassifier

FOLDS = 5
MIN_SPEAKERS = 4
"""Under this many there is nobody left to learn from and to guess for."""
MIN_CLIPS = 10
"""Emotions with fewer clips are not guessed."""
FEW_VALUES = 8
"""Bytes per second with no more values than this were set by somebody; those of lossless compression have hundreds."""
RARE = 0.001
"""A permutation's p under this is named."""
MARGIN = 0.02
"""UAR above chance that is worth a person's time; a smaller one is named as none."""
CONFIDENCE = 0.99
"""Of the intervals: several facts are tried, and one in a hundred may pass by chance."""
MAX_CLIPS = 20_000
"""Of a larger corpus so many are drawn: enough to see a leak, and quick."""
SEED = 0
PROTOCOL = (
    f"a decision tree on the fact alone, {FOLDS} folds by speaker, unweighted average recall (UAR) over all clips; "
    f"{100 * CONFIDENCE:.0f} % interval by the jackknife over speakers, and permutation of labels within "
    f"speaker (p under {RARE}); named from {MARGIN} above chance"
)

Floats = npt.NDArray[np.float64]
FORMAT, SOUND = "format", "sound"
TOGETHER, EVERYTHING = "whole format", "format and sound"


@dataclass(frozen=True)
class Fact:
    """What a file shows before anybody listens.

    Attributes:
        name: For a person.
        columns: Of the table of facts.
        kind: `format` (of the file) or `sound` (of the speech, the room and the recording's level).
        unit: Of the first column.
        digits: After the point, of its numbers.
    """

    name: str
    columns: tuple[str, ...]
    kind: str
    unit: str = ""
    digits: int = 0


RATE = Fact("sample rate", ("sample_rate_hz",), FORMAT, "Hz")
CHANNELS = Fact("channels", ("channels",), FORMAT, "channel(s)")
CODEC = Fact("codec", ("codec",), FORMAT)
LEVEL = Fact("level", ("rms_db", "peak"), SOUND, "dB of full scale (RMS)", 1)
DURATION = Fact("duration", ("duration_s",), SOUND, "s", 2)


def format_leak(manifest: pd.DataFrame) -> dict[str, Any]:
    """Guess the emotion from the files' facts, on speakers that were held out.

    Args:
        manifest: Columns speaker_id, emotion, sample_rate_hz, channels, codec, bytes, rms_db, peak, duration_s.

    Returns:
        skipped (why nothing was measured, or None), protocol, speakers, clips, emotions (that were guessed), chance
        (UAR of a guess), facts (fact, kind, values (how many different), uar {value, low, high} and p_within_speaker,
        both None where all files agree, gives_label_away, sentence), leaks (names of facts of the format that give the
        label away) and sentences (what a person must know, the leaks first).
    """
    clips = manifest["emotion"].value_counts()
    emotions = sorted(str(name) for name, n in clips.items() if n >= MIN_CLIPS and name != "other")
    used = manifest[manifest["emotion"].isin(emotions)]
    speakers = int(used["speaker_id"].nunique())
    about = {
        "protocol": PROTOCOL, "speakers": speakers, "clips": len(used), "emotions": emotions,
        "chance": round(1 / len(emotions), 4) if emotions else None,
    }  # fmt: skip
    if len(emotions) < 2 or speakers < MIN_SPEAKERS:
        why = (
            f"not measured: {speakers} speaker(s) and {len(emotions)} emotion(s) with at least {MIN_CLIPS} clips; "
            f"it takes {MIN_SPEAKERS} speakers and 2 emotions"
        )
        return {"skipped": why, **about, "facts": [], "leaks": [], "sentences": [f"Format and label: {why}."]}
    table = _facts_table(used if len(used) <= MAX_CLIPS else used.sample(MAX_CLIPS, random_state=SEED))
    facts = [_measured(fact, table) for fact in _facts(table)]
    leaks = [row["fact"] for row in facts if row["kind"] == FORMAT and row["gives_label_away"]]
    return {"skipped": None, **about, "facts": facts, "leaks": leaks, "sentences": _sentences(facts, leaks)}


def _facts_table(used: pd.DataFrame) -> pd.DataFrame:
    # Two digits: in uncompressed files the header's 44 bytes must not tell the duration.
    per_second = (used["bytes"] / used["duration_s"]).replace([np.inf, -np.inf], np.nan).to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = 10.0 ** (np.floor(np.log10(per_second)) - 1)
    return used.assign(bytes_per_second=np.round(per_second / step) * step)


def _facts(table: pd.DataFrame) -> list[Fact]:
    """The facts to measure. Bytes per second are the format's where they take few values, else the sound's."""
    format_columns = ["sample_rate_hz", "channels", "codec"]
    steady = table["bytes_per_second"].value_counts(normalize=True).head(FEW_VALUES).sum() >= 0.95
    size = Fact("bytes per second", ("bytes_per_second",), FORMAT if steady else SOUND, "bytes/s")
    of_format = (*format_columns, "bytes_per_second") if steady else tuple(format_columns)
    everything = (*format_columns, "bytes_per_second", *LEVEL.columns, *DURATION.columns)
    return [
        RATE, CHANNELS, CODEC, size, Fact(TOGETHER, of_format, FORMAT), LEVEL, DURATION,
        Fact(EVERYTHING, everything, SOUND),
    ]  # fmt: skip


def _measured(fact: Fact, table: pd.DataFrame) -> dict[str, Any]:
    values = len(table[list(fact.columns)].drop_duplicates())
    row = {
        "fact": fact.name, "kind": fact.kind, "values": values, "uar": None, "p_within_speaker": None,
        "gives_label_away": False,
    }  # fmt: skip
    if values == 1:
        return {**row, "sentence": f"{fact.name.capitalize()}: the same in every file."}
    emotions, target = np.unique(table["emotion"].to_numpy(str), return_inverse=True)
    speakers, group = np.unique(table["speaker_id"].to_numpy(str), return_inverse=True)
    features = np.column_stack([_numbers(table[column]) for column in fact.columns])
    counts = np.zeros((len(speakers), len(emotions), len(emotions)))
    np.add.at(counts, (group, target, _guess(features, target, group)), 1)
    uar, p, chance = _uar(counts), _p_within_speaker(counts), 1 / len(emotions)
    # Few speakers with the same fault make a wide interval over speakers, and speakers with one emotion each have no
    # within: either will do.
    found = uar["value"] >= chance + MARGIN and (uar["low"] > chance or p < RARE)
    row |= {"uar": uar, "p_within_speaker": round(p, 5), "gives_label_away": found}
    return {**row, "sentence": _sentence(fact, table, uar, chance, found)}


def _numbers(column: pd.Series) -> Floats:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan)
    return pd.factorize(column, sort=True)[0].astype(np.float64)


def _guess(features: Floats, target: npt.NDArray[np.intp], group: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Each clip's emotion as guessed by a tree that has not seen its speaker, int [clips]."""
    guessed = np.empty_like(target)
    for seen, held_out in GroupKFold(min(FOLDS, len(np.unique(group)))).split(features, target, group):
        tree = DecisionTreeClassifier(
            max_leaf_nodes=32, min_samples_leaf=max(2, len(seen) // 400), class_weight="balanced", random_state=SEED
        )
        guessed[held_out] = tree.fit(features[seen], target[seen]).predict(features[held_out])
    return guessed


def _uar(counts: Floats) -> dict[str, float]:
    """UAR of confusion matrices [speakers, true, guessed], with its interval by the jackknife over speakers.

    The jackknife (Tukey 1958) with Student's t asks more of few speakers than a bootstrap does.
    """
    speakers = len(counts)
    clips, hits = counts.sum(axis=2), np.diagonal(counts, axis1=1, axis2=2)
    value = float(np.mean(hits.sum(axis=0) / clips.sum(axis=0)))
    without = np.nanmean(_ratio(hits.sum(axis=0) - hits, clips.sum(axis=0) - clips), axis=1)
    error = np.sqrt((speakers - 1) / speakers * np.square(without - without.mean()).sum())
    reach = float(student_t.ppf((1 + CONFIDENCE) / 2, speakers - 1) * error)
    interval = {"low": max(0.0, value - reach), "high": min(1.0, value + reach)}
    return {key: round(number, 4) for key, number in ({"value": value} | interval).items()}


def _p_within_speaker(counts: Floats) -> float:
    """Chance of such a UAR if each speaker's labels were dealt anew to that speaker's clips.

    Mean and variance over all permutations are exact (Hoeffding 1951, a combinatorial central limit theorem).

    Args:
        counts: Confusion matrices [speakers, true, guessed].
    """
    size = counts.sum(axis=(1, 2))
    labels, guesses = counts.sum(axis=2), counts.sum(axis=1)
    worth = 1 / (labels.sum(axis=0) * labels.shape[1])  # of a hit: its share of the UAR
    mean = (labels * guesses * worth).sum(axis=1) / size
    by_guess, by_label = labels * worth / size[:, None], guesses * worth / size[:, None]
    centred = np.eye(len(worth)) * worth - by_guess[:, None, :] - by_label[:, :, None] + (mean / size)[:, None, None]
    squares = np.einsum("sl,sg,slg->s", labels, guesses, centred**2)
    variance = float((squares / np.maximum(size - 1, 1)).sum())
    hits = float((np.diagonal(counts, axis1=1, axis2=2) * worth).sum())
    return float(norm.sf((hits - mean.sum()) / np.sqrt(variance))) if variance > 1e-15 else 1.0


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0))


def _sentence(fact: Fact, table: pd.DataFrame, uar: Mapping[str, float], chance: float, found: bool) -> str:
    figures = f"UAR {uar['value']:.3f} ({uar['low']:.3f} to {uar['high']:.3f}), chance {chance:.3f}"
    verdict = "varies, but does not give the label away"
    if found:
        verdict = f"gives the label away{_where(fact, table)}" if fact.kind == FORMAT else _going_with(fact, table)
    return f"{fact.name.capitalize()}: {figures}: {verdict}."


def _where(fact: Fact, table: pd.DataFrame) -> str:
    """The value and the emotion that belong together most, with shares of the clips."""
    if len(fact.columns) > 1:
        return ""
    counts = pd.crosstab(table["emotion"], table[fact.columns[0]])
    share = counts.div(counts.sum(axis=1), axis=0)
    others = (counts.sum(axis=0) - counts).div(len(table) - counts.sum(axis=1), axis=0)
    row, column = divmod(int(np.argmax((share - others).to_numpy())), share.shape[1])
    emotion, value = counts.index.to_numpy(str)[row], counts.columns.to_numpy(str)[column].removesuffix(".0")
    of_it, of_others = share.to_numpy()[row, column], others.to_numpy()[row, column]
    unit = f" {fact.unit}" if fact.unit else ""
    return f"; {value}{unit} in {100 * of_it:.0f} % of {emotion} and {100 * of_others:.0f} % of the rest"


def _going_with(fact: Fact, table: pd.DataFrame) -> str:
    """In words, with the emotions that have the lowest and the highest median of the fact's first column."""
    if not fact.unit:
        return "goes with the label"
    medians = table.groupby("emotion")[fact.columns[0]].median().sort_values()
    low, high = (f"{value:,.{fact.digits}f}".replace("-", "−") for value in (medians.iloc[0], medians.iloc[-1]))
    return f"goes with the label; median {low} in {medians.index[0]}, {high} {fact.unit} in {medians.index[-1]}"


def _sentences(facts: Sequence[Mapping[str, Any]], leaks: Sequence[str]) -> list[str]:
    by_name = {row["fact"]: row for row in facts}
    if leaks:
        said = [by_name[name]["sentence"] for name in leaks if name != TOGETHER or leaks == [TOGETHER]]
        said.append(
            "A model can learn the format instead of the voice: make all files anew in one format from the originals, "
            "or leave out what differs, before training."
        )
    elif by_name[TOGETHER]["uar"]:
        said = [by_name[TOGETHER]["sentence"]]
    else:
        said = ["Format: the same in every file, so it cannot give the label away."]
    cues = [row for row in facts if row["kind"] == SOUND and row["gives_label_away"]]
    said += [row["sentence"] for row in cues if row["fact"] != EVERYTHING or not leaks]
    if cues and not leaks:
        best = max(cues, key=lambda row: row["uar"]["value"])
        said.append(
            "Level and duration, and so the size of compressed files, are part of how emotions are spoken, and of how "
            "clips were recorded and cut. That is no fault by itself, but a model has heard more than that only "
            f"above UAR {best['uar']['value']:.3f}."
        )
    return said
