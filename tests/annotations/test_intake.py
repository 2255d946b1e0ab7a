"""Drops through a real object store: what they change, what they do not, killed anywhere, and two at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ser_tasks.annotations.intake import INCOMING, listed_rows, read_ratings_version, read_standing, take_in
from ser_tasks.annotations.version import current
from ser_tasks.store import Store

HEAD = "utterance_id,annotator_id,trait,rating,scale,created_at,source\n"
FIRST = HEAD + "u1,a1,rudeness,2,1-5,2026-01-01T10:00:00Z,x\nu2,a1,rudeness,4,1-5,2026-01-01T10:00:00Z,x\n"


class Killed(BaseException):
    """What a SIGKILL looks like from outside: nothing after it happens."""


def drop(store: Store, name: str, text: str) -> None:
    assert store.put(INCOMING + name, text.encode(), IfNoneMatch="*")


def uploads(store: Store) -> dict[str, bytes | None]:
    return {item["key"]: store.get(item["key"]) for item in store.list(INCOMING)}


def objects(store: Store) -> set[str]:
    return {item["key"] for item in store.list("")}


def test_nothing_dropped_is_no_version_and_writes_nothing(store: Store) -> None:
    assert take_in(store, "t").now.version == 0
    assert not objects(store)


def test_a_drop_makes_a_version_and_the_same_again_changes_nothing(
    store: Store, make_store: Callable[[], Store]
) -> None:
    drop(store, "one.csv", FIRST)
    first = take_in(store, "t")
    assert (first.now.version, len(first.new), first.counts["current"]) == (1, 1, 2)
    before = objects(store)
    assert take_in(store, "t").now == first.now
    drop(store, "again/other name.csv", FIRST)
    again = take_in(make_store(), "t")
    assert again.now == first.now
    assert again.same == (("again/other name.csv", "one.csv"),)
    assert again.in_words()[1].endswith("changes nothing: again/other name.csv as one.csv")
    assert objects(store) == before | {INCOMING + "again/other name.csv", "refs/annotations-same.json"}


def test_a_file_that_is_known_is_neither_fetched_nor_told_again(
    make_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    for n in range(5):
        drop(store, f"{n}.csv", FIRST)
    first = take_in(store, "t")
    assert "4 file(s) the same" in first.in_words()[1]
    assert first.in_words()[1].endswith("1.csv as 0.csv, 2.csv as 0.csv, 3.csv as 0.csv and 1 more")
    fetched, get = [], Store.get
    monkeypatch.setattr(Store, "get", lambda self, key: fetched.append(key) or get(self, key))  # type: ignore[func-returns-value]
    again = take_in(make_store(), "t")
    assert (again.same, again.now) == ((), first.now)
    assert not [key for key in fetched if key.startswith(INCOMING)]
    store.put(INCOMING + "1.csv", FIRST.replace(",4,", ",5,").encode())  # another file under a known name
    assert take_in(store, "t").now.version == 2


def test_a_file_that_is_too_large_is_listed_and_never_fetched(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_tasks.annotations.intake.LARGEST_BYTES", len(FIRST))
    monkeypatch.setattr("ser_tasks.annotations.drops.LARGEST_BYTES", len(FIRST))
    drop(store, "large.csv", FIRST + "u9,a1,rudeness,3,1-5,,x\n")
    drop(store, "one.csv", FIRST)
    get = Store.get
    monkeypatch.setattr(Store, "get", lambda self, key: get(self, key) if "large" not in key else pytest.fail(key))
    found = take_in(store, "t")
    assert found.counts["current"] == 2
    ((row),) = found.listed
    assert (row["file"], row["row"]) == ("large.csv", "whole file")
    assert "cut it into several files" in row["reason"]
    assert not take_in(store, "t").new


def test_bad_rows_are_listed_with_file_row_and_reason_and_the_good_ones_count(store: Store) -> None:
    drop(store, "bad.csv", FIRST + "u3,a1,rudeness,9,1-5,,x\nu4,,rudeness,3,1-5,,x\nu5,a1,emotion,cross,,,x\n")
    drop(store, "broken.json", "[{")
    drop(store, "latin.csv", "")
    store.put(INCOMING + "latin.csv", HEAD.encode() + "u1,é".encode("latin-1"))
    found = take_in(store, "t")
    assert (found.now.version, found.counts["current"], found.counts["listed"]) == (1, 2, 5)
    import pandas as pd

    from ser_tasks.artifact import Ref

    listed = pd.read_csv(store.cached(Ref.parse(found.now.ledger)) / "listed.csv")
    told = {(row.file, row.row): row.reason for row in listed.itertuples()}
    assert {(row["file"], row["row"]): row["reason"] for row in found.listed} == told
    assert listed_rows(store, found.now)[0]["file"] == "latin.csv"  # the newest drop's come first
    assert "  bad.csv, line 4: rating 9 lies outside 1-5" in found.in_full()
    assert any(line.startswith("  and 4 more") for line in found.in_full(1))
    assert told["bad.csv", "line 4"] == "rating 9 lies outside 1-5"
    assert told["bad.csv", "line 5"] == "names no annotator"
    assert "emotion 'cross' is none of" in told["bad.csv", "line 6"]
    assert told["broken.json", "whole file"].startswith("is no JSON")
    assert told["latin.csv", "whole file"].startswith("is not UTF-8")


def test_only_bad_rows_make_no_version(store: Store) -> None:
    drop(store, "bad.csv", HEAD + "u3,a1,rudeness,9,1-5,,x\n")
    found = take_in(store, "t")
    assert (found.now.version, found.counts["accepted"]) == (0, 0)
    assert found.now.ledger
    drop(store, "good.csv", FIRST)
    assert take_in(store, "t").now.version == 1


def test_a_correction_wins_and_the_older_rating_stays_on_record(store: Store) -> None:
    drop(store, "b.csv", FIRST)
    take_in(store, "t")
    drop(store, "a.csv", HEAD + "u1,a1,rudeness,5,1-5,2026-01-02T10:00:00+02:00,x\n")
    found = take_in(store, "t")
    assert found.now.version == 2
    ratings = read_ratings_version(store, found.now)
    assert list(ratings["rating"]) == [5, 4]
    history = read_standing(store, found.now).history
    assert list(zip(history["rating"], history["status"], strict=True)) == [
        (2, "older"), (4, "current"), (5, "current"),
    ]  # fmt: skip
    drop(store, "late.csv", HEAD + "u1,a1,rudeness,1,1-5,2025-12-31,x\n")
    assert take_in(store, "t").now.version == 2  # older than what is there: on record, and no new version


@pytest.mark.parametrize("puts", range(12))
def test_killed_at_any_write_the_next_intake_ends_the_same(
    make_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch, puts: int
) -> None:
    store = make_store()
    drop(store, "one.csv", FIRST + "u3,a1,rudeness,9,1-5,,x\n")
    before = uploads(store)
    put, left = Store.put, [puts]

    def mortal(self: Store, *args: Any, **kwargs: Any) -> bool:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return put(self, *args, **kwargs)

    monkeypatch.setattr(Store, "put", mortal)
    try:
        take_in(store, "killed")
        assert puts > 8
    except Killed:
        assert current(make_store()).version == 0
    monkeypatch.setattr(Store, "put", put)
    found = take_in(make_store(), "again")
    assert (found.now.version, found.counts["current"], found.counts["listed"]) == (1, 2, 1)
    assert uploads(store) == before
    assert current(store) == found.now


def test_two_intakes_at_once_lose_nothing(make_store: Callable[[], Store]) -> None:
    stores = [make_store() for _ in range(3)]
    for n, store in enumerate(stores):
        drop(store, f"{n}.csv", HEAD + f"u{n},a1,rudeness,{n + 1},1-5,2026-01-01,x\n")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda store: take_in(store, "t"), stores))
    version = current(stores[0])
    assert list(read_ratings_version(stores[0], version)["rating"]) == [1, 2, 3]
