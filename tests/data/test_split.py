"""Splits are by speaker, stable under growth, even by sex where the speakers are known, and kept apart in files."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_tasks.builds.split import build
from ser_tasks.config import Split, parse_config
from ser_tasks.data.manifest import SCHEMA, write_manifest
from ser_tasks.data.split import (
    COLUMNS,
    TAINT,
    assign_roles,
    evenly,
    largest_remainder,
    make_split,
    proposed_roster,
    refuse_empty_roles,
    roles_by_fold,
    roles_by_hash,
    roles_by_list,
    roles_by_session,
)
from ser_tasks.errors import BadInput
from tests.conftest import SHARED_CORPORA

SHARES = {"train": 0.6, "dev": 0.15, "gate": 0.1, "test": 0.15}
LABELS = ["angry", "sad"]
POLICIES: list[dict[str, Any]] = [
    {"policy": "hash"},
    {"policy": "kfold", "folds": 5, "fold": 4, "gate_fold": True},
    {"policy": "leave_one_session_out", "session": "1"},
    {"policy": "speaker_dependent"},
]
DISJOINT = [how for how in POLICIES if how["policy"] != "speaker_dependent"]
Row = tuple[str, str]


def how(**changes: Any) -> dict[str, Any]:
    return Split(**changes).model_dump(mode="json")


def manifest(corpus: str, speakers: int, **changes: Any) -> pd.DataFrame:
    rows = [(f"{speaker:02d}", emotion) for speaker in range(speakers) for emotion in ("angry", "sad", "calm")]
    return manifest_of(corpus, rows).assign(**changes)


def manifest_of(corpus: str, rows: list[Row]) -> pd.DataFrame:
    """One clip a (speaker, emotion); speaker n speaks in session n mod 4 + 1."""
    ids = [f"{speaker}-{emotion}-{i}" for i, (speaker, emotion) in enumerate(rows)]
    return pd.DataFrame(
        {
            "utterance_id": ids,
            "corpus": corpus,
            "speaker_id": [speaker for speaker, _ in rows],
            "sex": "female",
            "emotion": [emotion for _, emotion in rows],
            "sentence_id": "s1",
            "session": [str(int(speaker) % 4 + 1) for speaker, _ in rows],
            "known_issue": pd.Series(None, index=range(len(rows)), dtype="str"),
            "votes": pd.Series(None, index=range(len(rows)), dtype="str"),
            "sha256": [hashlib.sha256(f"{corpus}{i}".encode()).hexdigest() for i in ids],
        }
    )


def crema_d_roster() -> dict[str, str | None]:
    table = SHARED_CORPORA / "crema_d" / "VideoDemographics.csv"
    if not table.is_file():
        pytest.skip(f"{table} is absent (set SER_TEST_CORPORA)")
    with table.open(newline="") as file:
        return {row["ActorID"]: row["Sex"].lower() for row in csv.DictReader(file)}


rows_of_speech = st.lists(
    st.tuples(st.integers(0, 40).map(str), st.sampled_from(["angry", "sad", "calm"])), min_size=1, max_size=60
)
rosters = st.dictionaries(st.integers(0, 60).map(str), st.sampled_from(["female", "male", None]), max_size=40)
session_anchors = [(str(n), "angry") for n in range(4)]
"""So that sessions 1 to 4 are there before and after growth."""


@settings(max_examples=60, deadline=None)
@given(before=rows_of_speech, added=rows_of_speech, roster=rosters, policy=st.sampled_from(POLICIES))
def test_adding_speakers_and_utterances_moves_nobody(
    before: list[Row], added: list[Row], roster: dict[str, str | None], policy: dict[str, Any]
) -> None:
    few = manifest_of("c", session_anchors + before)
    many = manifest_of("c", session_anchors + before + added).sample(frac=1, random_state=1)
    old = dict(zip(few["utterance_id"], assign_roles(few, "c", how(**policy), roster), strict=True))
    new = dict(zip(many["utterance_id"], assign_roles(many, "c", how(**policy), roster), strict=True))
    assert {clip: new[clip] for clip in old} == old


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_speech, roster=rosters, policy=st.sampled_from(DISJOINT))
def test_no_speaker_has_two_roles(rows: list[Row], roster: dict[str, str | None], policy: dict[str, Any]) -> None:
    frame = manifest_of("c", session_anchors + rows)
    roles = assign_roles(frame, "c", how(**policy), roster)
    assert roles.groupby(frame["speaker_id"]).nunique().max() == 1
    assert set(roles) <= set(SHARES)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_speech, across=rows_of_speech, policy=st.sampled_from(POLICIES), issues=st.data())
def test_every_utterance_is_once_in_the_split_or_among_those_left_out(
    rows: list[Row], across: list[Row], policy: dict[str, Any], issues: st.DataObject
) -> None:
    kinds = st.sampled_from([None, "no sound", "same audio, other label, as x", "2 channels, averaged to mono"])
    frames = {"a": manifest_of("a", session_anchors + rows), "b": manifest_of("b", across)}
    for frame in frames.values():
        drawn = issues.draw(st.lists(kinds, min_size=len(frame), max_size=len(frame)))
        frame["known_issue"] = pd.Series(drawn, dtype="str")
    roles = assign_roles(frames["a"], "a", how(**policy), {})
    split, left = make_split(frames, "a", LABELS, {"b": {"calm": "sad"}}, roles)
    found = Counter(pd.concat([split, left])[["corpus", "utterance_id"]].itertuples(index=False, name=None))
    assert found == Counter((c, i) for c, frame in frames.items() for i in frame["utterance_id"])
    assert left["reason"].notna().all()
    assert set(split["label"]) <= set(LABELS)
    assert list(split.columns) == COLUMNS


@given(counts=st.dictionaries(st.integers(0, 6), st.integers(0, 30), min_size=1))
def test_every_beginning_of_an_even_sequence_has_its_shares(counts: dict[int, int]) -> None:
    sequence, total = evenly(counts), sum(counts.values())
    assert Counter(sequence) == Counter({part: n for part, n in counts.items() if n})
    for length in range(total + 1):
        begun = Counter(sequence[:length])
        assert all(abs(begun[part] - length * n / total) < 1 for part, n in counts.items() if total)


@given(count=st.integers(0, 200))
def test_largest_remainders_add_up_and_round(count: int) -> None:
    seats = largest_remainder(count, SHARES)
    assert sum(seats.values()) == count
    assert all(abs(seats[role] - count * share) < 1 for role, share in SHARES.items())


def test_the_91_actors_of_crema_d_come_out_even_in_shares_and_in_sexes() -> None:
    roster = crema_d_roster()
    roles = pd.Series(roles_by_hash(list(roster), "crema_d", SHARES, roster))
    table = pd.crosstab(roles, roles.index.map(roster.get).to_numpy())
    assert table.sum(axis=1).to_dict() == {"train": 54, "dev": 14, "gate": 9, "test": 14}
    assert table.sum().to_dict() == {"female": 43, "male": 48}
    even = pd.DataFrame({sex: table.sum(axis=1) * n / 91 for sex, n in table.sum().items()})
    assert ((table - even).abs() < 1).all(axis=None)
    folds = pd.Series(roles_by_fold(list(roster), "crema_d", 5, 0, True, roster))
    table = pd.crosstab(folds, folds.index.map(roster.get).to_numpy())
    assert table.loc[["test", "dev", "gate"]].isin([8, 9, 10]).all(axis=None)
    assert table.loc[["test", "dev", "gate"]].sum(axis=1).isin([18, 19]).all()


def test_speakers_of_the_roster_have_their_roles_before_the_others_are_here() -> None:
    roster = crema_d_roster()
    whole = roles_by_hash(list(roster), "crema_d", SHARES, roster)
    few = roles_by_hash(["1003", "1019", "1066", "1091", "stranger"], "crema_d", SHARES, roster)
    assert all(few[name] == whole[name] for name in ("1003", "1019", "1066", "1091"))
    assert few["stranger"] == roles_by_hash(["stranger"], "crema_d", SHARES)["stranger"]


def test_shares_hold_by_hash_alone_and_corpora_are_independent() -> None:
    names = [str(i) for i in range(400)]
    shares = pd.Series(roles_by_hash(names, "one", SHARES)).value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.6, abs=0.08)
    assert set(shares.index) == set(SHARES)
    assert roles_by_hash(names, "one", SHARES) != roles_by_hash(names, "two", SHARES)


def test_the_roles_of_today_are_those_of_tomorrow() -> None:
    """Champions are compared on these speakers: a change here makes every stored result incomparable."""
    by_hash = roles_by_hash([str(n) for n in range(1, 13)], "c", SHARES)
    assert {name: role for name, role in by_hash.items() if role != "train"} == {
        "1": "test", "8": "gate", "9": "dev", "10": "dev", "11": "test", "12": "gate",
    }  # fmt: skip
    roster = {str(n): ("female", "male")[n % 2] for n in range(1, 13)}
    dealt = roles_by_hash(list(roster), "c", SHARES, roster)
    assert {name: role for name, role in dealt.items() if role != "train"} == {
        "1": "test", "2": "dev", "7": "dev", "8": "test", "9": "gate",
    }  # fmt: skip


def test_every_speaker_is_test_in_one_fold_and_the_next_fold_is_dev() -> None:
    names = [str(i) for i in range(60)]
    folds = [roles_by_fold(names, "c", 5, fold, gate_fold=True) for fold in range(5)]
    for name in names:
        roles = [roles[name] for roles in folds]
        assert sorted(roles) == ["dev", "gate", "test", "train", "train"]
        test = roles.index("test")
        assert roles[test - 1] == "dev"  # the fold after fold test - 1 is this speaker's
        assert roles[test - 2] == "gate"
    assert "gate" not in set(roles_by_fold(names, "c", 5, 0, gate_fold=False).values())


def test_leaving_a_session_out_tests_on_all_its_speakers() -> None:
    frame = manifest("c", 8)
    assert roles_by_session(frame, "c", "4") == {
        "00": "dev", "01": "train", "02": "train", "03": "test",
        "04": "dev", "05": "train", "06": "train", "07": "test",
    }  # fmt: skip
    assert roles_by_session(frame, "c", "4", "2")["01"] == "dev"
    ten = frame.assign(session=frame["session"].replace({"3": "10"}))
    assert roles_by_session(ten, "c", "1")["01"] == "dev"  # session 2 comes after 1, and before 10


@pytest.mark.parametrize(
    ("change", "session", "message"),
    [
        ({"session": None}, "1", "without a session"),
        ({"speaker_id": "one"}, "1", "one speak in more than one session"),
        ({}, "9", "has no session '9': it has 1, 2, 3, 4"),
        ({"session": "1"}, "1", r"has 1 session\(s\)"),
    ],
)
def test_sessions_that_do_not_fit_are_refused(change: dict[str, Any], session: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        roles_by_session(manifest("c", 8).assign(**change), "c", session)


def test_lists_must_name_every_speaker_once() -> None:
    with pytest.raises(BadInput, match="no role for c"):
        roles_by_list(["a", "b", "c"], {"train": ["a"], "test": ["b"]})
    with pytest.raises(BadInput, match="speaker a is listed as train and as test"):
        roles_by_list(["a"], {"train": ["a"], "test": ["a"]})
    with pytest.raises(BadInput, match="b, who have no clip"):
        roles_by_list(["a"], {"train": ["a"], "test": ["b"]})


def test_a_clip_without_a_speaker_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"1 clip\(s\) of c have no speaker, 00-sad-1"):
        frame = manifest("c", 3)
        assign_roles(frame.assign(speaker_id=frame["speaker_id"].mask(frame.index == 1)), "c", how(), {})


def three_roles(frame: pd.DataFrame) -> pd.Series:
    return frame["speaker_id"].map({"00": "train", "01": "dev", "02": "test", "03": "train"})


def test_other_corpora_are_test_as_a_whole_and_label_maps_apply() -> None:
    frames = {"a": manifest("a", 3), "b": manifest("b", 2)}
    split, left = make_split(frames, "a", LABELS, {"b": {"calm": "sad"}}, three_roles(frames["a"]))
    assert set(split[split["corpus"] == "b"]["role"]) == {"test"}
    assert len(split[(split["corpus"] == "b") & (split["label"] == "sad")]) == 4
    assert len(left) == 3
    assert set(left["reason"]) == {"emotion calm is not among the study's labels"}


def test_conflicting_labels_and_silence_are_not_learned_from_but_stay_where_results_are_measured() -> None:
    frame = manifest("a", 4)
    frame.loc[[0, 6], "known_issue"] = "same audio, other label, as x"
    frame.loc[[3, 7], "known_issue"] = "no sound"
    split, left = make_split({"a": frame}, "a", LABELS, {}, three_roles(frame))
    reasons = left.set_index("utterance_id")["reason"]
    assert reasons[frame.loc[0, "utterance_id"]] == "conflicting labels on the same audio"
    assert reasons[frame.loc[3, "utterance_id"]] == "digital silence"
    assert set(frame.loc[[6, 7], "utterance_id"]) <= set(split["utterance_id"])


def refuse(frames: dict[str, pd.DataFrame], roles: pd.Series, labels: list[str], wanted: list[str]) -> None:
    split, _ = make_split(frames, "a", labels, {}, roles)
    refuse_empty_roles(split, list(frames), labels, wanted)


def test_a_role_without_a_class_is_refused_with_the_way_out() -> None:
    frame = manifest("a", 4)
    roles = three_roles(frame)
    refuse({"a": frame}, roles, LABELS, ["train", "dev", "test"])
    with pytest.raises(BadInput, match="role gate of a has no clip at all: ask for fewer roles"):
        refuse({"a": frame}, roles, LABELS, ["train", "dev", "gate", "test"])
    with pytest.raises(BadInput, match="role dev of a has no clip of sad: ask for fewer roles"):
        lacking = frame[(frame["speaker_id"] != "01") | (frame["emotion"] != "sad")]
        refuse({"a": lacking}, roles[lacking.index], LABELS, ["train", "dev", "test"])
    with pytest.raises(BadInput, match=r"a has no clip of fear: take it out of emotion\.labels"):
        refuse({"a": frame}, roles, ["angry", "fear"], ["train"])
    with pytest.raises(BadInput, match="no clip of b has one of the study's labels"):
        refuse({"a": frame, "b": manifest("b", 2, emotion="other")}, roles, LABELS, ["train"])
    with pytest.raises(BadInput, match="b has sad alone, and two are needed: give"):
        refuse({"a": frame, "b": manifest("b", 2, emotion="sad")}, roles, LABELS, ["train"])


def test_a_refusal_for_an_empty_role_gives_the_list_of_speakers_that_fills_it_and_moves_nobody_later(
    tmp_path: Path,
) -> None:
    frame = manifest("f", 10, sex=["female"] * 15 + ["male"] * 12 + [None] * 3)
    with pytest.raises(BadInput, match="has no clip at all: put the speakers into the description of f") as refused:
        run(tmp_path, {"f": frame}, {})
    line = str(refused.value).partition("(speakers: ")[2].partition(");")[0]
    roster = yaml.safe_load(line)
    assert list(roster.values()) == ["female"] * 5 + ["male"] * 4 + [None]
    (tmp_path / "listed").mkdir()
    out = run(tmp_path / "listed", {"f": frame}, roster)
    roles = json.loads((out / "roles.json").read_text())["f"]
    assert set(roles.values()) == set(SHARES)
    grown = assign_roles(manifest("f", 40), "f", how(), roster)
    assert {
        name: role for name, role in zip(manifest("f", 40)["speaker_id"], grown, strict=True) if name in roles
    } == roles


def test_a_list_that_would_fill_no_role_is_not_proposed() -> None:
    four = manifest("a", 4)
    assert proposed_roster(four, "a", how(policy="leave_one_session_out", session="1"), {}, SHARES) == ""
    assert proposed_roster(manifest("a", 2), "a", how(), {}, SHARES) == ""
    everybody = {f"{n:02d}": "female" for n in range(10)}
    assert proposed_roster(manifest("a", 10), "a", how(), everybody, SHARES) == ""


def empty_roles(speakers: int, corpora: int, shares: dict[str, float]) -> tuple[float, float]:
    """Share of corpora of so many speakers in which a role is empty: by hash alone, and by the list of the speakers."""
    found = []
    for corpus in range(corpora):
        names = {str(n): ("female", "male")[n % 2] for n in range(speakers)}
        both = (roles_by_hash(list(names), f"c{corpus}", shares, listed) for listed in ({}, names))
        found.append([set(roles.values()) != set(shares) for roles in both])
    return tuple(np.mean(found, axis=0))


def test_of_corpora_of_ten_speakers_a_hash_leaves_a_role_empty_in_six_of_ten_and_a_list_in_none() -> None:
    by_hash, listed = empty_roles(10, 400, SHARES)
    assert by_hash == pytest.approx(0.59, abs=0.08)
    assert listed == 0


@pytest.mark.prove
def test_how_often_a_role_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    three = {"train": 0.6, "dev": 0.2, "test": 0.2}
    lines = [f"{'speakers':>9}{'four roles':>12}{'listed':>8}{'three roles':>13}{'listed':>8}"]
    for speakers in (5, 6, 8, 10, 12, 16, 20, 30, 40):
        four, few = empty_roles(speakers, 2000, SHARES), empty_roles(speakers, 2000, three)
        lines.append(f"{speakers:>9}{four[0]:>12.3f}{four[1]:>8.3f}{few[0]:>13.3f}{few[1]:>8.3f}")
        assert few[1] == 0 and (four[1] == 0 or speakers < 8)
    with capsys.disabled():
        print("\na role is empty, share of 2,000 corpora\n" + "\n".join(lines))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"shares": {"train": 0.9, "dev": 0.1, "test": 0.1}}, "add up to 1.1"),
        ({"shares": {"train": 0.9, "dev": 0.1}}, "above 0 for train, dev and test"),
        ({"policy": "kfold", "fold": 5}, "it is 0 to 4"),
        ({"policy": "kfold", "folds": 3, "gate_fold": True}, "at least 4 folds"),
        ({"policy": "leave_one_session_out"}, "split.session names"),
        ({"policy": "speakers", "speakers": {"train": ["a"], "dev": ["b"]}}, "lists for train, dev and test"),
    ],
)
def test_configurations_that_cannot_be_are_refused(split: dict[str, Any], message: str) -> None:
    tree = {"name": "n", "title": "t", "corpora": {"c": {"reader": "ravdess"}}, "split": split}
    with pytest.raises(BadInput, match=message):
        parse_config(tree | {"emotion": {"train_corpus": "c", "labels": LABELS}}, "here")


# The step


def scanned(folder: Path, frame: pd.DataFrame) -> Path:
    """A scan's output folder with a manifest in full."""
    folder.mkdir()
    missing = {name: None for name in SCHEMA.names if name not in frame}
    write_manifest(frame.assign(**missing), folder / "manifest.parquet")
    return folder


