"""What a model has learnt from, and which clips it has therefore seen.

A model's folder holds it beside the weights: `learnt.json` names the corpora, speakers and numbers of clips, and
`learnt.parquet` keeps a sketch of every clip (about 150 bytes: 1 MB for CREMA-D). No audio can be made of a sketch, but
a clip is known again by it, under whatever name: a model that is tested on what it has learnt from looks better than it
is.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ser_tasks.audio.fingerprint import near_identical
from ser_tasks.audio.packed import PackedAudio
from ser_tasks.audio.shards import FINGERPRINTS
from ser_tasks.errors import BadInput

LEARNT = "learnt.json"
SKETCHES = "learnt.parquet"
ROLES = ("train", "dev")
"""What a training sees: train clips shape the weights, dev clips choose among them."""
CONTENT_BYTES = 8
"""Of a clip's SHA-256: among a million clips two that are not equal agree with a probability of 3e-8."""
SCHEMA = pa.schema(
    [
        ("corpus", pa.string()), ("speaker_id", pa.string()), ("role", pa.string()), ("content", pa.binary()),
        ("fingerprint", pa.binary()), ("trimmed_s", pa.float32()),
    ]
)  # fmt: skip
SEEN_NOTE = "tested on speakers that the model has learnt from: not an estimate for new speakers"
SEEN_ROLE = "test, with speakers that the model has learnt from: not an estimate for new speakers"
_ONE_CLIP = ["corpus", "speaker_id", "role", "content"]
_NAMED = 5


@dataclass(frozen=True)
class Part:
    """What a model has learnt from in one role of one corpus.

    Attributes:
        speakers: Their names in the corpus, sorted.
        clips: How many.
    """

    speakers: tuple[str, ...]
    clips: int


@dataclass(frozen=True)
class Learnt:
    """What a model has learnt from.

    Attributes:
        corpora: Name of the corpus to role (`ROLES`) to its part; a role without clips is not there.
        sketches: A row a clip, columns as in `SCHEMA`: see `sketch`.
    """

    corpora: Mapping[str, Mapping[str, Part]]
    sketches: pd.DataFrame

    def of_roles(self, roles: Sequence[str]) -> "Learnt":
        """Only what was learnt in these roles."""
        kept = {
            corpus: {role: part for role, part in parts.items() if role in roles}
            for corpus, parts in self.corpora.items()
        }
        return Learnt({corpus: parts for corpus, parts in kept.items() if parts},
                      self.sketches[self.sketches["role"].isin(list(roles))])  # fmt: skip


def sketch(rows: pd.DataFrame, audio: PackedAudio, shards: Path) -> pd.DataFrame:
    """What clips are known again by.

    Args:
        rows: utterance_id, corpus, speaker_id, role: of one corpus.
        audio: Holds them.
        shards: Their shards, with `fingerprints.parquet`; without it copies are known again only where every sample is
            the same.

    Returns:
        A row a clip, in their order and with their index: columns as in `SCHEMA`. content: the first bytes of the
        SHA-256 of its int16 samples at 16 kHz; trimmed_s: seconds of sound, 0 for none, NaN without a fingerprint.
    """
    prints = pd.DataFrame({"utterance_id": [], "fingerprint": [], "trimmed_s": []})
    if (shards / FINGERPRINTS).is_file():
        prints = pd.read_parquet(shards / FINGERPRINTS)
    prints = prints.set_index("utterance_id").reindex(rows["utterance_id"])
    contents = [_content(audio, audio.index_of(name)) for name in rows["utterance_id"]]
    return rows[["corpus", "speaker_id", "role"]].assign(
        content=contents,
        fingerprint=prints["fingerprint"].where(prints["fingerprint"].notna(), None).to_numpy(dtype=object),
        trimmed_s=prints["trimmed_s"].to_numpy(dtype=np.float32),
    )


def _content(audio: PackedAudio, i: int) -> bytes:
    samples = audio.samples[audio.offsets[i] : audio.offsets[i + 1]]
    return hashlib.sha256(samples.astype("<i2", copy=False).tobytes()).digest()[:CONTENT_BYTES]


def learnt_from(sketches: pd.DataFrame, earlier: Learnt | None = None) -> Learnt:
    """What a training learns from.

    Args:
        sketches: Of its train and dev clips.
        earlier: What the model had learnt from whose weights it starts from.
    """
    if earlier is not None:
        those, these = (pd.MultiIndex.from_frame(each[_ONE_CLIP]) for each in (earlier.sketches, sketches))
        sketches = pd.concat([earlier.sketches[~those.isin(these)], sketches], ignore_index=True)
    corpora: dict[str, dict[str, Part]] = {}
    for corpus, clips in sketches.groupby("corpus"):
        its = {role: clips[clips["role"] == role] for role in ROLES}
        corpora[str(corpus)] = {
            role: Part(tuple(sorted(set(part["speaker_id"]))), len(part)) for role, part in its.items() if len(part)
        }
    return Learnt(corpora, sketches)


