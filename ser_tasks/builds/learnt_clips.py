"""Which clips a trained embedder has learnt from: found where they are embedded, left out where a trait is scored.

A model that has learnt the labels of a speaker's clips looks better on this speaker's trait than on anybody else's.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.audio.shards import shard_utterances
from ser_tasks.data.learnt import Learnt, about_seen, in_words, seen, sketch
from ser_tasks.errors import BadInput
from ser_tasks.rudeness.verdict import MIN_CLIPS, MIN_SPEAKERS

SEEN = "seen.parquet"
"""Beside embeddings of a trained model: utterance_id and seen, of `ser_tasks.data.learnt.seen`."""
WAY_OUT = (
    "take a pretrained encoder's embeddings (in a configuration trait.embedder: encoder, with ENCODER=<folder> where "
    "no hub can be reached; on folders --encoder <folder>), or a corpus of other speakers"
)


def taint(learnt: Learnt | None) -> str:
    """What a reader must know of every result in embeddings of such a model."""
    return f"embeddings of a model that has learnt labels from {'; '.join(in_words(learnt))}"


def write_seen(
    learnt: Learnt, audio: PackedAudio, shards: Path, speakers: Sequence[str], corpus: str, out: Path
) -> None:
    """Write `SEEN` for the clips of these speakers, which `audio` holds."""
    of = {name: speaker for speaker in speakers for name in shard_utterances(shards, speaker)}
    rows = pd.DataFrame({"utterance_id": audio.utterance_ids}).assign(corpus=corpus, role="")
    rows["speaker_id"] = rows["utterance_id"].map(of)
    rows = rows.assign(seen=seen(learnt, sketch(rows, audio, shards)))
    rows[["utterance_id", "seen"]].to_parquet(out / SEEN, index=False)


def marked(clips: pd.DataFrame, embeddings: Path) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Clips with the column `seen`, and what is said of them.

    Args:
        clips: utterance_id and speaker_id.
        embeddings: Folder that `embeddings` wrote.

    Returns:
        The clips with a new index, and `about_seen` of a result that leaves the seen ones out; None for an embedder
        that has learnt no labels.
    """
    clips = clips.reset_index(drop=True)
    about = json.loads((embeddings / "about.json").read_text(encoding="utf-8"))
    if not about.get("trained"):
        return clips.assign(seen=""), None
    known = (embeddings / SEEN).is_file()
    how = pd.read_parquet(embeddings / SEEN) if known else pd.DataFrame({"utterance_id": [], "seen": []}, dtype=str)
    clips = clips.assign(seen=clips["utterance_id"].map(how.set_index("utterance_id")["seen"]).fillna(""))
    return clips, about_seen(clips, clips["seen"] == "", known)


def refuse_too_little_unseen(clips: pd.DataFrame, told: dict[str, Any], corpus: str) -> None:
    """Refuse a trait for which the embedder has left too few strangers.

    Raises:
        BadInput: Says how many there are, and the way out.
    """
    kept = clips[clips["seen"] == ""]
    groups = (int(kept["high"].sum()), int((~kept["high"].astype(bool)).sum()))
    people = kept["speaker_id"].nunique()
    if told["clips"] and (min(groups) < MIN_CLIPS or people < MIN_SPEAKERS):
        raise BadInput(
            f"trait: the model that gives the embeddings has learnt from {len(told['speakers'])} of the "
            f"{clips['speaker_id'].nunique()} speakers of {corpus}, and only speakers whom it has not seen say "
            f"anything: {groups[0]} high and {groups[1]} low clips of {people} speakers are left, and it takes at "
            f"least {MIN_CLIPS} clips in either group and {MIN_SPEAKERS} speakers: {WAY_OUT}"
        )
