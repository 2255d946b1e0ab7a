"""Who is in train, dev, gate and test: by speaker, decided by names alone, so that a corpus that grows moves nobody.

What moves nobody can look at nothing but a name: whoever is given a role because of who else is here would lose it, or
keep it without reason, when others come. A hash of names therefore leaves a role of a small corpus empty now and then.
An official list of speakers, each with a sex, has no such gap: it is dealt as a whole, whoever of it is here, and
stays as it is while others come. A refusal for an empty role gives the list of those who are here, ready to be put
into the corpus's description.
"""

import hashlib
import json
import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import pandas as pd

from ser_tasks.errors import BadInput

ROLES = ("train", "dev", "gate", "test")
COLUMNS = ["utterance_id", "corpus", "speaker_id", "sha256", "sentence_id", "sex", "session", "votes", "label", "role"]
"""Of every table of a split, all of them text."""
TAINT = "speaker-dependent split: the same people are in train and test; not comparable with speaker-disjoint results"
UNUSABLE = {"same audio, other label": "conflicting labels on the same audio", "no sound": "digital silence"}
"""Part of a known issue to the reason why nothing is learned from such a clip; it stays where results are measured."""

Part = TypeVar("Part", bound=Hashable)
Roster = Mapping[str, str | None]
"""The official speakers of a corpus, whether their clips are here or not, each with a sex or None."""


