"""Who is in train, dev, gate and test: always by speaker, and the audit that fails a run on leakage."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ser_tasks.errors import BadInput

ROLES = ("train", "dev", "gate", "test")


def roles_by_hash(speakers: Sequence[str], corpus: str, shares: Mapping[str, float]) -> dict[str, str]:
    """A role for each speaker from a hash of its name alone: adding speakers never moves an existing one.

    Args:
        speakers: Names; order and repetition do not matter.
        corpus: Part of the hash, so that equal names in two corpora are independent.
        shares: Expected share of speakers a role; adds up to 1.
    """
    roles = {}
    for speaker in sorted(set(speakers)):
        draw = int.from_bytes(hashlib.sha256(f"{corpus}/{speaker}".encode()).digest()[:8], "big") / 2**64
        below = 0.0
        for role in ROLES:
            below += shares.get(role, 0.0)
            if draw < below:
                roles[speaker] = role
                break
        else:
            roles[speaker] = "train"  # draw within rounding of 1
    return roles


def roles_by_list(speakers: Sequence[str], lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Roles from explicit lists.

    Raises:
        BadInput: A speaker is in two lists, in none, or listed and absent.
    """
    roles: dict[str, str] = {}
    for role, members in lists.items():
        for speaker in members:
            if speaker in roles:
                raise BadInput(f"split: speaker {speaker} is listed as {roles[speaker]} and as {role}")
            roles[speaker] = role
    present = set(speakers)
    if unlisted := sorted(present - roles.keys()):
        raise BadInput(f"split: split.speakers names no role for {', '.join(unlisted)}")
    if absent := sorted(roles.keys() - present):
        raise BadInput(f"split: split.speakers lists {', '.join(absent)}, who have no clip in the corpus")
    return roles


def make_split(
    manifests: Mapping[str, pd.DataFrame],
    train_corpus: str,
    labels: Sequence[str],
    label_maps: Mapping[str, Mapping[str, str]],
    roles: Mapping[str, str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give every utterance of the study a role and a label.

    Args:
        manifests: Corpus name to manifest: the training corpus, and those tested across.
        train_corpus: The one that is split by `roles`; every other corpus is test as a whole.
        labels: The study's classes, in the order of the models' outputs.
        label_maps: Corpus name to map of emotions, applied before `labels`.
        roles: Speaker of the training corpus to role.

    Returns:
        (split, left_out): split has utterance_id, corpus, speaker_id, label, role, sha256, sentence_id, sex;
        left_out has utterance_id, corpus, reason.

    Raises:
        BadInput: A role that is needed has no clip of some class.
    """
    kept, left = [], []
    for corpus, manifest in manifests.items():
        label = manifest["emotion"].replace(dict(label_maps.get(corpus, {})))
        role = manifest["speaker_id"].map(roles) if corpus == train_corpus else pd.Series("test", index=manifest.index)
        frame = manifest[["utterance_id", "corpus", "speaker_id", "sha256", "sentence_id", "sex"]].assign(
            label=label, role=role
        )
        reason = pd.Series(None, index=frame.index, dtype=object)
        reason[~label.isin(labels)] = "emotion " + label + " is not among the study's labels"
        conflicting = manifest["known_issue"].fillna("").str.contains("same audio, other label")
        reason[conflicting & role.isin(["train", "dev"])] = "conflicting labels on the same audio"
        kept.append(frame[reason.isna()])
        left.append(frame.assign(reason=reason)[reason.notna()][["utterance_id", "corpus", "reason"]])
    split = pd.concat(kept, ignore_index=True)
    for needed in ("train", "dev", "test"):
        present = set(split.loc[(split["corpus"] == train_corpus) & (split["role"] == needed), "label"])
        if missing := [label for label in labels if label not in present]:
            raise BadInput(
                f"split: role {needed} of {train_corpus} has no clip of {', '.join(missing)}: "
                "change split in the config"
            )
    return split, pd.concat(left, ignore_index=True)


def _by_path(counts: "pd.Series[int]") -> dict[str, int]:
    """Counts with their index levels joined: corpus/role/label."""
    keys = counts.index.to_frame().astype(str).agg("/".join, axis=1)
    return dict(zip(keys, counts.astype(int).tolist(), strict=True))


def audit_split(split: pd.DataFrame) -> dict[str, Any]:
    """Look for leakage between roles.

    Returns:
        `leaks`: a list of sentences, empty when there is none (a speaker or the same bytes in two roles);
        `report`: what is worth knowing and no leak (shared sentences, counts by role, class and sex).
    """
    leaks = []
    speaker = split["corpus"] + "/" + split["speaker_id"]
    for name, roles in split.groupby(speaker)["role"].unique().items():
        if len(roles) > 1:
            leaks.append(f"speaker {name} is in {', '.join(sorted(roles))}")
    for digest, group in split.groupby("sha256"):
        if group["role"].nunique() > 1:
            clips = ", ".join(f"{row.corpus}/{row.utterance_id} ({row.role})" for row in group.itertuples())
            leaks.append(f"the same audio (SHA-256 {str(digest)[:12]}) is in several roles: {clips}")
    trained = split[split["role"] == "train"]
    tested = split[split["role"] == "test"]
    shared = sorted(set(trained["sentence_id"].dropna()) & set(tested["sentence_id"].dropna()))
    counts = split.groupby(["corpus", "role", "label"]).size()
    people = split.groupby(["corpus", "role"])["speaker_id"].nunique()
    sexes = split.fillna({"sex": "unknown"}).groupby(["corpus", "role", "sex"])["speaker_id"].nunique()
    return {
        "leaks": leaks,
        "report": {
            "sentences_in_train_and_test": shared,
            "clips": _by_path(counts),
            "speakers": _by_path(people),
            "speakers_by_sex": _by_path(sexes),
        },
    }
