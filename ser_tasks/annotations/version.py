"""Which version of the ratings is today's: one pointer in the store."""

from dataclasses import dataclass

from ser_tasks.store import Store

POINTER = "annotations"


@dataclass(frozen=True)
class Version:
    """Today's version of the ratings, as `refs/annotations.json` says it.

    Attributes:
        version: Counts up from 1 whenever the ratings differ; 0: there are none yet.
        ratings: Reference of the ratings (kind `ratings_version`); empty at version 0.
        ledger: Reference of the ledger (kind `annotation_ledger`); empty when nothing was ever dropped.
    """

    version: int = 0
    ratings: str = ""
    ledger: str = ""


def current(store: Store) -> Version:
    """What the pointer says now."""
    return held(store)[0]


def held(store: Store) -> tuple[Version, str | None]:
    """What the pointer says now, and its ETag for `Store.move_pointer`; None when it was never set."""
    found = store.pointer(POINTER)
    return (Version(**found[0]), found[1]) if found else (Version(), None)