def write_learnt(folder: Path, learnt: Learnt) -> None:
    """Write both files into a model's folder; learnt.json last."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(learnt.sketches, SCHEMA, preserve_index=False)
    pq.write_table(table, folder / SKETCHES, compression="zstd")
    corpora = {
        name: {role: asdict(part) | {"speakers": list(part.speakers)} for role, part in parts.items()}
        for name, parts in learnt.corpora.items()
    }
    said = {"corpora": corpora, "sketches": SKETCHES}
    (folder / LEARNT).write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")


def read_learnt(folder: Path) -> Learnt | None:
    """What a model has learnt from; None for one that was saved before models kept it.

    Raises:
        BadInput: The files are damaged, or one of them is missing.
    """
    if not (folder / LEARNT).is_file():
        return None
    try:
        said = json.loads((folder / LEARNT).read_text(encoding="utf-8"))
        corpora = {
            name: {role: Part(tuple(part["speakers"]), int(part["clips"])) for role, part in parts.items()}
            for name, parts in said["corpora"].items()
        }
        return Learnt(corpora, pq.read_table(folder / SKETCHES, schema=SCHEMA).to_pandas())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise BadInput(
            f"{folder}: {LEARNT} and {SKETCHES} do not say what the model has learnt from ({error}): fetch or copy the "
            "whole folder again"
        ) from error


def seen(learnt: Learnt, clips: pd.DataFrame) -> "pd.Series[str]":
    """Which clips a model has seen, and how.

    Args:
        learnt: What it has learnt from.
        clips: From `sketch`; the roles do not matter.

    Returns:
        For each clip, with its index: `clip` where it has learnt from this very recording, under whatever name and
        also resampled, louder, recoded or trimmed; `speaker` where it has learnt from another recording of its speaker:
        one of this corpus and name, or the speaker of a clip that is known again; else empty. A clip without any sound
        is like no other.
    """
    people = pd.MultiIndex.from_frame(clips[["corpus", "speaker_id"]])
    named = [(corpus, name) for corpus, parts in learnt.corpora.items() for each in parts.values()
             for name in each.speakers]  # fmt: skip
    again = _same_content(learnt.sketches, clips) | _same_recording(learnt.sketches, clips)
    speaker = people.isin(named) | people.isin(people[again])
    return pd.Series(np.select([again, speaker], ["clip", "speaker"], ""), index=clips.index, dtype="str")


def _same_content(learnt: pd.DataFrame, clips: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return np.asarray(clips["content"].isin(list(learnt["content"])) & (clips["trimmed_s"] != 0))


def _same_recording(learnt: pd.DataFrame, clips: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether a clip has the fingerprint of a learnt one, or hangs together with it through other copies.

    Of many copies not every pair is named (see `near_identical`), but enough of them to connect them all.
    """
    both = pd.concat([learnt[["fingerprint", "trimmed_s"]], clips[["fingerprint", "trimmed_s"]]], ignore_index=True)
    pairs = np.asarray(near_identical(both), dtype=np.intp).reshape(-1, 2)
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(len(both), len(both)))
    _, group = connected_components(links, directed=False)
    return np.asarray(np.isin(group[len(learnt) :], group[: len(learnt)]))


def about_seen(rows: pd.DataFrame, kept: "pd.Series[bool]", known: bool) -> dict[str, Any]:
    """What is said of a result: how many of its clips the model has seen, and whether they count.

    Args:
        rows: Test clips: speaker_id and seen, of one corpus.
        kept: Which of them the result is of.
        known: Whether it is known what the model has learnt from.

    Returns:
        {"clips": seen ones, "speakers": theirs, "by": {"speaker", "clip"}: clips, "included": whether such clips count
        in the result, "known", "sentence": the same for people}.
    """
    those = rows[rows["seen"] != ""]
    counted = those[kept[those.index]]
    found = {
        "clips": len(those),
        "speakers": sorted(set(those["speaker_id"])),
        "by": {how: int((those["seen"] == how).sum()) for how in ("speaker", "clip")},
        "included": len(counted) > 0,
        "known": known,
    }
    return found | {"sentence": _sentence(rows, those.drop(counted.index), counted, known)}


def _sentence(rows: pd.DataFrame, left: pd.DataFrame, counted: pd.DataFrame, known: bool) -> str:
    if not known:
        return (
            "It is not known whom this model has learnt from, since it was saved before models kept that: if these "
            "speakers are among them, this is no estimate for new speakers. Train it again to know."
        )
    said = []
    if len(left):
        said.append(f"Left out of the test, since the model has learnt from them: {_counted(left)}.")
    if len(counted):
        said.append(
            f"Not an estimate for new speakers: of {len(rows) - len(left)} clips tested, the model has learnt from "
            f"{_counted(counted)}."
        )
    return " ".join(said) or "The model has learnt from none of these clips, and from none of their speakers."


def _counted(rows: pd.DataFrame) -> str:
    """`960 clips of 16 speakers (01, 02, 03, 04, 05 and 11 more), 720 of them these very recordings`."""
    people = sorted(set(rows["speaker_id"]))
    same = int((rows["seen"] == "clip").sum())
    very = (
        "" if not same else (", these very recordings" if same == len(rows) else f", {same} of them these recordings")
    )
    return f"{len(rows)} clip(s) of {len(people)} speaker(s) ({names(people)}){very}"


def names(people: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(people) - _NAMED} more" if len(people) > _NAMED else ""
    return ", ".join(people[:_NAMED]) + more


def in_words(learnt: Learnt | None) -> list[str]:
    """A sentence a corpus: who a model has learnt from."""
    if learnt is None:
        return ["speakers that are not known: the model was saved before that was kept"]
    said = []
    for corpus, parts in learnt.corpora.items():
        people = {name for part in parts.values() for name in part.speakers}
        roles = ", ".join(f"{len(part.speakers)} {role}" for role, part in parts.items())
        clips = sum(part.clips for part in parts.values())
        said.append(f"{corpus}: {len(people)} speaker(s) ({roles}), {clips} clips")
    return said