def run(tmp_path: Path, frames: dict[str, pd.DataFrame], roster: dict[str, str | None], **split: Any) -> Path:
    first, *others = frames
    out = tmp_path / "split"
    out.mkdir()
    params = {
        "train_corpus": first, "labels": LABELS, "roster": roster, "split": how(**split), "policy": "intended",
        "across": [{"corpus": name, "label_map": {}, "variants": {}} for name in others],
    }  # fmt: skip
    build({f"scan/{name}": scanned(tmp_path / name, frame) for name, frame in frames.items()}, params, out)
    return out


def test_what_training_and_the_gate_get_holds_no_test_row(tmp_path: Path) -> None:
    frames = {"a": manifest("a", 40), "b": manifest("b", 3)}
    roster = {f"{n:02d}": ("male", "female")[n % 2] for n in range(40)}
    out = run(tmp_path, frames, roster)
    fit, gate, test = (pd.read_parquet(out / f"{name}.parquet") for name in ("fit", "gate", "test"))
    assert (set(fit["role"]), set(gate["role"]), set(test["role"])) == ({"train", "dev"}, {"gate"}, {"test"})
    assert set(fit["corpus"]) == set(gate["corpus"]) == {"a"}
    assert set(test["corpus"]) == {"a", "b"}
    measured = set(pd.concat([gate, test])["sha256"])
    assert not measured & set(fit["sha256"])
    assert not {f"a/{s}" for s in fit["speaker_id"]} & set(test["corpus"] + "/" + test["speaker_id"])
    roles = json.loads((out / "roles.json").read_text())
    assert Counter(roles["a"].values()) == {"train": 24, "dev": 6, "gate": 4, "test": 6}
    assert set(roles["b"].values()) == {"test"}
    said = json.loads((out / "protocol.json").read_text())
    assert said["description"] == (
        "a: speaker-disjoint hold-out, speakers by a hash of their names, the 40 of the official list spread evenly by "
        "sex (speakers: 24 train, 6 dev, 4 gate, 6 test)"
    )
    assert (said["policy"], said["speaker_dependent"], said["taint"]) == ("hash", False, "")
    left = pd.read_csv(out / "left_out.csv")
    assert len(fit) + len(gate) + len(test) + len(left) == len(frames["a"]) + len(frames["b"])


