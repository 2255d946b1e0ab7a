"""What most people write to read a corpus out of a bucket: the naive side of the benchmark `bucket`."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile


def clips_of(client: Any, bucket: str, prefix: str) -> Iterator[npt.NDArray[np.int16]]:
    """The samples of every wav under a prefix: one GET a file."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page["Contents"]:
            if item["Key"].endswith(".wav"):
                body = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                samples, _ = soundfile.read(io.BytesIO(body), dtype="int16")
                yield samples
