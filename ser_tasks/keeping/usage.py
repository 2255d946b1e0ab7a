"""Where the space in the bucket is."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ser_tasks.keeping.collect import listed, take_inventory
from ser_tasks.keeping.reach import Inventory, Object, reach
from ser_tasks.store import Store

ELSEWHERE = ("raw/", "encoders/", "annotations/", "runs/", "refs/", "leases/")


def usage(store: Store) -> dict[str, Any]:
    """Bytes by kind of artifact, by run and by place.

    `bytes` counts what is named, `only` what nobody else of the table names: so much would go with it.

    Returns:
        {"kinds": {kind: {"artifacts", "bytes", "only"}}, "runs": {key of the record: {"artifacts", "bytes", "only"}},
        "places": {prefix: {"objects", "bytes"}}, "unnamed": bytes of blobs that no manifest names}.

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
    places: dict[str, Mapping[str, Object]] = {
        prefix: {name: thing for name, thing in inventory.objects.items() if name.startswith(prefix)}
        for prefix in ("blobs/", "artifacts/", "checkpoints/")
    }
    places |= {"trash/": inventory.trash} | {prefix: dict(listed(store, prefix)) for prefix in ELSEWHERE}
    return {
        "kinds": _table(by_kind, inventory),
        "runs": _table(by_run, inventory),
        "places": {
            prefix: {"objects": len(things), "bytes": sum(thing.size for thing in things.values())}
            for prefix, things in places.items()
        },
        "unnamed": _bytes((name for name in places["blobs/"] if name not in named_blobs), inventory),
    }


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