def test_a_role_that_is_not_asked_for_is_an_empty_table_with_the_same_columns(tmp_path: Path) -> None:
    lists = {"train": ["00", "01"], "dev": ["02"], "test": ["03"]}
    out = run(tmp_path, {"a": manifest("a", 4, sex=None)}, {}, policy="speakers", speakers=lists)
    tables = [pd.read_parquet(out / f"{name}.parquet") for name in ("fit", "gate", "test")]
    assert [len(table) for table in tables] == [6, 0, 2]
    assert all((table.dtypes == tables[0].dtypes).all() and list(table) == COLUMNS for table in tables)
    assert json.loads((out / "audit.json").read_text())["report"]["near_identical"]["checked"] is False


def test_a_speaker_dependent_split_taints_what_is_said_of_it(tmp_path: Path) -> None:
    frame = manifest("a", 60)
    frame.loc[90:119, "sha256"] = frame.loc[0:29, "sha256"].tolist()  # copies of clips go where the clips go
    out = run(tmp_path, {"a": frame}, {}, policy="speaker_dependent")
    said = json.loads((out / "protocol.json").read_text())
    assert said["speaker_dependent"] is True
    assert said["taint"] == TAINT
    assert said["description"].startswith("a: speaker-dependent, clips by a hash of their content (clips: ")
    report = json.loads((out / "audit.json").read_text())["report"]
    assert len(report["speakers_in_several_roles"]) > 10
    assert pd.read_parquet(out / "gate.parquet").empty


