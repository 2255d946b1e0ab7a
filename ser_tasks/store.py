"""The artifact: content-addressed, visible whole or not at all, in S3-compatible object storage.

A step's *key* names what was asked for: kind, step version, parameters and the content digests of its inputs. What it
produced has a *content digest*. Bytes go to `blobs/sha256/<hash>`; `artifacts/<kind>/<key>/manifest.json` is put last,
with `If-None-Match: *`. Whoever loses that race takes the winner's result. So any task can be killed and run again, and
no reader sees half of anything.

What garbage collection (`ser_tasks.keeping`) takes away lies under `trash/` for days before it is gone, and whoever
asks for it in that time gets it back: a run that found something an instant before it was taken does not lose it.
"""

import hashlib
import importlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from ser_tasks.artifact import (
    Built,
    Ref,
    artifact_key,
    canonical_json,
    code_versions,
    content_digest,
    list_files,
)
from ser_tasks.cache import PARTIAL, hold, make_room
from ser_tasks.errors import BadInput, Busy, Damaged, SerError

LEASE_EXPIRES_S = 90
"""A lease without a heartbeat for this long may be taken over."""
HEARTBEAT_S = 20
TRANSFERS = 8
"""Concurrent transfers: small objects are bound by round trips, not by bandwidth."""
TRASH = "trash/"
"""What lies under it has its own key after it; its age is counted from when it was put there."""
RESTORABLE = timedelta(days=5)
"""An older manifest is not taken out of the trash any more: its blobs may be going at this moment."""
_log = logging.getLogger(__name__)
During = Callable[[str], AbstractContextManager[Mapping[str, Any]]]
"""Entered with an artifact's key while it is built and published; gives further keyword arguments for its build."""


@dataclass(frozen=True)
class Spent:
    """What something costs: requests to the store, and bytes that it holds more."""

    requests: int = 0
    added: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.requests + other.requests, self.added + other.added)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.requests - other.requests, self.added - other.added)


