"""Checkpoints: a training killed at any moment goes on and ends with the same bits; what is torn is not believed."""

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ser_tasks.artifact import artifact_key
from ser_tasks.checkpoint_store import FolderCheckpoints, StoreCheckpoints
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.store import Store
from ser_tasks.training.checkpoints import Checkpoint, load_newest, save_checkpoint
from ser_tasks.training.fit import Examples, fit
from tests.training.kill_me import LABELS, OPTIONS, run, tones

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.training.kill_me"])  # libraries are imported once


def train(name: str, when: str = "never 0") -> tuple[int | None, str, list[int]]:
    """Train in another process: its exit code, the reference or error, the epochs trained now."""
    answer = PROCESSES.SimpleQueue()
    env = {key: value for key, value in os.environ.items() if key.startswith(("SER_", "AWS_"))}
    process = PROCESSES.Process(target=run, args=(name, when, env, answer))
    process.start()
    process.join(120)
    return process.exitcode, *(("", []) if answer.empty() else answer.get())


def weights(store: Store, ref: str, folder: Path) -> bytes:
    return (store.fetch(ref, folder) / "model.safetensors").read_bytes()


def expire_lease(store: Store, name: str) -> None:
    """The killed process beats no longer: as if LEASE_EXPIRES_S had passed."""
    store.delete(f"leases/{artifact_key('train', 1, {'name': name}, {})}.json")


def blobs(store: Store) -> set[str]:
    return {item["key"] for item in store.list("blobs/")}


def test_killed_at_any_moment_the_rerun_ends_with_the_same_bits(store: Store, tmp_path: Path) -> None:
    _, whole, _ = train("whole")
    expected = weights(store, whole, tmp_path / "whole")
    moments = {
        "batch 1": [1, 2, 3, 4, 5],  # before anything
        "batch 8": [3, 4, 5],  # inside the third epoch, of 3 batches each
        "epoch 2": [3, 4, 5],  # between epochs
        # Inside the upload of the second checkpoint. Of the first's four files two are equal: 3 are put, or 4 when both
        # are looked up before either is there.
        "blob 5": [2, 3, 4, 5],
        "visible 3": [3, 4, 5],  # all files of the third are there, its manifest is not
        "publish 1": [],  # trained, not published
    }
    for moment, left in moments.items():
        assert train(moment, moment)[0] == -signal.SIGKILL, moment
        expire_lease(store, moment)
        _, ref, trained = train(moment)
        assert trained == left, moment
        assert weights(store, ref, tmp_path / moment) == expected, moment
    assert not list(store.list("checkpoints/")), "deleted once the model is published"


def test_a_second_run_does_not_train_the_same_key(store: Store) -> None:
    with store.leases.hold(artifact_key("train", 1, {"name": "one"}, {}), "first"):
        _, error, trained = train("one")
    assert error.startswith("Busy")
    assert "first is building" in error
    assert trained == []


def checkpoint(epoch: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(epoch)
    tensors = {"weight": torch.randn(50, generator=generator)}
    return Checkpoint("training", [{"epoch": i + 1} for i in range(epoch)], tensors, {"weight": torch.ones(50)}, {
        "state": {0: {"step": torch.tensor(float(epoch))}}, "param_groups": [{"lr": 0.1, "params": [0]}],
    })  # fmt: skip


def epoch_of(found: Checkpoint | None) -> int:
    return len(found.history) if found else 0


def test_the_newest_two_are_kept_and_their_blobs_alone(store: Store) -> None:
    checkpoints = StoreCheckpoints(store, "k" * 64)
    other = StoreCheckpoints(store, "o" * 64)
    save_checkpoint(other, checkpoint(1))
    others = blobs(store)
    for epoch in range(1, 5):
        save_checkpoint(checkpoints, checkpoint(epoch))
    names = [item["key"] for item in store.list(f"{checkpoints.place}/")]
    assert names == [f"{checkpoints.place}/{epoch:04d}.json" for epoch in (3, 4)]
    # model, optimiser and state of either; the best weights are the same file in both
    assert len(blobs(store) - others) == 2 * 3 + 1
    found = load_newest(checkpoints, "training")
    assert found is not None
    assert torch.equal(found.model["weight"], checkpoint(4).model["weight"])
    assert found.optimiser["state"][0]["step"] == 4
    checkpoints.clear()
    assert blobs(store) == others
    assert epoch_of(load_newest(other, "training")) == 1


@pytest.mark.parametrize("damage", ["missing", "other bytes", "truncated", "manifest"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_it_used(
    damage: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = StoreCheckpoints(store, "k" * 64)
    for epoch in (1, 2):
        save_checkpoint(checkpoints, checkpoint(epoch))
    name = f"{checkpoints.place}/0002.json"
    files = {file["name"]: file for file in json.loads(store.get(name) or b"")["files"]}
    blob = f"blobs/sha256/{files['model.safetensors']['sha256']}"
    body = store.get(blob) or b""
    if damage == "missing":
        store.delete(blob)
    elif damage == "manifest":
        store.put(name, b'{"files": [')
    else:
        store.put(blob, bytes([body[0] ^ 1]) + body[1:] if damage == "other bytes" else body[: len(body) // 2])
    with caplog.at_level(logging.WARNING):
        assert epoch_of(load_newest(checkpoints, "training")) == 1
    assert "0002.json" in caplog.text
    assert "going back to the checkpoint before it" in caplog.text
    save_checkpoint(checkpoints, checkpoint(2))  # the rerun comes by again and leaves it whole
    assert epoch_of(load_newest(checkpoints, "training")) == 2


def test_the_clip_of_a_folder_checkpoint_that_changed_in_one_bit_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = FolderCheckpoints(tmp_path)
    for epoch in (1, 2, 3):
        save_checkpoint(checkpoints, checkpoint(epoch))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0002", "epoch-0003"]
    path = tmp_path / "epoch-0003" / "model.safetensors"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(bytes(body))
    with caplog.at_level(logging.WARNING):
        assert epoch_of(load_newest(checkpoints, "training")) == 2
    assert "epoch-0003: model.safetensors is missing or damaged" in caplog.text
    checkpoints.clear()
    assert load_newest(checkpoints, "training") is None


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Examples, Examples]:
    return tones(tmp_path_factory.mktemp("tones"))


class Counted:
    """Checkpoints that only say when they were saved."""

    place = "nowhere"

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def save(self, epoch: int, write: Callable[[Path], None]) -> None:
        self.epochs.append(epoch)

    def newest_first(self) -> list[Path]:
        return []


def test_the_interval_is_in_epochs_or_minutes(pair: tuple[Examples, Examples]) -> None:
    for change, expected in (
        ({"checkpoint_epochs": 2}, [2, 4]),
        ({"checkpoint_minutes": 60.0}, []),
        ({"checkpoint_minutes": 1e-9, "checkpoint_epochs": 3}, [1, 2, 3, 4, 5]),
    ):
        counted = Counted()
        model = build_model(ModelSpec("cnn", {"channels": [4, 4, 4, 4]}, LABELS))
        fit(model, *pair, LABELS, replace(OPTIONS, **change), checkpoints=counted)  # type: ignore[arg-type]
        assert counted.epochs == expected


def test_what_a_checkpoint_adds_is_counted(store: Store) -> None:
    StoreCheckpoints(store, "c" * 64).save(1, lambda folder: _write(folder / "weights"))
    assert store.spent.added == 1000 + len(store.get(f"checkpoints/{'c' * 64}/0001.json") or b"")


def _write(path: Path) -> None:
    path.write_bytes(b"x" * 1000)
