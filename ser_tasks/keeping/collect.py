"""Garbage collection at the store.

Roots are run records (runs/), pointers (refs/), registered model versions, leases that are alive, and what is younger
than the grace period. What no root leads to is moved to trash/ and deleted from there by a later collection. Nothing
waits for anybody: a publisher that found a blob an instant before it was moved gets it back from the trash, by the
reader of its manifest or by the next collection, which sees the manifest. The trash keeps things for longer than any
publishing takes. Every step can be killed and done again.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from ser_tasks.errors import BadInput, Damaged
from ser_tasks.keeping.reach import Inventory, Object, Sweep, blobs_of, refs_in, sweep
from ser_tasks.objects import TRANSFERS, TRASH
from ser_tasks.store import Store

OLDER_THAN = timedelta(days=30)
IN_TRASH = timedelta(days=7)
MANIFESTS = ("artifacts/", "checkpoints/")
SOURCES = ("runs/", "refs/")
LEASE = "gc"
MLFLOW = "mlflow"
"""Its bucket holds what MLflow was given: its own to keep, but uploads that were broken off take space there, too."""


def find(store: Store, older_than: timedelta = OLDER_THAN, trash: timedelta = IN_TRASH) -> tuple[Inventory, Sweep]:
    """Look at everything and say what can go; changes nothing.

    Raises:
        BadInput: MLFLOW_TRACKING_URI is not set: which versions are registered cannot be known.
        Damaged: A manifest cannot be read: which blobs it needs cannot be known.
    """
    inventory = take_inventory(store)
    return inventory, sweep(inventory, datetime.now(UTC), older_than, trash)


def collect(store: Store, by: str, older_than: timedelta = OLDER_THAN, trash: timedelta = IN_TRASH) -> dict[str, Any]:
    """Look at everything, then do it.

    Args:
        store: The object store.
        by: Who asks.
        older_than: The grace period.
        trash: How long things lie in the trash.

    Returns:
        What `summary` says.

    Raises:
        Busy: Another collection is going on.
        BadInput, Damaged: As `find`.
    """
    with store.leases.hold(LEASE, by):
        inventory, found = find(store, older_than, trash)
        carry_out(store, found)
    return summary(inventory, found)


def carry_out(store: Store, found: Sweep) -> None:
    """Bring back, move away, delete, abort. Blobs wait for the manifests that name them, or these for their blobs."""
    with ThreadPoolExecutor(TRANSFERS) as pool:
        for names, action in (
            (found.back, store.bring_back),
            (found.away, store.throw_away),
            (found.gone, lambda name: store.delete(TRASH + name)),
        ):
            first = [name for name in names if name.startswith("blobs/") == names[0].startswith("blobs/")]
            list(pool.map(action, first))
            list(pool.map(action, names[len(first) :]))
    for bucket, key, upload in found.uploads:
        store.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


def summary(inventory: Inventory, found: Sweep) -> dict[str, Any]:
    """Counts and bytes: what is there, is needed, was brought back, moved to the trash, deleted; what is missing."""

    def told(names: Any, where: Any) -> dict[str, int]:
        listed = [where[name] for name in names if name in where]
        return {"objects": len(listed), "bytes": sum(thing.size for thing in listed)}

    return {
        "there": told(inventory.objects, inventory.objects),
        "needed": told(found.reached, inventory.objects),
        "brought_back": told(found.back, inventory.trash),
        "to_trash": told(found.away, inventory.objects),
        "in_trash": told(inventory.trash, inventory.trash),
        "deleted": told(found.gone, inventory.trash),
        "uploads_aborted": len(found.uploads),
        "missing": list(found.missing),
    }


def take_inventory(store: Store, roots: bool = True) -> Inventory:
    """What lies in the bucket, and who points where.

    `roots`: ask MLflow and leases too; without them only run records and pointers are roots.
    """
    objects = {name: thing for prefix in (*MANIFESTS, "blobs/") for name, thing in listed(store, prefix)}
    trash = {name.removeprefix(TRASH): thing for name, thing in listed(store, TRASH)}
    placed = [name for name in objects if name.startswith(MANIFESTS)]
    thrown = [name for name in trash if name.startswith(MANIFESTS)]
    sources = [name for prefix in SOURCES for name, _ in listed(store, prefix)]
    with ThreadPoolExecutor(TRANSFERS) as pool:
        bodies = dict(zip(placed, pool.map(store.get, placed), strict=True))
        of_trash = dict(zip(thrown, pool.map(lambda name: store.get(TRASH + name), thrown), strict=True))
        pointing = {
            name: refs_in((body or b"").decode())
            for name, body in zip(sources, pool.map(store.get, sources), strict=True)
        }
        manifests = {name: parsed(name, body) for name, body in bodies.items() if body is not None}
        in_trash = {name: parsed(TRASH + name, body) for name, body in of_trash.items() if body is not None}
        plans = {
            name: manifest for name, manifest in (in_trash | manifests).items() if name.startswith("artifacts/plan/")
        }
        pinned = dict(zip(plans, pool.map(lambda manifest: _plan_text(store, manifest), plans.values()), strict=True))

    def named(name: str, manifest: dict[str, Any]) -> set[str]:
        return blobs_of(manifest) | refs_in(json.dumps(manifest)) | refs_in(pinned.get(name, ""))

    return Inventory(
        objects=objects,
        trash=trash,
        names={name: named(name, manifest) for name, manifest in manifests.items()},
        names_in_trash={name: named(name, manifest) for name, manifest in in_trash.items()},
        roots=pointing | (_registered(manifests) | _leased(store, manifests) if roots else {}),
        uploads=dict(_uploads(store)),
    )


def buckets(store: Store) -> list[str]:
    """The store's own, and MLflow's beside it where there is one."""
    try:
        store.client.head_bucket(Bucket=MLFLOW)
    except store.client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
            raise
        return [store.bucket]
    return [store.bucket, MLFLOW]


def listed(store: Store, prefix: str, bucket: str = "") -> Iterator[tuple[str, Object]]:
    """Objects under a prefix with size and time; `bucket`: another than the store's."""
    pages = store.client.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=bucket or store.bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                yield item["Key"], Object(item["Size"], item["LastModified"])


