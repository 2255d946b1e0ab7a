"""What a person wants to know of a corpus before training on it, in numbers and words that go into JSON."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.audio.measure import MUCH_OFFSET, NEARLY_SILENT_DB
from ser_tasks.data.conditions import conditions
from ser_tasks.data.format_leak import format_leak

NO_SOUND_DB = -115.0
"""dB of full scale: under the smallest step of 16-bit audio, so nothing was recorded."""
EXAMPLES = 3
"""Of the clips with one kind of problem, so many are named in the summary."""
UNKNOWN = "unknown"
_AMOUNT = re.compile(r"\d[\d,.]*(?= %| (?:bytes|samples|s|seconds|minutes|MB)\b)|\b[0-9a-f]{6,64}(?=\.\.\.)")

ABOUT = ("corpus", "title", "licence", "citation", "commercial_use", "notes", "synthetic")
"""What is known of a corpus besides its clips; the last is false where it is not given."""


def inspect_corpus(
    manifest: pd.DataFrame,
    rejected: pd.DataFrame,
    left_out: pd.DataFrame,
    missing: pd.DataFrame,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Sum up a scanned corpus.

    Args:
        manifest: One row an utterance, as `scan` makes it.
        rejected: Columns path, reason: files that cannot be used.
        left_out: Columns path, reason: files that the corpus's reader passes over.
        missing: Columns path, reason: files of the checksum list that are not there.
        about: Keys of `ABOUT`; notes is a list of sentences.

    Returns:
        A report that JSON can hold. Durations are in seconds, levels in dB of full scale, shares in [0, 1]; what is not
        known is None, a speaker's sex "unknown".
    """
    emotions = sorted(manifest["emotion"].unique())
    sex = manifest["sex"].fillna(UNKNOWN).astype(str)
    return {
        **{key: about.get(key) for key in ABOUT[:-1]},
        "notes": list(about.get("notes") or []),
        "synthetic": bool(about.get("synthetic", False)),
        "utterances": len(manifest),
        "speakers": int(manifest["speaker_id"].nunique()),
        "hours": round(float(manifest["duration_s"].sum()) / 3600, 3),
        "duration_s": _spread(manifest["duration_s"], 2),
        "sample_rates_hz": _counts(manifest["sample_rate_hz"]),
        "channels": _counts(manifest["channels"]),
        "codecs": _counts(manifest["codec"]),
        "level": _level(manifest),
        "conditions": asdict(conditions(manifest)),
        "emotions": {emotion: int(n) for emotion, n in manifest["emotion"].value_counts().sort_index().items()},
        "by_emotion": [_emotion_row(emotion, manifest[manifest["emotion"] == emotion]) for emotion in emotions],
        "sexes": _speakers_by(manifest, sex),
        "emotions_by_sex": {
            emotion: _counts(sex[manifest["emotion"] == emotion].sort_values()) for emotion in emotions
        },
        "ages": _ages(manifest),
        "races": _speakers_by(manifest, manifest["race"].dropna()),
        "ethnicities": _speakers_by(manifest, manifest["ethnicity"].dropna()),
        "by_speaker": _by_speaker(manifest, sex),
        "intensities": _counts(manifest["intensity"].dropna().sort_values()),
        "sentences": _sentences(manifest, emotions),
        "votes": _votes(manifest),
        "rejected": _rows(rejected),
        "left_out": _counts(left_out["reason"]),
        "missing": _rows(missing),
        "issues": [
            {"utterance_id": name, "issue": issue}
            for name, issue in zip(manifest["utterance_id"], manifest["known_issue"], strict=True)
            if pd.notna(issue)
        ],
        "problems": _problems(manifest, rejected, missing),
        "format_leak": format_leak(manifest),
    }


def _counts(values: pd.Series) -> dict[str, int]:
    """Values as text with their counts, the most frequent first."""
    return {str(value): int(n) for value, n in Counter(values.tolist()).most_common()}


def _rows(listing: pd.DataFrame) -> list[dict[str, str]]:
    return [{"path": path, "reason": why} for path, why in zip(listing["path"], listing["reason"], strict=True)]


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def _spread(values: pd.Series, digits: int) -> dict[str, float | None]:
    known = values.dropna().to_numpy(np.float64)
    if not len(known):
        return dict.fromkeys(("min", "p5", "median", "mean", "p95", "max"))
    low, p5, median, p95, high = np.percentile(known, [0, 5, 50, 95, 100])
    spread = {"min": low, "p5": p5, "median": median, "mean": known.mean(), "p95": p95, "max": high}
    return {key: _number(value, digits) for key, value in spread.items()}


def _level(manifest: pd.DataFrame) -> dict[str, Any]:
    level = manifest["rms_db"].astype(float)
    return {
        "rms_db": _spread(level, 1),
        "clipped": int((manifest["clipped_fraction"].astype(float) > 0).sum()),
        "silent": int((level < NO_SOUND_DB).sum()),
        "nearly_silent": int(level.between(NO_SOUND_DB, NEARLY_SILENT_DB, inclusive="left").sum()),
        "dc_offset": int((manifest["dc_offset"].astype(float).abs() > MUCH_OFFSET).sum()),
    }


