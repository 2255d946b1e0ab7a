"""The audit that fails a run on leakage between roles, and says what else is worth knowing about a split."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ser_tasks.audio.fingerprint import near_identical

FEW_CLIPS = 10
"""A speaker with fewer clips is too small for a recall of its own to mean anything."""
FEW_SPEAKERS = 5
"""Intervals that resample speakers mean little with fewer in a role."""


def audit_split(
    split: pd.DataFrame, fingerprints: pd.DataFrame | None = None, speaker_dependent: bool = False
) -> dict[str, Any]:
    """Look for leakage between roles, over all corpora of a study together.

    Args:
        split: From `ser_tasks.data.split.make_split`, its index unique. Equal speakers of two corpora are different
            people.
        fingerprints: corpus, utterance_id, fingerprint (bytes), trimmed_s; None, or clips that are not in it: those are
            not looked at for near-identical audio, and the report says so.
        speaker_dependent: Speakers in several roles are reported, not leaks.

    Returns:
        `leaks`: a list of sentences, empty when there is none: a speaker in two roles, equal bytes in two roles,
        or the same recording in two roles.
        `report`: what is worth knowing and no leak: `sentences_in_train_and_test`, `clips` (by corpus/role/label),
        `speakers` (by corpus/role), `speakers_by_sex` (by corpus/role/sex), `balance` (see `_balance`),
        `small_speakers`, `small_roles`, `speakers_in_several_roles`, `same_audio_other_label`, `near_identical`,
        and `remarks`: the same in sentences, where there is something to remark.
    """
    # One pass over the clips; everything that is counted is a sum over these few rows.
    people = split.assign(sex=split["sex"].fillna("unknown"))
    cells = people.groupby(["corpus", "role", "speaker_id", "sex", "label"]).size().reset_index(name="clips")
    same = split[split["sha256"].duplicated(keep=False)]
    shared_speakers = _speakers_in_several_roles(cells)
    content, conflicting = _same_bytes(same, fingerprints)
    near, looked = _same_recordings(split.drop(index=same.index[same.duplicated(["sha256", "role"])]), fingerprints)
    trained, tested = (
        set(split.loc[split["role"] == role, "sentence_id"].dropna().unique()) for role in ("train", "test")
    )
    speakers = _by_path(cells.groupby(["corpus", "role"])["speaker_id"].nunique())
    report = {
        "sentences_in_train_and_test": sorted(trained & tested),
        "clips": _by_path(cells.groupby(["corpus", "role", "label"])["clips"].sum()),
        "speakers": speakers,
        "speakers_by_sex": _by_path(cells.groupby(["corpus", "role", "sex"])["speaker_id"].nunique()),
        "balance": _balance(cells),
        "small_speakers": _small_speakers(cells),
        "small_roles": {place: count for place, count in speakers.items() if count < FEW_SPEAKERS},
        "speakers_in_several_roles": [name for name, _ in shared_speakers],
        "same_audio_other_label": conflicting,
        "near_identical": looked,
    }
    leaks = [] if speaker_dependent else [sentence for _, sentence in shared_speakers]
    return {"leaks": leaks + content + near, "report": report | {"remarks": _remarks(report)}}


def _by_path(counts: "pd.Series[int]") -> dict[str, int]:
    """Counts with their index levels joined: corpus/role/label."""
    return {"/".join(map(str, key)): int(count) for key, count in zip(counts.index, counts.to_numpy(), strict=True)}


def _speakers_in_several_roles(cells: pd.DataFrame) -> list[tuple[str, str]]:
    """Name (corpus/speaker) and sentence of each speaker who has clips in more than one role."""
    people = cells[["corpus", "speaker_id", "role"]].drop_duplicates()
    people = people[people.duplicated(["corpus", "speaker_id"], keep=False)].sort_values(
        ["corpus", "speaker_id", "role"]
    )
    found = []
    for name, roles in people["role"].groupby(people["corpus"] + "/" + people["speaker_id"]):
        sentence = f"speaker {name} is in {', '.join(roles)}"
        if {"train", "dev"} <= set(roles):
            sentence += ": dev is drawn from training speakers, so it cannot choose what works on new voices"
        found.append((str(name), sentence))
    return found


def _clips(rows: pd.DataFrame) -> pd.Series:
    return rows["utterance_id"] + " of " + rows["corpus"] + " (" + rows["role"] + ", " + rows["label"] + ")"


def _same_bytes(same: pd.DataFrame, fingerprints: pd.DataFrame | None) -> tuple[list[str], list[str]]:
    """Sentences about equal bytes in several roles (leaks), and lists of clips with equal bytes and other labels.

    Clips that are known to have no sound are passed over: nothing is learned from them, and there is nothing to know.

    Args:
        same: Rows of a split whose bytes another row has too.
        fingerprints: As in `audit_split`.
    """
    if fingerprints is not None:
        same = same[_places(same, fingerprints[fingerprints["trimmed_s"] == 0]) < 0]

    def groups_with_several(column: str) -> "pd.Series[str]":
        kinds = same[["sha256", column]].drop_duplicates()["sha256"]
        rows = same[same["sha256"].isin(kinds[kinds.duplicated()])]
        return _clips(rows).groupby(rows["sha256"]).agg(", ".join)

    conflicting = groups_with_several("label")
    leaks = []
    for digest, clips in groups_with_several("role").items():
        labels = " and with other labels" if digest in conflicting.index else ""
        leaks.append(f"the same audio (SHA-256 {str(digest)[:12]}) is in several roles{labels}: {clips}")
    return leaks, conflicting.tolist()


def _same_recordings(once: pd.DataFrame, fingerprints: pd.DataFrame | None) -> tuple[list[str], dict[str, Any]]:
    """Sentences about one recording in several roles, and how far that was looked into.

    Args:
        once: A split in which of clips with equal bytes in one role the first stands for all.
        fingerprints: As in `audit_split`.
    """
    if fingerprints is None:
        return [], {"checked": False, "clips_not_checked": len(once), "pairs_within_a_role": 0}
    place = _places(once, fingerprints)
    found = near_identical(fingerprints[["fingerprint", "trimmed_s"]].iloc[place[place >= 0]])
    pairs = np.flatnonzero(place >= 0)[np.asarray(found, dtype=np.intp).reshape(-1, 2)]
    one, other = (once.iloc[side].reset_index(drop=True) for side in pairs.T)
    crossing = one["role"] != other["role"]
    leak = crossing & (one["sha256"] != other["sha256"])  # equal bytes are a leak of their own
    leaks = [
        f"near-identical audio is in two roles: {clip} and {copy} are the same recording, apart from rate, level, "
        "coding or silence at the ends"
        for clip, copy in zip(_clips(one[leak]), _clips(other[leak]), strict=True)
    ]
    looked = {
        "checked": bool((place >= 0).any()),
        "clips_not_checked": int((place < 0).sum()),
        "pairs_within_a_role": int((~crossing).sum()),
    }
    return leaks, looked


def _places(clips: pd.DataFrame, among: pd.DataFrame) -> npt.NDArray[np.intp]:
    """For each clip the position of the row about it in another table, -1 for none. Ids are unique in a corpus."""
    places = np.full(len(clips), -1, dtype=np.intp)
    for corpus in clips["corpus"].unique():
        here, there = (np.flatnonzero(table["corpus"] == corpus) for table in (clips, among))
        found = pd.Index(among["utterance_id"].iloc[there]).get_indexer(pd.Index(clips["utterance_id"].iloc[here]))
        places[here[found >= 0]] = there[found[found >= 0]]
    return places


def _balance(cells: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Shares of classes and sexes by clips, for each corpus/role and, as corpus/all, for the corpus.

    Returns:
        corpus/role to {"labels": {label: share}, "sex": {sex: share}, "labels_off", "sex_off"}: `off` is the total
        variation distance from the corpus's shares, 0 (equal) to 1.
    """
    balance: dict[str, dict[str, Any]] = {}
    for column, name in (("label", "labels"), ("sex", "sex")):
        for corpus, counts in cells.groupby(["corpus", "role", column])["clips"].sum().groupby(level="corpus"):
            table = counts.droplevel("corpus").unstack(fill_value=0)
            whole = table.sum() / table.to_numpy().sum()
            shares = table.div(table.sum(axis=1), axis=0)
            off = (shares - whole).abs().sum(axis=1) / 2
            for role, row in [*shares.iterrows(), ("all", whole)]:
                entry = balance.setdefault(f"{corpus}/{role}", {})
                entry[name] = {str(key): round(float(share), 4) for key, share in row.items()}
                entry[f"{name}_off"] = round(float(off.get(role, 0.0)), 4)
    return balance