def parsed(name: str, body: bytes) -> dict[str, Any]:
    """A manifest that names its blobs. Raises Damaged when it is none."""
    try:
        manifest: dict[str, Any] = json.loads(body)
        blobs_of(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"store: {name} is no manifest, so that nobody knows what it needs: nothing is collected; delete it, and "
            "run the step that makes it again"
        ) from error
    return manifest


def _plan_text(store: Store, manifest: dict[str, Any]) -> str:
    """A plan names what it pinned in its own file."""
    return "".join(
        ((store.get(blob) or store.get(TRASH + blob)) or b"").decode(errors="replace") for blob in blobs_of(manifest)
    )


def _registered(manifests: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise BadInput(
            "store: MLFLOW_TRACKING_URI is not set, so that nobody knows which models are registered: nothing is "
            "collected; the embedded stack's is in .local/stack/env"
        )
    import mlflow

    roots: dict[str, set[str]] = {}
    client, token = mlflow.MlflowClient(), None
    while True:
        page = client.search_model_versions(max_results=1000, page_token=token)
        for version in page:
            tags = {str(name): str(value) for name, value in version.tags.items()}
            keys = _with_key(manifests, tags.get("ser.key", ""))
            roots[f"registered {version.name} version {version.version}"] = refs_in(" ".join(tags.values())) | keys
        token = page.token
        if not token:
            return roots


def _leased(store: Store, manifests: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """What a lease that is alive stands for: its key, and all that its owner has built so far."""
    roots: dict[str, set[str]] = {}
    for name, _ in listed(store, "leases/"):
        key = name.removeprefix("leases/").removesuffix(".json")
        lease = store.leases.of(key) if key != LEASE else None
        if lease is not None and lease.is_alive:
            owned = {name for name, manifest in manifests.items() if manifest.get("built_by") == lease.owner}
            roots[f"{name} of {lease.owner}"] = owned | _with_key(manifests, key)
    return roots


def _with_key(manifests: dict[str, dict[str, Any]], key: str) -> set[str]:
    """Artifacts and checkpoints of a key."""
    return {name for name in manifests if key in name.split("/")[1:-1]} if key else set()


def _uploads(store: Store) -> Iterator[tuple[tuple[str, str, str], datetime]]:
    for bucket in buckets(store):
        for page in store.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for item in page.get("Uploads", []):
                yield (bucket, item["Key"], item["UploadId"]), item["Initiated"]