def _draw(name: str) -> float:
    """A number from 0 to below 1, the same for the same name everywhere and always."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def largest_remainder(count: int, shares: Mapping[Part, float]) -> dict[Part, int]:
    """Whole numbers that add up to `count` and are closest to the shares (Hamilton's method; ties go to the first)."""
    quotas = {part: round(count * share, 9) for part, share in shares.items()}
    seats = {part: int(quota) for part, quota in quotas.items()}
    for part in sorted(shares, key=lambda part: seats[part] - quotas[part])[: count - sum(seats.values())]:
        seats[part] += 1
    return seats


def evenly(seats: Mapping[Part, int]) -> list[Part]:
    """A sequence with so many of each part, in which every beginning has its share of each, rounded up or down.

    Earliest deadline first over the windows of P-fair scheduling (Baruah et al. 1996, Algorithmica 15): seat k of a
    part with share s has its place between floor(k / s) and ceil((k + 1) / s).
    """
    total, given = sum(seats.values()), dict.fromkeys(seats, 0)
    sequence = []
    for place in range(total):
        ready = [part for part, n in seats.items() if given[part] < n and given[part] * total // n <= place]
        part = min(ready, key=lambda part: -(-(given[part] + 1) * total // seats[part]))
        given[part] += 1
        sequence.append(part)
    return sequence


def deal(speakers: Sequence[str], corpus: str, shares: Mapping[Part, float], roster: Roster) -> dict[str, Part]:
    """A part for each speaker that depends neither on the other speakers nor on the clips that are here.

    Args:
        speakers: Names; order and repetition do not matter.
        corpus: Part of the hash, so that equal names in two corpora are independent.
        shares: Expected share of the speakers a part; they add up to 1.
        roster: Dealt as a whole, sex by sex in the order of a hash of the names: the parts get their shares of it, and
            each sex its share of every part, rounded. Speakers outside get a part by a hash of their name alone.
    """
    order = sorted(roster, key=lambda name: (roster[name] or "", _draw(f"{corpus}/{name}")))
    dealt = dict(zip(order, evenly(largest_remainder(len(order), shares)), strict=True))
    return {
        name: dealt[name] if name in dealt else _part_at(_draw(f"{corpus}/{name}"), shares)
        for name in sorted(set(speakers))
    }


def _part_at(draw: float, shares: Mapping[Part, float]) -> Part:
    below = 0.0
    for part, share in shares.items():
        below += share
        if draw < below:
            return part
    return part  # the draw lies within rounding of 1


def roles_by_hash(
    speakers: Sequence[str], corpus: str, shares: Mapping[str, float], roster: Roster | None = None
) -> dict[str, str]:
    """Hold-out: roles by their shares (role to share, 0 for none). See `deal`."""
    return deal(speakers, corpus, {role: shares[role] for role in ROLES if shares.get(role)}, roster or {})


def roles_by_fold(
    speakers: Sequence[str], corpus: str, folds: int, fold: int, gate_fold: bool, roster: Roster | None = None
) -> dict[str, str]:
    """K-fold: fold `fold` is test, the next one dev, the one after gate where `gate_fold`, the rest train."""
    role = {fold: "test", (fold + 1) % folds: "dev"} | ({(fold + 2) % folds: "gate"} if gate_fold else {})
    dealt = deal(speakers, corpus, dict.fromkeys(range(folds), 1 / folds), roster or {})
    return {speaker: role.get(part, "train") for speaker, part in dealt.items()}


def roles_by_session(manifest: pd.DataFrame, corpus: str, session: str, dev_session: str = "") -> dict[str, str]:
    """Leave one session out: all speakers of `session` are test, those of `dev_session` dev, the rest train.

    Args:
        manifest: Of the corpus.
        corpus: Its name.
        session: As in the manifest.
        dev_session: Empty for the one after `session`, sessions in the order of their names (2 before 10), the first
            after the last.

    Raises:
        BadInput: Clips without a session, fewer than three sessions, no such session, or a speaker in two.
    """
    pairs = manifest[["speaker_id", "session"]].drop_duplicates()
    if pairs["session"].isna().any():
        raise BadInput(f"split: {corpus} has clips without a session: take another split.policy, such as kfold")
    if twice := sorted(set(pairs.loc[pairs["speaker_id"].duplicated(), "speaker_id"])):
        raise BadInput(
            f"split: of {corpus}, {_names(twice)} speak in more than one session: sessions do not keep speakers apart "
            "here; take split.policy: kfold"
        )
    sessions = sorted(set(pairs["session"]), key=_natural)
    for wanted in filter(None, (session, dev_session)):
        if wanted not in sessions:
            raise BadInput(f"split: {corpus} has no session {wanted!r}: it has {', '.join(sessions)}")
    if len(sessions) < 3:
        raise BadInput(f"split: {corpus} has {len(sessions)} session(s): train, dev and test need one each")
    dev = dev_session or sessions[(sessions.index(session) + 1) % len(sessions)]
    role = {session: "test", dev: "dev"}
    return {name: role.get(its, "train") for name, its in zip(pairs["speaker_id"], pairs["session"], strict=True)}


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts Session2 before Session10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


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


def assign_roles(manifest: pd.DataFrame, corpus: str, how: Mapping[str, Any], roster: Roster) -> pd.Series:
    """The role of every clip of the training corpus.

    Args:
        manifest: Of the training corpus.
        corpus: Its name.
        how: The configuration's `split`.
        roster: Its official speakers; may be empty.

    Returns:
        One role a row of the manifest, with its index.

    Raises:
        BadInput: A clip has no speaker, or the policy does not fit the corpus.
    """
    if (nobody := manifest["speaker_id"].isna()).any():
        first = manifest.loc[nobody, "utterance_id"].iloc[0]
        raise BadInput(f"split: {int(nobody.sum())} clip(s) of {corpus} have no speaker, {first} among them")
    speakers: list[str] = manifest["speaker_id"].unique().tolist()
    policy = how["policy"]
    if policy == "speaker_dependent":
        # By content, not by id: two copies of a clip would otherwise be learned from and tested on.
        shares = {role: how["shares"][role] for role in ROLES if role != "gate" and how["shares"].get(role)}
        shares = {role: share / sum(shares.values()) for role, share in shares.items()}
        drawn = [_part_at(_draw(f"{corpus}/{digest}"), shares) for digest in manifest["sha256"]]
        return pd.Series(drawn, index=manifest.index, dtype="str")
    if policy == "hash":
        roles = roles_by_hash(speakers, corpus, how["shares"], roster)
    elif policy == "kfold":
        roles = roles_by_fold(speakers, corpus, how["folds"], how["fold"], how["gate_fold"], roster)
    elif policy == "leave_one_session_out":
        roles = roles_by_session(manifest, corpus, how["session"], how["dev_session"])
    else:
        roles = roles_by_list(speakers, how["speakers"])
    return manifest["speaker_id"].map(roles)


def make_split(
    manifests: Mapping[str, pd.DataFrame],
    train_corpus: str,
    labels: Sequence[str],
    label_maps: Mapping[str, Mapping[str, str]],
    roles: pd.Series,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give every utterance of the study a role and a label, or a reason why it is left out.

    Args:
        manifests: Corpus name to manifest: the training corpus, and those tested across.
        train_corpus: The one that is split by `roles`; every other corpus is test as a whole.
        labels: The study's classes, in the order of the models' outputs.
        label_maps: Corpus name to map of emotions, applied before `labels`.
        roles: Role of each clip of the training corpus, from `assign_roles`.

    Returns:
        (split, left_out): split has `COLUMNS`; left_out has utterance_id, corpus, reason.
    """
    kept, left = [], []
    for corpus, manifest in manifests.items():
        emotion = manifest["emotion"].fillna("(none)")
        label = emotion.map(dict(label_maps.get(corpus, {}))).fillna(emotion).astype("str")
        role = roles if corpus == train_corpus else pd.Series("test", index=manifest.index, dtype="str")
        frame = manifest[COLUMNS[:-2]].assign(label=label, role=role)
        reason = pd.Series(None, index=frame.index, dtype="str")
        issue = manifest["known_issue"].fillna("")
        for part, why in UNUSABLE.items():
            reason[issue.str.contains(part, regex=False) & role.isin(["train", "dev"])] = why
        outside = ~label.isin(labels)
        reason[outside] = "emotion " + label[outside] + " is not among the study's labels"
        kept.append(frame[reason.isna()])
        left.append(frame.assign(reason=reason)[reason.notna()][["utterance_id", "corpus", "reason"]])
    return pd.concat(kept, ignore_index=True), pd.concat(left, ignore_index=True)


def wanted_roles(how: Mapping[str, Any]) -> list[str]:
    """The roles that a split's configuration asks for."""
    gate = {
        "hash": how["shares"].get("gate"), "kfold": how["gate_fold"], "speakers": how["speakers"].get("gate"),
    }.get(how["policy"])  # fmt: skip
    return [role for role in ROLES if role != "gate" or gate]


def proposed_roster(
    manifest: pd.DataFrame, corpus: str, how: Mapping[str, Any], roster: Roster, wanted: Collection[str]
) -> str:
    """The line of a corpus's description that gives every role its speakers where a hash of names does not.

    Args:
        manifest: Of the training corpus.
        corpus: Its name.
        how: The configuration's `split`.
        roster: Its official speakers; may be empty.
        wanted: Roles that are asked for.

    Returns:
        `speakers: {"ann": "female", ...}`, of the official speakers and all others who are here; empty where it would
        change nothing, or roles would still be empty.
    """
    sexes = manifest.groupby("speaker_id")["sex"].first()
    known = dict(roster) | {
        str(name): sex if isinstance(sex, str) else None for name, sex in sexes.items() if name not in roster
    }
    if how["policy"] not in ("hash", "kfold") or known.keys() == roster.keys():
        return ""
    if not set(wanted) <= set(assign_roles(manifest, corpus, how, known)):
        return ""
    return f"speakers: {json.dumps(known, ensure_ascii=False)}"


def refuse_empty_roles(
    split: pd.DataFrame, corpora: Sequence[str], labels: Sequence[str], wanted: Sequence[str], proposed: str = ""
) -> None:
    """Raise BadInput when a role that is asked for lacks a class, or a corpus tested across fewer than two.

    Args:
        split: From `make_split`.
        corpora: The training corpus first, then those tested across.
        labels: The study's classes.
        wanted: Roles of the training corpus that are asked for.
        proposed: From `proposed_roster`.
    """
    train_corpus, present = corpora[0], split[["corpus", "role", "label"]].drop_duplicates()
    trained = present[present["corpus"] == train_corpus]
    if unheard := [label for label in labels if label not in set(trained["label"])]:
        raise BadInput(f"split: {train_corpus} has no clip of {', '.join(unheard)}: take it out of emotion.labels")
    for role in wanted:
        heard = set(trained.loc[trained["role"] == role, "label"])
        if missing := [label for label in labels if label not in heard]:
            lacking = f"of {', '.join(missing)}" if heard else "at all"
            listed = (
                f"put the speakers into the description of {train_corpus}, which deals them to the roles evenly, by "
                f"sex too, and moves nobody when others come ({proposed}); or "
            )
            raise BadInput(
                f"split: role {role} of {train_corpus} has no clip {lacking}: {listed if proposed else ''}"
                "ask for fewer roles (split.shares without gate, fewer split.folds), or name the speakers of each role "
                "(split.policy: speakers)"
            )
    for corpus in corpora[1:]:
        refuse_few_labels(set(present.loc[present["corpus"] == corpus, "label"]), corpus, labels)


def refuse_few_labels(held: Collection[str], corpus: str, labels: Sequence[str]) -> None:
    """Raise BadInput when a corpus tested across has clips of fewer than two of the study's labels.

    Nothing could be told apart on it, which is better known before training than after.
    """
    if not held:
        raise BadInput(f"split: no clip of {corpus} has one of the study's labels: give emotion.across a label_map")
    if len(held) == 1:
        raise BadInput(
            f"split: of the study's labels ({', '.join(labels)}), {corpus} has {min(held)} alone, and two are needed: "
            "give emotion.across another label_map"
        )


def roles_of_speakers(split: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Corpus to speaker to role, sorted; speakers in several roles (a speaker-dependent split) are not in it."""
    people = split[["corpus", "speaker_id", "role"]].drop_duplicates()
    people = people[~people.duplicated(["corpus", "speaker_id"], keep=False)].sort_values(["corpus", "speaker_id"])
    roles: dict[str, dict[str, str]] = {corpus: {} for corpus in split["corpus"].unique()}
    for corpus, speaker, role in people.itertuples(index=False):
        roles[corpus][speaker] = role
    return roles


def protocol(how: Mapping[str, Any], train_corpus: str, roster: Roster, split: pd.DataFrame) -> dict[str, Any]:
    """What has to be said wherever a result of this split is quoted.

    Returns:
        {"policy", "description": one sentence, "speaker_dependent", "taint": empty for a speaker-disjoint split}.
    """
    rows, dependent = split[split["corpus"] == train_corpus], how["policy"] == "speaker_dependent"
    by_name = "speakers by a hash of their names"
    if roster:
        by_name += f", the {len(roster)} of the official list spread evenly by sex"
    counts = rows["role"].value_counts() if dependent else rows.groupby("role")["speaker_id"].nunique()
    sizes = ", ".join(f"{counts[role]} {role}" for role in ROLES if role in counts)
    dev = "".join(rows.loc[rows["role"] == "dev", "session"].dropna().head(1))
    kind = {
        "hash": f"speaker-disjoint hold-out, {by_name}",
        "kfold": f"speaker-disjoint {how['folds']}-fold cross-validation, fold {how['fold']} is test, {by_name}",
        "leave_one_session_out": f"speaker-disjoint, session {how['session']} is test and {dev} dev",
        "speakers": "speaker-disjoint hold-out by explicit lists of speakers",
        "speaker_dependent": "speaker-dependent, clips by a hash of their content",
    }[how["policy"]]
    return {
        "policy": how["policy"],
        "description": f"{train_corpus}: {kind} ({'clips' if dependent else 'speakers'}: {sizes})",
        "speaker_dependent": dependent,
        "taint": TAINT if dependent else "",
    }


def _names(names: Sequence[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