def _small_speakers(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Speakers with fewer than `FEW_CLIPS` clips in a role, or without a class that their corpus has."""
    small = []
    counts = cells.groupby(["corpus", "role", "speaker_id", "label"])["clips"].sum()
    for corpus, of_corpus in counts.groupby(level="corpus"):
        table = of_corpus.droplevel("corpus").unstack(fill_value=0)
        labels, clips = table.columns.to_numpy(), table.sum(axis=1)
        few = table[(clips < FEW_CLIPS) | (table == 0).any(axis=1)]
        for (role, speaker), row in zip(few.index, few.to_numpy(), strict=True):
            missing = labels[row == 0].tolist()
            small.append(
                {"corpus": corpus, "role": role, "speaker_id": speaker, "clips": int(row.sum()), "missing": missing}
            )
    return small


def _remarks(report: dict[str, Any]) -> list[str]:
    remarks = []
    if several := report["speakers_in_several_roles"]:
        remarks.append(f"{len(several)} speaker(s) are in several roles")
    for place, count in report["small_roles"].items():
        remarks.append(f"{place} has {count} speaker(s): intervals over so few mean little")
    if small := report["small_speakers"]:
        remarks.append(
            f"{len(small)} speaker(s) are too small to mean anything by themselves: fewer than {FEW_CLIPS} clips in "
            "their role, or none of some class"
        )
    if conflicting := report["same_audio_other_label"]:
        remarks.append(f"the same audio has several labels {len(conflicting)} time(s): {'; '.join(conflicting[:5])}")
    if unchecked := report["near_identical"]["clips_not_checked"]:
        remarks.append(f"near-identical audio was not looked for among {unchecked} clip(s): no fingerprints of them")
    return remarks
