"""Does every artifact still have the bytes that it was published with?"""

import hashlib
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from ser_tasks.artifact import content_digest
from ser_tasks.errors import Damaged
from ser_tasks.keeping.collect import listed, parsed
from ser_tasks.objects import TRANSFERS
from ser_tasks.store import Store


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file of an artifact.

    Attributes:
        artifact: Key of its manifest.
        file: Name in the artifact; empty when the manifest itself is damaged.
        blob: Key of its bytes.
        reason: In words.
    """

    artifact: str
    file: str
    blob: str
    reason: str


def verify(store: Store, sample: int | None = None, seed: int | None = None) -> dict[str, Any]:
    """Hash blobs again and look at every manifest.

    Args:
        store: The object store.
        sample: How many blobs to hash, drawn at random; None: all.
        seed: Of the draw; None: another draw each time, so that many samples see everything.

    Returns:
        {"artifacts", "blobs", "hashed", "bytes", "faults"}; a fault as a mapping of `Fault`'s attributes.
    """
    faults: list[Fault] = []
    users: dict[str, list[tuple[str, str]]] = {}
    names = [name for prefix in ("artifacts/", "checkpoints/") for name, _ in listed(store, prefix)]
    with ThreadPoolExecutor(TRANSFERS) as pool:
        for name, body in zip(names, pool.map(store.get, names), strict=True):
            if body is None:  # deleted since it was listed
                continue
            try:
                files = _files(name, body)
            except Damaged as error:
                faults.append(Fault(name, "", "", str(error)))
                continue
            for file in files:
                users.setdefault(f"blobs/sha256/{file['sha256']}", []).append((name, file["name"]))
        chosen = sorted(users)
        if sample is not None and sample < len(chosen):
            chosen = sorted(random.Random(seed).sample(chosen, sample))
        found = list(pool.map(lambda blob: _hash(store, blob), chosen))
    for blob, (_, reason) in zip(chosen, found, strict=True):
        if reason:
            faults += [Fault(name, file, blob, reason) for name, file in users[blob]]
    return {
        "artifacts": len(names),
        "blobs": len(users),
        "hashed": len(chosen),
        "bytes": sum(size for size, _ in found),
        "faults": [asdict(fault) for fault in faults],
    }


def _files(name: str, body: bytes) -> Sequence[dict[str, Any]]:
    manifest = parsed(name, body)
    files: list[dict[str, Any]] = manifest["files"]
    if "digest" in manifest and content_digest(files) != manifest["digest"]:
        raise Damaged(f"store: {name} lists files that its digest is not of")
    return files


def _hash(store: Store, blob: str) -> tuple[int, str]:
    """How many bytes were read, and what is wrong with them; empty when nothing is."""
    try:
        answer = store.client.get_object(Bucket=store.bucket, Key=blob)
    except store.client.exceptions.NoSuchKey:
        if not store.bring_back(blob):
            return 0, "is missing"
        answer = store.client.get_object(Bucket=store.bucket, Key=blob)
    digest, size = hashlib.sha256(), 0
    for chunk in answer["Body"].iter_chunks(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    return size, "" if digest.hexdigest() == blob.rsplit("/", 1)[1] else "does not have its SHA-256"