def test_an_emotion_of_the_training_corpus_may_count_as_another_and_the_protocol_names_it(tmp_path: Path) -> None:
    """The four classes of IEMOCAP have excited counted as happy."""
    frame = manifest("a", 4, votes=json.dumps({"evaluators": {"counts": {"calm": 2, "sad": 1}, "responses": 3}}))
    out = tmp_path / "split"
    out.mkdir()
    lists = {"train": ["00", "01"], "dev": ["02"], "test": ["03"]}
    params = {
        "train_corpus": "a", "labels": LABELS, "label_map": {"calm": "sad"}, "roster": {}, "policy": "intended",
        "split": how(policy="speakers", speakers=lists), "across": [],
    }  # fmt: skip
    build({"scan/a": scanned(tmp_path / "a", frame)}, params, out)
    rows = pd.concat(pd.read_parquet(out / f"{name}.parquet") for name in ("fit", "gate", "test"))
    assert rows["label"].value_counts().to_dict() == {"sad": 8, "angry": 4}
    assert pd.read_csv(out / "left_out.csv").empty
    assert json.loads(rows["votes"].iloc[0])["evaluators"]["counts"] == {"sad": 3}
    assert json.loads((out / "protocol.json").read_text())["description"].endswith(
        "; calm counts as sad (4 clips of the corpus)"
    )


