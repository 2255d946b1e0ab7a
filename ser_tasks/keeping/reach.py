"""What is needed, and what can go. Pure functions over names, sizes and times."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

UPLOADS_AFTER = timedelta(days=1)
"""A multipart upload that was begun so long ago is not going on."""
_REF = re.compile(r"([A-Za-z0-9_.-]+)/([0-9a-f]{64})/[0-9a-f]{64}")


@dataclass(frozen=True)
class Object:
    """An object in the bucket. `modified` has a time zone."""

    size: int
    modified: datetime


@dataclass(frozen=True)
class Inventory:
    """What lies in the bucket, and who points where.

    Attributes:
        objects: Of artifacts/, blobs/ and checkpoints/, by key.
        trash: Of trash/, by the key that each had in its place.
        names: Keys that each manifest in its place names, by the manifest's key: blobs, and manifests of inputs.
        names_in_trash: The same of manifests in the trash.
        roots: What needs things, in words, and the keys that it names.
        uploads: Multipart uploads that were begun: (bucket, key, id) and when.
    """

    objects: Mapping[str, Object]
    trash: Mapping[str, Object]
    names: Mapping[str, Collection[str]]
    names_in_trash: Mapping[str, Collection[str]]
    roots: Mapping[str, Collection[str]]
    uploads: Mapping[tuple[str, str, str], datetime]


@dataclass(frozen=True)
class Sweep:
    """What a collection is to do, in this order.

    Attributes:
        reached: Every needed key to what needed it first.
        missing: Needed keys that are neither in their place nor in the trash.
        back: Keys in the trash that are needed: to be copied back, blobs first.
        away: Keys that nothing needs: to be moved to the trash, manifests first.
        gone: Keys that have been in the trash for long enough: to be deleted there, manifests first.
        uploads: Multipart uploads to be aborted.
    """

    reached: Mapping[str, str]
    missing: tuple[str, ...]
    back: tuple[str, ...]
    away: tuple[str, ...]
    gone: tuple[str, ...]
    uploads: tuple[tuple[str, str, str], ...]


def refs_in(text: str) -> set[str]:
    """Keys of the manifests of every artifact reference that stands in a text."""
    return {f"artifacts/{kind}/{key}/manifest.json" for kind, key in _REF.findall(text)}


def blobs_of(manifest: Mapping[str, Any]) -> set[str]:
    """Keys of the blobs that a manifest names."""
    return {f"blobs/sha256/{file['sha256']}" for file in manifest["files"]}


def reach(roots: Mapping[str, Collection[str]], names: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Everything that can be got to from the roots, each with what named it first."""
    reached: dict[str, str] = {}
    ahead = [(root, name) for root, named in roots.items() for name in sorted(named)]
    while ahead:
        further: list[tuple[str, str]] = []
        for source, name in ahead:
            if name not in reached:
                reached[name] = source
                further += [(name, each) for each in sorted(names.get(name, ()))]
        ahead = further
    return reached


def why(reached: Mapping[str, str], key: str) -> list[str]:
    """The way from a root to a key, the root first; empty when nothing needs it."""
    way: list[str] = []
    while key in reached:
        way.append(key)
        key = reached[key]
    return [key, *reversed(way)] if way else []


def sweep(inventory: Inventory, now: datetime, older_than: timedelta, trash: timedelta) -> Sweep:
    """What to bring back, move to the trash and delete.

    Args:
        inventory: Of the bucket.
        now: The time.
        older_than: Younger manifests are needed, with all that they name; younger blobs stay: somebody who has put
            them may be about to publish.
        trash: How long things lie in the trash before they are gone.
    """

    def old(thing: Object, than: timedelta) -> bool:
        return now - thing.modified > than

    placed, in_trash = inventory.objects, inventory.trash
    young = {name for name in inventory.names if not old(placed[name], older_than) and not _done(name, inventory)}
    roots = {**inventory.roots, "younger than the grace period": young}
    # A manifest in the trash names things only when something needs it.
    reached = reach(roots, {**inventory.names_in_trash, **inventory.names})
    missing = tuple(sorted(name for name in reached if name not in placed and name not in in_trash))
    back = [name for name in reached if name not in placed and name in in_trash]
    away = [name for name in inventory.names if name not in reached]
    away += [
        name
        for name, thing in placed.items()
        if name.startswith("blobs/") and name not in reached and old(thing, older_than)
    ]
    stale = {name for name, thing in in_trash.items() if old(thing, trash)} - set(away)
    gone = {
        name for name in stale if not name.startswith("blobs/") and (name in inventory.names or name not in reached)
    }
    left = [named for name, named in inventory.names_in_trash.items() if name not in gone]
    wanted = {blob for named in (*inventory.names.values(), *left) for blob in named}
    gone |= {name for name in stale if name.startswith("blobs/") and (name in placed or name not in wanted)}
    return Sweep(
        reached=reached,
        missing=missing,
        back=tuple(_ordered(back, blobs_first=True)),
        away=tuple(_ordered(away)),
        gone=tuple(_ordered(gone)),
        uploads=tuple(
            upload for upload, begun in inventory.uploads.items() if now - begun > min(older_than, UPLOADS_AFTER)
        ),
    )


def _done(name: str, inventory: Inventory) -> bool:
    """Whether this is a checkpoint of what is published: whoever published it was killed before it tidied up."""
    if not name.startswith("checkpoints/"):
        return False
    key = name.split("/")[1]
    return any(other.startswith("artifacts/") and other.split("/")[2] == key for other in inventory.names)


def _ordered(names: Iterable[str], blobs_first: bool = False) -> list[str]:
    return sorted(names, key=lambda name: (name.startswith("blobs/") != blobs_first, name))
