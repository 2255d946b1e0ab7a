"""The stack's object store: a client, and folders brought into it."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from include.stack.layout import State

_THREADS = 8

# What no reader of a corpus uses, and what makes some corpora ten times larger: video, motion capture, lossy copies.
_LEFT_OUT_FOLDERS = {"VideoFlash", "AudioMP3", "avi", "MOCAP_hand", "MOCAP_head", "MOCAP_rotated"}
_LEFT_OUT_SUFFIXES = {".flv", ".mp4", ".avi", ".mp3", ".zip", ".tar", ".gz", ".tgz", ".7z"}


@dataclass(frozen=True)
class Synced:
    """How many files a folder has, and how many of them had to be sent."""

    files: int
    sent: int


def s3_client(state: State, retries: int = 5) -> Any:
    """A boto3 client of the stack's object store that asks no proxy and reads no profile of the person's own."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=state.s3_url,
        aws_access_key_id=state.secrets.s3_access_key,
        aws_secret_access_key=state.secrets.s3_secret_key,
        region_name="us-east-1",
        config=Config(
            proxies={},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=_THREADS,
            retries={"total_max_attempts": retries, "mode": "standard"},
            s3={"addressing_style": "path"},
        ),
    )


def upload_folder(client: Any, folder: Path, bucket: str, prefix: str) -> Synced:
    """Send a folder's files, or one archive, to `s3://bucket/prefix/...`: what is missing or differs; delete nothing.

    A file is the same when its size and MD5 are those of the object (its ETag: nothing is sent in parts).
    Hidden files, links that lead out of the folder, video, motion capture and lossy copies stay behind.
    """
    present: dict[str, tuple[int, str]] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        present.update({item["Key"]: (item["Size"], item["ETag"].strip('"')) for item in page.get("Contents", [])})

    def send(path: Path) -> bool:
        key = f"{prefix}/{path.relative_to(folder).as_posix() if folder.is_dir() else path.name}"
        size, etag = present.get(key, (-1, ""))
        if size == path.stat().st_size and etag == _md5(path):
            return False
        with path.open("rb") as body:
            client.put_object(Bucket=bucket, Key=key, Body=body)
        return True

    with ThreadPoolExecutor(_THREADS) as pool:
        sent = list(pool.map(send, _files(folder) if folder.is_dir() else [folder]))
    return Synced(files=len(sent), sent=sum(sent))


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT_FOLDERS and not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if name.startswith(".") or path.suffix.lower() in _LEFT_OUT_SUFFIXES:
                continue
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                yield path


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