def _emotion_row(emotion: str, clips: pd.DataFrame) -> dict[str, Any]:
    return {
        "emotion": emotion,
        "clips": len(clips),
        "speakers": int(clips["speaker_id"].nunique()),
        "seconds": _number(clips["duration_s"].sum(), 1),
        "median_duration_s": _number(clips["duration_s"].median(), 2),
        "median_rms_db": _number(clips["rms_db"].median(), 1),
    }


def _speakers_by(manifest: pd.DataFrame, value: pd.Series) -> dict[str, int]:
    """How many speakers have each value; `value` is aligned with the manifest and may leave rows out."""
    speakers = manifest["speaker_id"].loc[value.index].groupby(value).nunique()
    return {str(name): int(n) for name, n in speakers.items()}


def _ages(manifest: pd.DataFrame) -> dict[str, float] | None:
    ages = manifest.dropna(subset=["age"]).drop_duplicates("speaker_id")["age"].astype(float)
    if ages.empty:
        return None
    return {"speakers": len(ages), "min": ages.min(), "median": float(ages.median()), "max": ages.max()}


def _by_speaker(manifest: pd.DataFrame, sex: pd.Series) -> list[dict[str, Any]]:
    clips = pd.crosstab(manifest["speaker_id"], manifest["emotion"])
    first = manifest.assign(sex=sex).groupby("speaker_id")["sex"].first()
    seconds = manifest["duration_s"].astype(float).groupby(manifest["speaker_id"]).sum().round(1)
    return [
        {
            "speaker": str(speaker),
            "sex": str(first[speaker]),
            "clips": int(row.sum()),
            "seconds": float(seconds[speaker]),
            "emotions": {str(emotion): int(n) for emotion, n in zip(clips.columns, row, strict=True) if n},
        }
        for speaker, row in zip(clips.index, clips.to_numpy(), strict=True)
    ]


def _sentences(manifest: pd.DataFrame, emotions: list[str]) -> dict[str, Any]:
    """How many sentences are known, and whether each is said in every emotion: if not, words may tell the label."""
    said = manifest.dropna(subset=["sentence_id"]).groupby("sentence_id")["emotion"].nunique()
    partly = said[said < len(emotions)]
    return {
        "count": len(said),
        "each_in_every_emotion": not len(partly) if len(said) else None,
        "not_in_every_emotion": len(partly),
        "examples": [str(name) for name in partly.index[:EXAMPLES]],
        "clips_without": int(manifest["sentence_id"].isna().sum()),
    }


def _votes(manifest: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """How raters agree with the label, by what they were given (voice, face, both, ...)."""
    found: dict[str, Counter[str]] = {}
    heard: dict[str, Counter[str]] = {}
    for text, label in zip(manifest["votes"], manifest["emotion"], strict=True):
        for modality, votes in json.loads(text).items() if isinstance(text, str) else ():
            counts: dict[str, int] = votes["counts"]
            most = max(counts.values(), default=0)
            leaders = [emotion for emotion, n in counts.items() if n == most and n]
            if not leaders:
                continue
            tally = found.setdefault(modality, Counter())
            tally["clips"] += 1
            tally["votes"] += sum(counts.values())
            tally["votes_for_label"] += counts.get(label, 0)
            if len(leaders) > 1:
                tally["ties"] += 1
            else:
                tally["majority_is_label"] += leaders == [label]
                heard.setdefault(modality, Counter())[leaders[0]] += 1
    return {
        modality: {
            "clips": tally["clips"],
            "majority_is_label": round(tally["majority_is_label"] / tally["clips"], 4),
            "ties": tally["ties"],
            "votes": tally["votes"],
            "votes_for_label": round(tally["votes_for_label"] / tally["votes"], 4),
            "majorities": dict(heard.get(modality, Counter()).most_common()),
        }
        for modality, tally in found.items()
    }


def _problems(manifest: pd.DataFrame, rejected: pd.DataFrame, missing: pd.DataFrame) -> list[dict[str, Any]]:
    """Rejected, missing and flagged clips by kind, the most frequent first, each with a few names."""
    groups: dict[tuple[str, str], list[str]] = {}
    for what, listing in (("rejected", rejected), ("missing", missing)):
        for path, reason in zip(listing["path"], listing["reason"], strict=True):
            groups.setdefault((what, kind_of(reason)), []).append(path)
    flagged = manifest.dropna(subset=["known_issue"])
    for name, issues in zip(flagged["utterance_id"], flagged["known_issue"], strict=True):
        for issue in issues.split("; "):
            groups.setdefault(("flagged", kind_of(issue)), []).append(name)
    return [
        {"what": what, "kind": kind, "clips": len(names), "examples": names[:EXAMPLES]}
        for (what, kind), names in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def kind_of(reason: str) -> str:
    """A reason without what differs from clip to clip: names of other clips, quoted text, amounts."""
    kind = re.sub(r"^((?:same audio|in the checksum list)\b.*?\bas) .+", r"\1 another file", reason)
    return _AMOUNT.sub("…", re.sub(r"'[^']*'", "'…'", kind))