class Store:
    """A bucket, and a local cache of what was read from it.

    Args:
        client: A boto3 S3 client.
        bucket: Name of the bucket.
        cache: Local folder for fetched artifacts, safe to delete at any time.
    """

    def __init__(self, client: Any, bucket: str, cache: Path) -> None:
        self.client = client
        self.bucket = bucket
        self.cache = cache
        self._spent = Spent()
        self._counting = threading.Lock()  # transfers are concurrent
        self._lost: dict[str, str] = {}

    @classmethod
    def from_env(cls, bucket: str | None = None) -> "Store":
        """From SER_S3_ENDPOINT, SER_S3_BUCKET, SER_CACHE_DIR and the usual AWS_* variables. Raises BadInput."""
        needed = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", *([] if bucket else ["SER_S3_BUCKET"])]
        missing = [name for name in needed if name not in os.environ]
        if missing:
            raise BadInput(f"store: {', '.join(missing)} not set; the embedded stack's are in .local/stack/env")
        client = _client(os.environ.get("SER_S3_ENDPOINT"))
        cache = Path(os.environ.get("SER_CACHE_DIR", ".local/cache"))
        store = cls(client, bucket or os.environ["SER_S3_BUCKET"], cache)
        client.meta.events.register("before-send.s3", store._count_request)
        return store

    # What it costs

    @property
    def spent(self) -> "Spent":
        """Requests that went out so far, tries again among them, and bytes that were added: blobs and manifests."""
        return self._spent

    def _count_request(self, **_: object) -> None:
        self._spend(Spent(requests=1))

    def count_added(self, added: int) -> None:
        """Count bytes that were put under a key of their own."""
        self._spend(Spent(added=added))

    def _spend(self, more: "Spent") -> None:
        with self._counting:
            self._spent += more

    # Objects

    def get(self, key: str) -> bytes | None:
        """The bytes of an object, or None when there is none."""
        got = self._get(key)
        return got[0] if got else None

    def _get(self, key: str) -> tuple[bytes, str] | None:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        return answer["Body"].read(), answer["ETag"]

    def put(self, key: str, body: bytes | BinaryIO, **conditions: str) -> bool:
        """Put an object from memory or an open file; False when a condition (IfNoneMatch, IfMatch) did not hold."""
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **conditions)
        except ClientError as error:
            # 409: another conditional write to the same key was under way and this one gave way.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 409, 412) and conditions:
                return False
            raise
        return True

    def address(self, key: str, seconds: int, endpoint: str | None = None) -> str:
        """An address under which anybody who has it can load an object for a while.

        Args:
            key: Of the object.
            seconds: How long the address holds.
            endpoint: The store's address as its readers reach it; None: as this process does. It is signed for that.
        """
        client = _client(endpoint) if endpoint else self.client
        asked = {"Bucket": self.bucket, "Key": key}
        return str(client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds))

    def list(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Objects under a prefix as {key, size, etag}, in key order."""
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    yield {"key": item["Key"], "size": item["Size"], "etag": item["ETag"].strip('"')}

    def probe(self, writers: int = 8) -> None:
        """Check that the store's conditional writes are atomic: of several writers at once, one wins.

        Raises:
            SerError: The store lets several win; such a store would let two runs publish one key.
        """
        key = f"probe/{uuid.uuid4().hex}"
        with ThreadPoolExecutor(writers) as pool:
            wins = list(pool.map(lambda i: self.put(key, str(i).encode(), IfNoneMatch="*"), range(writers)))
        self.delete(key)
        if sum(wins) != 1:
            raise SerError(
                f"store: {sum(wins)} of {writers} writers won one If-None-Match write to bucket {self.bucket}: its "
                "conditional writes are not atomic, use another store or version (SeaweedFS 4.16 or newer)"
            )

    # Pointers: the few things that change

    def pointer(self, name: str) -> tuple[dict[str, Any], str] | None:
        """What `refs/<name>.json` says, and its ETag for `move_pointer`; None when there is none."""
        got = self._get(f"refs/{name}.json")
        return (json.loads(got[0]), got[1]) if got else None

    def move_pointer(self, name: str, value: Mapping[str, Any], was: str | None) -> bool:
        """Swap a pointer; False when somebody else moved it meanwhile. `was`: its ETag, None when there was none."""
        condition = {"IfMatch": was} if was else {"IfNoneMatch": "*"}
        return self.put(f"refs/{name}.json", canonical_json(value), **condition)

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens when there is none."""
        self.client.delete_object(Bucket=self.bucket, Key=key)

    # Blobs

    def put_blobs(self, folder: Path, files: Sequence[Mapping[str, Any]]) -> int:
        """Upload files of a folder, as `list_files` names them, each under its SHA-256; those that are there stay.

        Returns:
            How many bytes were added.
        """
        with ThreadPoolExecutor(TRANSFERS) as pool:
            added = sum(pool.map(lambda f: self._put_blob(folder / f["name"], f["sha256"]), files))
        self.count_added(added)
        return added

    def _put_blob(self, path: Path, sha256: str) -> int:
        key = f"blobs/sha256/{sha256}"
        try:
            head = self.client.head_object(Bucket=self.bucket, Key=key)
            if head["ContentLength"] == path.stat().st_size:
                return 0
        except self.client.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        # Bytes whose name is their hash cannot conflict: a loser of this race has put the same.
        with path.open("rb") as file:
            return path.stat().st_size if self.put(key, file, IfNoneMatch="*") else 0

    def get_blobs(self, files: Sequence[Mapping[str, Any]], target: Path, whose: str) -> None:
        """Download files into a folder, verifying every byte.

        Args:
            files: As `list_files` names them.
            target: Made if it is missing.
            whose: Named in messages.

        Raises:
            Damaged: A blob is missing or its bytes do not have their SHA-256; or a name leads out of the folder.
        """
        root = target.resolve()

        def one(file: Mapping[str, Any]) -> None:
            path = (root / file["name"]).resolve()
            if not path.is_relative_to(root):
                raise Damaged(f"store: {whose} names a file outside its folder: {file['name']}")
            path.parent.mkdir(parents=True, exist_ok=True)
            blob = f"blobs/sha256/{file['sha256']}"
            found = self._download(blob, path)
            if found is None and self.bring_back(blob):
                found = self._download(blob, path)
            if found is None or found[0] != file["sha256"]:
                state = "is missing" if found is None else "is damaged"
                raise Damaged(f"store: {file['name']} of {whose} {state}: {blob}")

        with ThreadPoolExecutor(TRANSFERS) as pool:
            list(pool.map(one, files))

    def _download(self, key: str, path: Path) -> tuple[str, str] | None:
        """Stream an object to a file, since some do not fit into memory: its SHA-256 and ETag; None: there is none."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(1 << 20):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest(), answer["ETag"].strip('"')

    # Artifacts

    def manifest(self, kind: str, key: str) -> dict[str, Any] | None:
        """The published manifest of a key, or None. One that was collected a short while ago comes back."""
        name = f"artifacts/{kind}/{key}/manifest.json"
        body = self.get(name) or self._manifest_from_trash(name)
        return None if body is None else json.loads(body)

    def publish(self, kind: str, key: str, folder: Path, about: Mapping[str, Any]) -> tuple[Ref, bool]:
        """Upload a folder and make it visible.

        Returns:
            The reference of the visible artifact, and whether it is this one (False: another was there first).
        """
        files = list_files(folder)
        self.put_blobs(folder, files)
        manifest = {**about, "kind": kind, "key": key, "digest": content_digest(files), "files": files}
        body = json.dumps(manifest, indent=1, sort_keys=True).encode()
        won = self.put(f"artifacts/{kind}/{key}/manifest.json", body, IfNoneMatch="*")
        if won:
            self.count_added(len(body))
        else:
            manifest = self._winner(kind, key)
        return Ref(kind, key, manifest["digest"]), won

    def _winner(self, kind: str, key: str) -> dict[str, Any]:
        manifest = self.manifest(kind, key)
        if manifest is None:
            raise Busy(f"store: another writer is publishing {kind}/{key} at this moment")
        return manifest

    def _manifest_from_trash(self, name: str) -> bytes | None:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=TRASH + name)
        except self.client.exceptions.NoSuchKey:
            return None
        if datetime.now(UTC) - answer["LastModified"] > RESTORABLE:
            return None
        body: bytes = answer["Body"].read()
        # Blobs first: a manifest that is visible is whole.
        if not all(self.bring_back(f"blobs/sha256/{file['sha256']}") for file in json.loads(body)["files"]):
            return None
        self.put(name, body, IfNoneMatch="*")
        return self.get(name)

    def bring_back(self, key: str) -> bool:
        """Copy an object out of the trash unless it is in its place. False: it is in neither."""
        try:
            self.client.head_object(Bucket=self.bucket, Key=key)
            return True
        except self.client.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        return self._copy(TRASH + key, key)

    def throw_away(self, key: str) -> None:
        """Move an object to the trash; done again when it was cut off. Nothing happens when there is none."""
        if self._copy(key, TRASH + key):
            self.delete(key)

    def _copy(self, source: str, target: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.copy_object(Bucket=self.bucket, Key=target, CopySource={"Bucket": self.bucket, "Key": source})
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True

    def fetch(self, ref: Ref | str, target: Path) -> Path:
        """Download an artifact into a folder, verifying every byte.

        Raises:
            BadInput: No such artifact, or its digest is not the reference's.
            Damaged: A blob's bytes do not have their SHA-256; names the artifact, the file and the blob.
        """
        ref = Ref.parse(ref) if isinstance(ref, str) else ref
        manifest = self.manifest(ref.kind, ref.key)
        if manifest is None:
            raise BadInput(f"store: artifact {ref.kind}/{ref.key} does not exist; run the step that makes it")
        if manifest["digest"] != ref.digest or content_digest(manifest["files"]) != ref.digest:
            raise Damaged(f"store: artifact {ref.kind}/{ref.key} has another digest than its reference {ref.digest}")
        try:
            self.get_blobs(manifest["files"], target, f"artifact {ref.kind}/{ref.key}")
        except Damaged as error:
            raise Damaged(f"{error}; delete the artifact's manifest.json and run the step again") from error
        return target

    def cached(self, ref: Ref) -> Path:
        """An artifact as a local folder, downloaded once. A raw listing stands for the files that it lists.

        The folder is this process's as long as it lives: nobody makes room by removing it.
        """
        folder = self.cache / "artifacts" / ref.digest
        self._into_cache(folder, lambda target: self.fetch(ref, target))
        if (folder / "listing.json").is_file():
            return self._raw(json.loads((folder / "listing.json").read_bytes()), folder.name)
        return folder

    def _into_cache(self, folder: Path, fill: Callable[[Path], object]) -> None:
        filled = False
        while not hold(folder):
            self._fill(folder, fill)
            filled = True
        if filled:
            make_room(self.cache)

    def _fill(self, folder: Path, fill: Callable[[Path], object]) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder.parent))
        try:
            fill(partial)
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another task filled it first with the same bytes
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    # Raw uploads

    def pin_raw(self, prefix: str, about: Mapping[str, Any]) -> Ref | None:
        """Pin what lies under a prefix now: names, sizes and ETags, published as a listing. None when it is empty."""
        listing = self._listing(prefix)
        if not listing["objects"]:
            return None
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "listing.json").write_bytes(canonical_json(listing))
            key = artifact_key("raw", 1, listing, {})
            ref, _ = self.publish("raw", key, Path(folder), {**about, "params": {"prefix": prefix}})
        return ref

    def local_copy(self, prefix: str) -> Path:
        """What lies under a prefix now, as a folder in the cache. Raises BadInput when nothing does."""
        listing = self._listing(prefix)
        if not listing["objects"]:
            raise BadInput(f"store: nothing lies under {prefix} in bucket {self.bucket}")
        return self._raw(listing, artifact_key("raw", 1, listing, {}))

    def _listing(self, prefix: str) -> dict[str, Any]:
        objects = [{**item, "key": item["key"].removeprefix(prefix)} for item in self.list(prefix)]
        return {"prefix": prefix, "objects": objects}

    def _raw(self, listing: Mapping[str, Any], name: str) -> Path:
        folder = self.cache / "raw" / name

        def fill(target: Path) -> None:
            root = target.resolve()

            def one(item: dict[str, Any]) -> None:
                path = (root / item["key"]).resolve()
                if not path.is_relative_to(root):
                    raise BadInput(f"store: raw object {listing['prefix']}{item['key']} lies outside its prefix")
                path.parent.mkdir(parents=True, exist_ok=True)
                found = self._download(listing["prefix"] + item["key"], path)
                if found is None or found[1] != item["etag"]:
                    state = "changed" if found else "deleted"
                    raise BadInput(
                        f"store: {listing['prefix']}{item['key']} was {state} after the run pinned it; uploads are "
                        "never to be changed: put it back, or trigger a new run"
                    )

            with ThreadPoolExecutor(TRANSFERS) as pool:
                list(pool.map(one, listing["objects"]))

        self._into_cache(folder, fill)
        return folder

    # Leases

    @contextmanager
    def lease(self, key: str, owner: str) -> Iterator[None]:
        """Hold `leases/<key>.json` with a heartbeat while the body runs.

        When the store is out of reach for longer than a lease lives, another owner may take it over: the heartbeat goes
        on trying, and `check_lease` says so as soon as the store does.

        Raises:
            Busy: Another owner's lease is alive.
        """
        name = f"leases/{key}.json"
        token = uuid.uuid4().hex  # two tries of one task are two owners

        def body() -> bytes:
            return json.dumps({"owner": owner, "token": token, "heartbeat": datetime.now(UTC).isoformat()}).encode()

        if not self.put(name, body(), IfNoneMatch="*"):
            held = self._get(name)
            if held is not None:
                lease = json.loads(held[0])
                age_s = (datetime.now(UTC) - datetime.fromisoformat(lease["heartbeat"])).total_seconds()
                if age_s < LEASE_EXPIRES_S:
                    raise Busy(f"store: {lease['owner']} is building {key} (heartbeat {age_s:.0f} s ago)")
                if not self.put(name, body(), IfMatch=held[1]):
                    raise Busy(f"store: another run took over the lease on {key}")
            elif not self.put(name, body(), IfNoneMatch="*"):
                raise Busy(f"store: another run took the lease on {key}")
        self._lost.pop(key, None)
        done = threading.Event()

        def renew() -> bool:
            held = self._get(name)
            if held is None or json.loads(held[0])["token"] != token:
                owner_now = json.loads(held[0])["owner"] if held else "nobody"
                self._lost[key] = f"store: the lease on {key} was lost to {owner_now} while the store was out of reach"
                return False
            self.put(name, body(), IfMatch=held[1])
            return True

        def beat() -> None:
            held = True
            while held and not done.wait(HEARTBEAT_S):
                try:
                    held = renew()
                except Exception as error:  # whatever the store answers, a heartbeat that ends cannot begin again
                    _log.warning("the lease on %s was not renewed: %s: trying again", key, error)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            try:
                held = self._get(name)
                if held is not None and json.loads(held[0])["token"] == token:
                    self.delete(name)
            except Exception as error:  # what the body came to counts; the lease expires by itself
                _log.warning("the lease on %s was not given back: %s", key, error)

    def check_lease(self, key: str) -> None:
        """Look whether the lease on a key, where this process held one, is still its own. Raises Busy when it is not.

        Long work asks between its parts, so that two do not go on with the same.
        """
        if key in self._lost:
            raise Busy(self._lost[key])

    # The mechanism

    def materialise(
        self,
        kind: str,
        version: int,
        build: str,
        params: Mapping[str, Any],
        inputs: Mapping[str, Ref],
        *,
        by: str,
        salt: str = "",
        leased: bool = False,
        during: During | None = None,
    ) -> Built:
        """Look the key up; when it is not there, fetch inputs, build, publish.

        In a process that a launcher (torchrun, `accelerate launch`) started beside a first one, RANK is above 0: the
        first looks up, holds the lease and publishes, the others take part in its build and wait for what comes of it.

        Args:
            kind: The step's name.
            version: The step's version.
            build: Import path `module:function` of a `Build`, imported only when it must run.
            params: Everything but the inputs that the result depends on; JSON values.
            inputs: Input name to reference.
            by: Who asks (a run's id), kept in the manifest.
            salt: Asks for the artifact anew under another key.
            leased: Hold a lease while building, so that two runs do not build one key at once.
            during: Entered with the key around building and publishing; gives further keyword arguments for the
                build: where a training keeps its checkpoints and reports its epochs.

        Raises:
            Busy: Another run is building this key.
            BadInput, Damaged: From fetching or from the build.
        """
        key = artifact_key(kind, version, params, inputs, salt)
        asked = _Asked(kind, version, key, build, params, inputs, by, during)
        if os.environ.get("RANK", "0") != "0":
            return self._take_part(asked)
        found = self.manifest(kind, key)
        if found is None and leased:
            with self.lease(key, by):
                found = self.manifest(kind, key)  # it may have been published while we asked for the lease
                return _hit(found) if found else self._build(asked)
        return _hit(found) if found else self._build(asked)

    def _build(self, asked: "_Asked") -> Built:
        started = datetime.now(UTC)
        with tempfile.TemporaryDirectory(prefix=f"ser-{asked.kind}-") as out, asked.extras() as extras:
            self._run(asked, extras, Path(out))
            now = datetime.now(UTC)
            about: dict[str, Any] = {
                "version": asked.version,
                "params": asked.params,
                "inputs": {name: str(ref) for name, ref in asked.inputs.items()},
                "built_by": asked.by,
                "built_at": now.isoformat(timespec="seconds"),
                "seconds": round((now - started).total_seconds(), 2),
                "code": code_versions(),
            }
            ref, _ = self.publish(asked.kind, asked.key, Path(out), about)
        return Built(ref, False, asked.by, about["built_at"], about["seconds"])

    def _run(self, asked: "_Asked", extras: Mapping[str, Any], out: Path) -> None:
        folders = {name: self.cached(ref) for name, ref in asked.inputs.items()}
        module, function = asked.build.split(":")
        getattr(importlib.import_module(module), function)(folders, asked.params, out, **extras)

    def _take_part(self, asked: "_Asked") -> Built:
        """Do as the first process does, which holds a lease in our common name or finds the key published."""
        took_part = False
        while (found := self.manifest(asked.kind, asked.key)) is None:
            lease = self.get(f"leases/{asked.key}.json")
            if not took_part and lease is not None and json.loads(lease)["owner"] == asked.by:
                with tempfile.TemporaryDirectory(prefix=f"ser-{asked.kind}-") as out, asked.extras() as extras:
                    self._run(asked, extras, Path(out))
                took_part = True
            time.sleep(1)
        return _hit(found)


def _client(endpoint: str | None) -> Any:
    import boto3
    from botocore.config import Config

    # A session of its own: the default one would keep the credentials of the first store of this process.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            retries={"max_attempts": 5, "mode": "standard"},
            max_pool_connections=2 * TRANSFERS,
            s3={"addressing_style": "path"},
        ),
    )


@dataclass(frozen=True)
class _Asked:
    """What `materialise` was asked for."""

    kind: str
    version: int
    key: str
    build: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Ref]
    by: str
    during: During | None

    def extras(self) -> AbstractContextManager[Mapping[str, Any]]:
        return self.during(self.key) if self.during else nullcontext({})


def _hit(manifest: dict[str, Any]) -> Built:
    ref = Ref(manifest["kind"], manifest["key"], manifest["digest"])
    return Built(ref, True, manifest["built_by"], manifest["built_at"], manifest.get("seconds", 0.0))
