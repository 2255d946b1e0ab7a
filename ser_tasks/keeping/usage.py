"""Where the space in the bucket is."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ser_tasks.keeping.collect import buckets, listed, take_inventory
from ser_tasks.keeping.reach import Inventory, reach
from ser_tasks.store import Store


def usage(store: Store) -> dict[str, Any]:
    """Bytes by kind of artifact, by run and by place.

    `bytes` counts what is named, `only` what nobody else of the table names: so much would go with it.

    Returns:
        {"kinds": {kind: {"artifacts", "bytes", "only"}}, "runs": {key of the record: {"artifacts", "bytes", "only"}},
        "places": {prefix, or MLflow's bucket: {"objects", "bytes"}}, "unnamed": bytes of blobs that no manifest names}.

    Raises:
        Damaged: A manifest cannot be read.
    """
    inventory = take_inventory(store, roots=False)
    runs = {name: inventory.roots[name] for name in inventory.roots if name.startswith("runs/")}
    by_kind: dict[str, set[str]] = {}
    for name, named in inventory.names.items():
        kind = name.split("/")[1] if name.startswith("artifacts/") else "(checkpoints)"
        by_kind.setdefault(kind, set()).update([name], (each for each in named if each.startswith("blobs/")))
    by_run = {run: set(reach({run: named}, inventory.names)) for run, named in runs.items()}
    named_blobs = {blob for named in inventory.names.values() for blob in named}
    return {
        "kinds": _table(by_kind, inventory),
        "runs": _table(by_run, inventory),
        "places": _places(store),
        "unnamed": _bytes(
            (name for name in inventory.objects if name.startswith("blobs/") and name not in named_blobs), inventory
        ),
    }


def _places(store: Store) -> dict[str, dict[str, int]]:
    """What lies where, the largest first; nothing of either bucket is left out."""
    found: dict[str, dict[str, int]] = {}
    for bucket in buckets(store):
        for name, thing in listed(store, "", bucket):
            place = f"{name.partition('/')[0]}/" if bucket == store.bucket else f"s3://{bucket}/"
            held = found.setdefault(place, {"objects": 0, "bytes": 0})
            held["objects"] += 1
            held["bytes"] += thing.size
    return dict(sorted(found.items(), key=lambda item: -item[1]["bytes"]))


def _table(groups: Mapping[str, set[str]], inventory: Inventory) -> dict[str, dict[str, int]]:
    times = Counter(name for names in groups.values() for name in names)
    table = {
        group: {
            "artifacts": sum(not name.startswith("blobs/") for name in names),
            "bytes": _bytes(names, inventory),
            "only": _bytes((name for name in names if times[name] == 1), inventory),
        }
        for group, names in groups.items()
    }
    return dict(sorted(table.items(), key=lambda item: -item[1]["bytes"]))


def _bytes(names: Iterable[str], inventory: Inventory) -> int:
    return sum(inventory.objects[name].size for name in names if name in inventory.objects)