def test_a_map_of_the_training_corpus_leads_to_labels_only() -> None:
    tree = {"name": "n", "title": "t", "corpora": {"c": {"reader": "iemocap"}}}

    def task(**label_map: str) -> dict[str, Any]:
        return tree | {"emotion": {"train_corpus": "c", "labels": ["angry", "happy"], "label_map": label_map}}

    assert parse_config(task(excited="happy"), "here").emotion.label_map == {"excited": "happy"}
    with pytest.raises(BadInput, match="excited counts as sad, which is not among labels"):
        parse_config(task(excited="sad"), "here")
    with pytest.raises(BadInput, match="happy counts as angry, and is among labels itself"):
        parse_config(task(happy="angry"), "here")


def test_the_command_line_trains_on_a_corpus_whose_emotions_are_merged() -> None:
    from ser_tasks.cli import _study

    emotions = pd.DataFrame({"emotion": ["happy"] * 6 + ["excited"] * 30 + ["sad"] * 20 + [None]})
    study = _study(None, "iemocap", {"name": "iemocap", "title": "IEMOCAP"}, emotions, {"excited": "happy"})
    assert (study.emotion.labels, study.emotion.label_map) == (["happy", "sad"], {"excited": "happy"})
    with pytest.raises(BadInput, match=r"has the map of its training corpus in emotion\.label_map"):
        _study("demo", "iemocap", {}, emotions, {"excited": "happy"})


