"""Objects of a bucket: reads, conditional writes, pointers, and the trash; and what all of it costs.

What is thrown away lies under `trash/` for days before it is gone (`ser_tasks.keeping`).
"""

import hashlib
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ser_tasks.artifact import canonical_json
from ser_tasks.errors import SerError

TRANSFERS = 8
"""Concurrent transfers: small objects are bound by round trips, not by bandwidth."""
TRASH = "trash/"
"""What lies under it has its own key after it; its age is counted from when it was put there."""


@dataclass(frozen=True)
class Spent:
    """What something costs: requests to the store, and bytes that it holds more."""

    requests: int = 0
    added: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.requests + other.requests, self.added + other.added)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.requests - other.requests, self.added - other.added)


class Objects:
    """Objects of a bucket, by key.

    Args:
        client: A boto3 S3 client.
        bucket: Name of the bucket.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket
        self._spent = Spent()
        self._counting = threading.Lock()  # transfers are concurrent

    # What it costs

    @property
    def spent(self) -> Spent:
        """Requests that went out so far, tries again among them, and bytes that were added: blobs and manifests."""
        return self._spent

    def _count_request(self, **_: object) -> None:
        self._spend(Spent(requests=1))

    def count_added(self, added: int) -> None:
        """Count bytes that were put under a key of their own."""
        self._spend(Spent(added=added))

    def _spend(self, more: Spent) -> None:
        with self._counting:
            self._spent += more

    # Objects

    def get(self, key: str) -> bytes | None:
        """The bytes of an object, or None when there is none."""
        got = self.get_with_etag(key)
        return got[0] if got else None

    def get_with_etag(self, key: str) -> tuple[bytes, str] | None:
        """The bytes of an object and its ETag, for a later `put` with IfMatch; None when there is none."""
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
        client = client_from_env(endpoint) if endpoint else self.client
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
        got = self.get_with_etag(f"refs/{name}.json")
        return (json.loads(got[0]), got[1]) if got else None

    def move_pointer(self, name: str, value: Mapping[str, Any], was: str | None) -> bool:
        """Swap a pointer; False when somebody else moved it meanwhile. `was`: its ETag, None when there was none."""
        condition = {"IfMatch": was} if was else {"IfNoneMatch": "*"}
        return self.put(f"refs/{name}.json", canonical_json(value), **condition)

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens when there is none."""
        self.client.delete_object(Bucket=self.bucket, Key=key)

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

    # Trash

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


def client_from_env(endpoint: str | None) -> Any:
    """A boto3 S3 client with the credentials of AWS_* variables; `endpoint`: the store's address, None: Amazon's."""
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
