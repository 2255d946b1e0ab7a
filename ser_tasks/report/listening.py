"""A few clips at both ends of a direction, as they go into a page to be listened to."""

import base64
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.audio.shards import flac_of
from ser_tasks.report.trait_figures import ends

CLIPS = 3
"""At either end: a page carries them in itself, at about 60 kB each."""


def clips_to_hear(scores: pd.DataFrame, shards: Path) -> list[dict[str, Any]]:
    """The lowest and the highest clips, lowest first.

    Args:
        scores: Of the trait step.
        shards: Of the step `pack`.

    Returns:
        Each with end (low, high), utterance_id, speaker_id, emotion, rating (None without), score, and `source`: the
        clip as a data URI.
    """
    found = []
    for row in ends(scores, CLIPS).to_dict("records"):
        flac = flac_of(shards, row["speaker_id"], row["utterance_id"])
        kept = {name: row[name] for name in ("end", "utterance_id", "speaker_id", "emotion", "score")}
        rating = None if pd.isna(row["rating"]) else float(row["rating"])
        source = "data:audio/flac;base64," + base64.b64encode(flac).decode()
        found.append(kept | {"rating": rating, "source": source})
    return found