def test_a_leak_stops_the_step_and_is_named(tmp_path: Path) -> None:
    frames = {"a": manifest("a", 4), "b": manifest("b", 3)}
    frames["b"].loc[0, "sha256"] = frames["a"].loc[0, "sha256"]
    lists = {"train": ["00", "01"], "dev": ["02"], "test": ["03"]}
    with pytest.raises(
        BadInput, match=r"1 leak\(s\).*00-angry-0 of a \(train, angry\), 00-angry-0 of b \(test, angry\)"
    ):
        run(tmp_path, frames, {}, policy="speakers", speakers=lists)


def test_dropped_emotions_become_targets_and_name_a_new_version_of_the_evaluation(tmp_path: Path) -> None:
    frame, roster = manifest("a", 40), {f"{n:02d}": ("male", "female")[n % 2] for n in range(40)}
    (tmp_path / "plain").mkdir()
    plain = run(tmp_path / "plain", {"a": frame}, roster)
    before = {name: pd.read_parquet(plain / f"{name}.parquet") for name in ("fit", "gate", "test")}

    def relabelled(name: str, table: str, policy: str) -> Path:
        row = before[table].iloc[0]
        other = next(label for label in LABELS if label != row["label"])
        folder = tmp_path / name
        (folder / "ratings").mkdir(parents=True)
        rated = pd.DataFrame([(row["utterance_id"], "emotion", other)], columns=["utterance_id", "trait", "label"])
        rated.to_parquet(folder / "ratings" / "ratings.parquet")
        out = folder / "split"
        out.mkdir()
        params = {
            "train_corpus": "a", "labels": LABELS, "roster": roster, "split": how(), "policy": policy, "across": [],
        }  # fmt: skip
        build({"scan/a": scanned(folder / "a", frame), "annotations": folder / "ratings"}, params, out)
        return out

    said = {}
    for name, table, policy in (("1", "fit", "majority"), ("2", "test", "votes"), ("3", "test", "intended")):
        out = relabelled(name, table, policy)
        changed = [part for part in before if not pd.read_parquet(out / f"{part}.parquet").equals(before[part])]
        assert changed == ([] if policy == "intended" else [table])
        said[name] = json.loads((out / "protocol.json").read_text())["evaluation"]
    first = json.loads((plain / "protocol.json").read_text())["evaluation"]
    assert said["1"] == said["3"] == first
    assert said["2"] != first
