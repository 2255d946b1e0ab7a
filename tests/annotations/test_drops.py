"""Reading drops: three formats, and no row that vanishes whatever the bytes are."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ser_tasks.annotations.drops import COLUMNS, read_drop
from ser_tasks.annotations.labelstudio import labelling_configuration
from ser_tasks.annotations.ledger import KEYS, RATINGS, Drop, parted, stand
from ser_tasks.annotations.validation import ACCEPTED, check_rows
from ser_tasks.errors import BadInput

HEAD = "utterance_id,annotator_id,trait,rating,scale,created_at\n"
RATING = {"from_name": "rudeness", "to_name": "audio", "type": "rating", "value": {"rating": 4}}
CHOICE = {"from_name": "emotion", "to_name": "audio", "type": "choices", "value": {"choices": ["sad"]}}


def annotation(number: int, **changes: object) -> dict[str, object]:
    return {
        "id": number,
        "completed_by": 3,
        "was_cancelled": False,
        "created_at": "2026-01-02T00:00:00.000000Z",
        "updated_at": "2026-01-02T00:00:00.000000Z",
        "result": [RATING, CHOICE],
        **changes,
    }


def export(*annotations: dict[str, object], **data: str) -> bytes:
    task = {"id": 12, "data": data or {"utterance_id": "u1", "audio": "x"}, "annotations": list(annotations)}
    return json.dumps([task]).encode()


@pytest.mark.parametrize(
    "body",
    [
        "\ufeff" + HEAD + "u1,a1,rudeness,3,1-5,2026-01-01\n",
        HEAD.replace(",", ";") + "u1;a1;rudeness;3;1-5;2026-01-01\r\n\r\n",
        HEAD.replace(",", "\t") + "u1\ta1\trudeness\t 3 \t1-5\t2026-01-01",
    ],
)
def test_csv_with_any_usual_separator_and_a_byte_order_mark(body: str) -> None:
    rows = read_drop("x.csv", body.encode())
    assert rows.iloc[0][["row", "utterance_id", "rating", "fault"]].tolist() == ["line 2", "u1", "3", ""]
    assert len(rows) == 1


def test_json_lines_name_the_line_of_what_cannot_be_read() -> None:
    good = {"utterance_id": "u1", "annotator_id": 7, "trait": "rudeness", "rating": 3, "created_at": None}
    body = "\n".join([json.dumps(good), "", "{oops", "[1]", json.dumps({**good, "rating": [3]})])
    rows = read_drop("x.jsonl", body.encode()).set_index("row")
    assert rows.loc["line 1", ["annotator_id", "rating", "created_at", "fault"]].tolist() == ["7", "3", "", ""]
    assert rows.loc["line 3", "fault"].startswith("is no JSON")
    assert rows.loc["line 4", "fault"].startswith("is no object")
    assert rows.loc["line 5", "fault"] == "rating is neither text nor number"


def test_a_label_studio_export_gives_ratings_choices_and_who_gave_them() -> None:
    rows = read_drop("x.json", export(annotation(1), annotation(2, completed_by={"id": 4, "email": "a@b.org"})))
    assert rows[["utterance_id", "annotator_id", "trait", "rating"]].to_numpy().tolist() == [
        ["u1", "label-studio-3", "rudeness", "4"],
        ["u1", "label-studio-3", "emotion", "sad"],
        ["u1", "label-studio-4", "rudeness", "4"],
        ["u1", "label-studio-4", "emotion", "sad"],
    ]
    assert "a@b.org" not in rows.to_csv()


def test_what_label_studio_itself_exported() -> None:
    """Label Studio 1.23.2: our configuration and tasks imported, four annotations made, exported as JSON."""
    name = "label_studio_1.23.2.json"
    accepted, listed, _ = check_rows(read_drop(name, Path(__file__).with_name(name).read_bytes()))
    told = list(zip(accepted["utterance_id"], accepted["trait"], accepted["rating"].fillna(0), strict=True))
    assert told == [
        ("u0", "rudeness", 4), ("u0", "emotion", 0), ("u0", "rudeness", 5), ("u0", "emotion", 0),
        ("u1", "rudeness", 1), ("u1", "emotion", 0),
    ]  # fmt: skip
    assert listed["reason"].tolist() == ["left out: was cancelled by the annotator"]


def test_cancelled_repeated_and_empty_annotations_are_listed_and_rate_nothing() -> None:
    several = {**CHOICE, "value": {"choices": ["sad", "angry"]}}
    body = export(
        annotation(1), annotation(1), annotation(2, was_cancelled=True), annotation(3, result=[]),
        annotation(4, result=[several]), annotation(5, completed_by=None),
    )  # fmt: skip
    accepted, listed, _ = check_rows(read_drop("x.json", body))
    assert accepted["row"].tolist() == ["task 12, annotation 1, rudeness", "task 12, annotation 1, emotion"]
    assert dict(zip(listed["row"], listed["reason"], strict=True)) == {
        "task 12, annotation 1": "left out: is in the export twice",
        "task 12, annotation 2": "left out: was cancelled by the annotator",
        "task 12, annotation 3": "left out: has no result",
        "task 12, annotation 4, emotion": "has 2 choices where one is wanted: sad, angry",
        "task 12, annotation 5, rudeness": "names no annotator",
        "task 12, annotation 5, emotion": "names no annotator",
    }


def test_one_annotator_who_annotates_a_task_twice_counts_with_the_newer() -> None:
    later = {**RATING, "value": {"rating": 1}}
    body = export(
        annotation(2, result=[later], updated_at="2026-02-01T00:00:00Z"), annotation(1, result=[RATING])
    )  # fmt: skip
    accepted, _, _ = check_rows(read_drop("x.json", body))
    standing = stand([Drop("s", "x.json", "", 0, "", 2, 0)], {"s": accepted})
    assert standing.ratings["rating"].tolist() == [1]
    assert sorted(standing.history["status"]) == ["current", "older"]


def test_without_an_id_the_clip_is_told_from_its_address() -> None:
    rows = read_drop("x.json", export(annotation(1), audio="https://s3/ser/raw/c/Actor%2001/1001_A.wav?X-Amz=1"))
    assert set(rows["utterance_id"]) == {"1001_A"}


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("x.xlsx", b"", "take .csv"),
        ("x.csv", b"utterance_id,rating\n", r"lacks the column\(s\) annotator_id, trait"),
        ("x.csv", HEAD.encode() + b"\xff", "is not UTF-8"),
        ("x.json", b"{}", "is no list"),
        ("x.json", b"[" * 100_000, "is no JSON"),
        ("x.json", b'[{"id": 1, "audio": "x", "annotation_id": 2, "rudeness": 3}]', "JSON-MIN.*as 'JSON'"),
        ("x.json", b'[{"id": 1, "data": {}, "completions": []}]', "before 1.0.*as 'JSON'"),
        ("x.json", b'[{"data": {}, "annotations": []}, {"data": {}}]', "some have no annotations"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_words(name: str, body: bytes, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read_drop(name, body)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["x.csv", "x.jsonl", "x.json"]), st.binary(max_size=200) | st.text(max_size=200))
def test_no_bytes_break_a_reader(name: str, tail: bytes | str) -> None:
    body = tail if isinstance(tail, bytes) else HEAD.encode() + tail.encode("utf-8", "surrogatepass")
    try:
        assert list(read_drop(name, body).columns) == COLUMNS
    except BadInput as error:
        assert str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["data", "annotations", "result", "value", "choices", "rating", "id", "completed_by"]),
        inner, max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.fixed_dictionaries({"data": JSON, "annotations": JSON}), max_size=3))
def test_no_export_breaks_the_reader(tasks: list[dict[str, object]]) -> None:
    assert list(read_drop("x.json", json.dumps(tasks).encode()).columns) == COLUMNS


ROW = st.tuples(
    st.sampled_from(["u1", "u2", ""]), st.sampled_from(["a1", "a2", ""]),
    st.sampled_from(["rudeness", "emotion", "Bad Name", ""]), st.sampled_from(["1", "5", "6", "x", "", "sad", "nan"]),
    st.sampled_from(["1-5", "", "0-1"]), st.sampled_from(["2026-01-01", "", "soon", "2026-01-02T01:00:00+09:00"]),
)  # fmt: skip


# Great Expectations takes a second a drop, so a failing one is not made smaller.
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(ROW, max_size=20))
def test_every_row_is_accepted_or_listed_and_what_is_accepted_is_right(rows: list[tuple[str, ...]]) -> None:
    body = HEAD + "".join(",".join(row) + "\n" for row in rows)
    accepted, listed, _ = check_rows(read_drop("x.csv", body.encode()))
    assert sorted([*accepted["row"], *listed["row"]]) == sorted(f"line {n}" for n in range(2, 2 + len(rows)))
    assert list(accepted.columns) == ACCEPTED
    for row in accepted.to_dict("records"):
        given_row = rows[int(row["row"].removeprefix("line ")) - 2]
        assert all(given_row[:2])
        assert (given_row[2], given_row[3]) in {("rudeness", "1"), ("rudeness", "5"), ("emotion", "sad")}
        assert given_row[5] != "soon"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.tuples(*[st.integers(0, 2)] * 4), max_size=6), max_size=4),
    st.sets(st.sampled_from(["u0", "u1", "u2"])),
)
def test_the_newest_rating_counts_whatever_the_drops(drops: list[list[tuple[int, ...]]], known: set[str]) -> None:
    frames, names = {}, []
    for n, rows in enumerate(drops):
        names.append(Drop(f"s{n}", f"{n}.csv", "", 0, "", len(rows), 0))
        frames[f"s{n}"] = pd.DataFrame(
            [
                {"row": str(i), "utterance_id": f"u{u}", "annotator_id": f"a{a}", "trait": "t", "rating": float(r),
                 "label": "", "scale": "1-5", "created_at": f"2026-01-0{t}" if t else "", "source": ""}
                for i, (u, a, r, t) in enumerate(rows)
            ], columns=ACCEPTED,
        )  # fmt: skip
    standing = stand(names, frames)
    best: dict[tuple[str, str], tuple[str, float]] = {}
    for rows in drops:
        for u, a, r, t in rows:
            key, when = (f"u{u}", f"a{a}"), f"2026-01-0{t}" if t else ""
            if key not in best or when >= best[key][0]:
                best[key] = (when, float(r))
    held = standing.ratings.set_index(["utterance_id", "annotator_id"])["rating"].to_dict()
    assert held == {key: rating for key, (_, rating) in best.items()}
    assert len(standing.history) == sum(map(len, drops))
    assert not standing.ratings.duplicated(KEYS).any()
    here, waiting = parted(standing, known)
    assert set(here["utterance_id"]) <= known
    assert len(here) + len(waiting) == len(standing.ratings)
    assert list(here.columns) == RATINGS


@pytest.mark.parametrize("when", ["", "2026-01-01T00:00:00.000000Z"])
def test_a_correction_back_to_the_earlier_value_counts_and_what_stands_already_is_repeated(when: str) -> None:
    rows = [("rudeness", 3.0, ""), ("rudeness", 4.0, ""), ("rudeness", 3.0, ""), ("rudeness", 3.0, "")]
    rows += [("emotion", np.nan, "sad"), ("emotion", np.nan, "sad")]
    drops, accepted = [], {}
    for n, (trait, rating, label) in enumerate(rows):
        drops.append(Drop(str(n), f"{n}.csv", "", 0, "", 1, 0))
        row = ("line 2", "u", "a", trait, rating, label, "1-5", when, "")
        accepted[str(n)] = pd.DataFrame([row], columns=ACCEPTED)
    standing = stand(drops, accepted)
    assert list(standing.history["status"]) == ["older", "older", "current", "repeated", "current", "repeated"]
    assert standing.ratings["label"].tolist() == ["sad", ""]
    assert standing.ratings["rating"].tolist()[1] == 3.0


def test_times_to_come_and_ratings_between_half_steps_are_refused_with_their_reason() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    told = [("3", "2099-01-01"), ("3.25", ""), ("3.5", "2026-03-01T18:00:00Z"), ("9.1", ""), ("2", "2026-02-28")]
    body = HEAD + "".join(f"u{n},a1,rudeness,{rating},1-5,{when}\n" for n, (rating, when) in enumerate(told))
    accepted, listed, _ = check_rows(read_drop("x.csv", body.encode()), now)
    assert accepted["rating"].tolist() == [3.5, 2.0]
    assert dict(zip(listed["row"], listed["reason"], strict=True)) == {
        "line 2": "created_at '2099-01-01' lies in the future",
        "line 3": "rating 3.25 is no whole or half step: drop each annotator's rating, not a mean",
        "line 5": "rating 9.1 lies outside 1-5; rating 9.1 is no whole or half step: drop each annotator's rating, "
        "not a mean",
    }


def test_the_labelling_configuration_is_xml_with_names_quoted() -> None:
    from xml.etree import ElementTree

    root = ElementTree.fromstring(labelling_configuration("rudeness", ["angry", 'a"<&']))  # noqa: S314 - our own text
    assert [choice.get("value") for choice in root.iter("Choice")] == ["angry", 'a"<&']
    assert root.find("Rating").get("maxRating") == "5"
