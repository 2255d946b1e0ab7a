"""Pretrained encoders in the bucket, mirrored once from the hub or a folder: workers never need the hub.

A mirror is `encoders/<name>@<revision>/`, or `encoders/<name>/` where the revision is unknown or no other is wanted
beside it. Its `mirror.json` is put last: without it a mirror that was cut off is not taken for a whole one. What was
uploaded by hand has none and counts when its files are all there.
"""

import json
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ser_tasks.artifact import Ref, file_sha256, list_files
from ser_tasks.config import EncoderPin
from ser_tasks.encoder_hub import NoWeights, download_encoder
from ser_tasks.errors import BadInput, Busy
from ser_tasks.store import Store

ORIGIN = "mirror.json"
"""Beside the weights: which revision they are, and every file's size and SHA-256."""


def encoder_prefix(name: str, revision: str | None = None) -> str:
    """Where an encoder's weights are mirrored in the bucket."""
    return f"encoders/{name.replace('/', '--')}{f'@{revision}' if revision else ''}/"


def mirror_origin(prefix: str, store: Store) -> dict[str, Any]:
    """What a mirror says of itself: name, revision, conversion_of, files; empty for an upload by hand."""
    body = store.get(prefix + ORIGIN)
    return dict(json.loads(body)) if body else {}


def mirror_from_hub(name: str, pin: EncoderPin, store: Store) -> str:
    """Copy an encoder from the hub to the bucket, unless a mirror that may be used is there.

    Args:
        name: On the hub, "owner/name"; or what a folder was mirrored as.
        pin: The revision to take (None: what is there, else the newest) and what its files must be.
        store: To put it into.

    Returns:
        The mirror's prefix in the bucket.

    Raises:
        NoWeights: There is no mirror, and none can be had from the hub.
        BadInput: The weights cannot be used, or are not the pinned ones; or what is there is not whole.
    """
    if found := find_mirror(name, pin, store):
        return found
    with tempfile.TemporaryDirectory() as folder:
        try:
            origin = download_encoder(name, pin, Path(folder))
        except NoWeights as error:
            if pin.revision and _holds(encoder_prefix(name), store):
                held = mirror_origin(encoder_prefix(name), store).get("revision") or "an unknown revision"
                raise BadInput(
                    f"encoder {name}: the mirror {encoder_prefix(name)} is of {held}, and {pin.revision} is pinned: "
                    "pin that one, pin the SHA-256 of its files as well, or mirror the pinned one with 'ser encoder "
                    f"mirror {name} --from FOLDER --revision {pin.revision}' ({error})"
                ) from error
            raise
        return _mirror(name, Path(folder), origin, pin.sha256, store)


def find_mirror(name: str, pin: EncoderPin, store: Store) -> str | None:
    """The prefix of the mirror that a pin allows; None where there is none.

    Raises:
        BadInput: What lies there is not whole, or several revisions are there and none is pinned.
    """
    plain = encoder_prefix(name)
    if pin.revision:
        own = encoder_prefix(name, pin.revision)
        if mirror_origin(own, store):
            return _whole(own, store)
        if not _holds(plain, store):
            return None
        held = mirror_origin(plain, store).get("revision")
        # of an unknown revision, the files' SHA-256 alone can say that they are the pinned ones
        return _whole(plain, store) if held == pin.revision or (held is None and pin.sha256) else None
    if _holds(plain, store):
        return _whole(plain, store)
    whole = sorted(
        item["key"].removesuffix(ORIGIN)
        for item in store.list(plain.removesuffix("/") + "@")
        if item["key"].endswith(f"/{ORIGIN}")
    )
    if len(whole) > 1:
        raise BadInput(f"encoder {name}: {', '.join(whole)} are there: pin one of these revisions")
    return _whole(whole[0], store) if whole else None


def mirror_from_folder(name: str, folder: Path, pin: EncoderPin, store: Store) -> str:
    """Copy an encoder from a folder to the bucket. A mirror that was cut off is completed by doing it again.

    Returns:
        The mirror's prefix in the bucket.

    Raises:
        BadInput: The folder holds no encoder that can be used, or not the pinned one; or another encoder's files lie
            under that name.
    """
    return _mirror(name, folder, {"revision": pin.revision}, pin.sha256, store)


