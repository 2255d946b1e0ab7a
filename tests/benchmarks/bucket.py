"""`bucket`: a first read of the packed corpus out of a real SeaweedFS against one GET a file."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from include.stack.layout import Layout, State
from include.stack.objects import s3_client, upload_folder
from include.stack.ports import choose
from include.stack.services import settings, write_files
from ser_tasks.artifact import Ref
from ser_tasks.audio.packed import PackedAudio
from ser_tasks.audio.shards import unpack
from ser_tasks.store import Store
from tests.benchmarks.common import alternate, finish, shards_of, speech_of_crema_d_lengths
from tests.benchmarks.naive_bucket import clips_of
from tests.conftest import TEST_PORTS, running

ROUNDS = 3
BARS = {"naive": 5}
BUCKET, PREFIX = "ser", "raw/crema_d/"


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Store]:
    """A store on a SeaweedFS of its own, with the settings of the embedded stack."""
    layout = Layout(local=folder)
    layout.make()
    state = State(ports=choose(TEST_PORTS, {}))
    write_files(layout, state)
    client = s3_client(state, retries=1)
    with running((layout, state), "seaweedfs", lambda: client.put_object(Bucket=BUCKET, Key="health", Body=b"up")):
        os.environ.update(settings(layout, state))
        yield Store.from_env(BUCKET)


def first_read(store: Store, ref: Ref) -> PackedAudio:
    """What a training does that nobody ran here before: fetch the shards, verify and decode them into one file."""
    folder = Path(tempfile.mkdtemp(dir=store.cache))
    return unpack(Store(store.client, store.bucket, folder / "cache").cached(ref), folder / "unpacked")


def main() -> int:
    """Measure and print."""
    folder = speech_of_crema_d_lengths()
    with tempfile.TemporaryDirectory() as made, seaweedfs(Path(made, "stack")) as store:
        store.cache = Path(made, "caches")
        store.cache.mkdir()
        shards = Path(made, "shards")
        shards.mkdir()
        shards_of(folder, shards)
        ref, _ = store.publish("pack", "0" * 64, shards, {})
        upload_folder(store.client, folder, BUCKET, PREFIX.rstrip("/"))
        audio = first_read(store, ref)
        for i, samples in enumerate(clips_of(store.client, BUCKET, PREFIX)):
            assert np.array_equal(audio.samples[audio.offsets[i] : audio.offsets[i + 1]], samples)
        sides = {
            "naive": lambda: sum(len(samples) for samples in clips_of(store.client, BUCKET, PREFIX)),
            "packed": lambda: int(first_read(store, ref).offsets[-1]),
        }
        seconds = alternate(sides, ROUNDS)
    figures = {"naive_s": seconds["naive"], "packed_s": seconds["packed"], "files": len(audio)}
    return finish("bucket", figures, {"naive": seconds["naive"] / seconds["packed"]}, BARS)


if __name__ == "__main__":
    sys.exit(main())
