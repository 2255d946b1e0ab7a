"""The artifact: content-addressed, visible whole or not at all, in S3-compatible object storage.

Bytes go to `blobs/sha256/<hash>`; `artifacts/<kind>/<key>/manifest.json`, which names them and their *content digest*,
is put last, with `If-None-Match: *`. Whoever loses that race takes the winner's result. So any task can be killed and
run again, and no reader sees half of anything.

What garbage collection (`ser_tasks.keeping`) takes away lies under `trash/` for days before it is gone, and whoever
asks for it in that time gets it back: a run that found something an instant before it was taken does not lose it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ser_tasks.artifact import Ref, artifact_key, canonical_json, content_digest, list_files
from ser_tasks.cache import PARTIAL, hold, make_room
from ser_tasks.errors import BadInput, Busy, Damaged
from ser_tasks.leases import Leases
from ser_tasks.objects import TRANSFERS, TRASH, Objects, client_from_env

RESTORABLE = timedelta(days=5)
"""An older manifest is not taken out of the trash any more: its blobs may be going at this moment."""


class Store(Objects):
    """A bucket of artifacts, and a local cache of what was read from it.

    Args:
        client: A boto3 S3 client.
        bucket: Name of the bucket.
        cache: Local folder for fetched artifacts, safe to delete at any time.
    """

    def __init__(self, client: Any, bucket: str, cache: Path) -> None:
        super().__init__(client, bucket)
        self.cache = cache
        self.leases = Leases(self)

    @classmethod
    def from_env(cls, bucket: str | None = None) -> "Store":
        """From SER_S3_ENDPOINT, SER_S3_BUCKET, SER_CACHE_DIR and the usual AWS_* variables. Raises BadInput."""
        needed = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", *([] if bucket else ["SER_S3_BUCKET"])]
        missing = [name for name in needed if name not in os.environ]
        if missing:
            raise BadInput(f"store: {', '.join(missing)} not set; the embedded stack's are in .local/stack/env")
        client = client_from_env(os.environ.get("SER_S3_ENDPOINT"))
        cache = Path(os.environ.get("SER_CACHE_DIR", ".local/cache"))
        store = cls(client, bucket or os.environ["SER_S3_BUCKET"], cache)
        client.meta.events.register("before-send.s3", store._count_request)
        return store

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
