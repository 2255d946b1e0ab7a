"""As much of a bucket as the store uses, in memory, with a clock that can be moved: for thousands of histories."""

# ruff: noqa: N801, N803 - the names are boto3's

import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError


class NoSuchKey(ClientError):
    pass


def _refused(status: int, kind: type[ClientError] = ClientError) -> ClientError:
    return kind({"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}, "operation")


class MemoryS3:
    """Answers as boto3's client does. `pass_time` makes everything older."""

    class exceptions:
        NoSuchKey = NoSuchKey
        ClientError = ClientError

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.uploads: dict[tuple[str, str], datetime] = {}

    def pass_time(self, by: timedelta) -> None:
        self.objects = {key: (body, at - by) for key, (body, at) in self.objects.items()}
        self.uploads = {key: at - by for key, at in self.uploads.items()}

    def head_bucket(self, Bucket: str) -> None:
        raise _refused(404)  # there is no bucket beside the store's

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        if Key not in self.objects:
            raise _refused(404)
        return {"ContentLength": len(self.objects[Key][0])}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        if Key not in self.objects:
            raise _refused(404, NoSuchKey)
        body, at = self.objects[Key]
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return {"Body": Body(body), "ETag": f'"{etag}"', "LastModified": at}

    def put_object(self, Bucket: str, Key: str, Body: Any, IfNoneMatch: str = "", IfMatch: str = "") -> None:
        if IfNoneMatch and Key in self.objects:
            raise _refused(412)
        if IfMatch and self.get_object(Bucket, Key)["ETag"] != IfMatch:
            raise _refused(412)
        self.objects[Key] = (Body if isinstance(Body, bytes) else Body.read(), datetime.now(UTC))

    def copy_object(self, Bucket: str, Key: str, CopySource: dict[str, str]) -> None:
        if CopySource["Key"] not in self.objects:
            raise _refused(404)
        self.objects[Key] = (self.objects[CopySource["Key"]][0], datetime.now(UTC))

    def delete_object(self, Bucket: str, Key: str) -> None:
        self.objects.pop(Key, None)

    def abort_multipart_upload(self, Bucket: str, Key: str, UploadId: str) -> None:
        del self.uploads[Key, UploadId]

    def get_paginator(self, operation: str) -> "Pages":
        return Pages(self, operation)


class Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Iterator[bytes]:
        yield self.read()


class Pages:
    def __init__(self, client: MemoryS3, operation: str) -> None:
        self.client, self.operation = client, operation

    def paginate(self, Bucket: str, Prefix: str = "") -> Iterator[dict[str, Any]]:
        if self.operation == "list_multipart_uploads":
            uploads = self.client.uploads.items()
            yield {"Uploads": [{"Key": key, "UploadId": upload, "Initiated": at} for (key, upload), at in uploads]}
            return
        found = sorted(key for key in self.client.objects if key.startswith(Prefix))
        for first in range(0, len(found), 3):  # pages are short: nobody may look at the first one only
            yield {
                "Contents": [
                    {"Key": key, "Size": len(self.client.objects[key][0]), "LastModified": self.client.objects[key][1],
                     "ETag": '""'}
                    for key in found[first : first + 3]
                ]
            }  # fmt: skip