def check_pinned(store: Store, mirror: Ref, name: str, pin: EncoderPin) -> None:
    """Verify a mirrored encoder against its pin. Raises BadInput naming the file that differs."""
    if not pin.sha256:
        return
    from ser_tasks.models.encoders import check_encoder

    try:
        check_encoder(store.cached(mirror), pin.sha256)
    except BadInput as error:
        raise BadInput(f"encoder {name}, pinned in the configuration: {error}") from error


def _mirror(name: str, folder: Path, origin: Mapping[str, Any], sha256: Mapping[str, str], store: Store) -> str:
    from ser_tasks.models.encoders import FILES, check_encoder

    check_encoder(folder, sha256)
    paths = sorted(
        path for path in folder.iterdir() if path.is_file() and any(fnmatch(path.name, each) for each in FILES)
    )
    files: list[dict[str, Any]] = [
        {"name": path.name, "size": path.stat().st_size, "sha256": file_sha256(path)} for path in paths
    ]
    _check_shards(folder, {file["name"] for file in files})
    prefix = encoder_prefix(name, origin["revision"])
    there = _compared(prefix, folder, files, store)
    # A plan pins whatever is there: what makes the folder an encoder, its weights, goes last.
    for file in sorted(files, key=lambda file: (file["name"].endswith(".safetensors"), file["name"])):
        if file["name"] in there:
            continue
        with (folder / file["name"]).open("rb") as body:
            if not store.put(prefix + file["name"], body, IfNoneMatch="*"):
                raise Busy(f"encoder {name}: another process is writing {prefix} at this moment: do it again then")
    told = {"name": name, **origin, "files": files}
    store.put(prefix + ORIGIN, json.dumps(told, indent=1).encode(), IfNoneMatch="*")
    return prefix


def _compared(prefix: str, folder: Path, files: list[dict[str, Any]], store: Store) -> set[str]:
    """Names of the files that are under the prefix already, the same byte for byte; raises BadInput if others are."""
    if not _holds(prefix, store):
        return set()
    wanted = {file["name"]: file["sha256"] for file in files}
    held = {file["name"]: file["sha256"] for file in list_files(store.local_copy(prefix)) if file["name"] != ORIGIN}
    if other := sorted(file for file, sha256 in held.items() if wanted.get(file) != sha256):
        origin = mirror_origin(prefix, store)
        raise BadInput(
            f"{prefix} in bucket {store.bucket} holds another encoder than {folder}: {other[0]} differs (there: "
            f"SHA-256 {held[other[0]]}, revision {origin.get('revision') or 'unknown'}; here: "
            f"{wanted.get(other[0]) or 'no such file'}): mirror this one under another name, give its --revision, or "
            "delete what is there"
        )
    return set(held)


def _holds(prefix: str, store: Store) -> bool:
    return next(store.list(prefix), None) is not None


def _whole(prefix: str, store: Store) -> str:
    """The prefix, when all of its files are there; raises BadInput naming what is missing."""
    sizes = {item["key"].removeprefix(prefix): item["size"] for item in store.list(prefix)}
    listed = mirror_origin(prefix, store).get("files", [])
    damaged = [file["name"] for file in listed if sizes.get(file["name"]) != file["size"]]
    if damaged:
        raise BadInput(f"{prefix} in bucket {store.bucket}: {damaged[0]} is not what was mirrored: delete the mirror")
    if not listed:
        _check_upload(prefix, set(sizes), store)
    return prefix


def _check_upload(prefix: str, names: set[str], store: Store) -> None:
    """Look by their names whether the files of an upload by hand are an encoder; weights are not fetched for that."""
    from ser_tasks.models.encoders import check_encoder

    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if "/" not in name:
                body = store.get(prefix + name) if name.endswith(".json") else None
                Path(folder, name).write_bytes(body or b"")
        try:
            check_encoder(Path(folder))
            _check_shards(Path(folder), names)
        except BadInput as error:
            said = str(error).replace(f"{folder}", prefix.rstrip("/"))
            raise BadInput(f"encoder in bucket {store.bucket}, not whole: {said}; or delete it there") from error


def _check_shards(folder: Path, names: set[str]) -> None:
    """Raises BadInput when weights in several files are not all there."""
    for index in sorted(folder.glob("*.safetensors.index.json")):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if missing := sorted(shards - names):
            raise BadInput(f"{folder}: {missing[0]} is missing, which {index.name} names: copy it again")
