"""Garbage collection, verification and usage against a real SeaweedFS and a real MLflow."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import mlflow
import pytest
from typer.testing import CliRunner

from ser_tasks.annotations.intake import INCOMING, read_ledger, read_ratings_version, read_standing, take_in
from ser_tasks.annotations.version import current
from ser_tasks.artifact import Ref, artifact_key
from ser_tasks.checkpoint_store import StoreCheckpoints
from ser_tasks.cli import app
from ser_tasks.errors import BadInput, Busy, Damaged
from ser_tasks.keeping.collect import collect, find
from ser_tasks.keeping.usage import usage
from ser_tasks.keeping.verify import verify
from ser_tasks.objects import TRASH
from ser_tasks.plan import accept, accepted_before
from ser_tasks.store import Store

NOW = timedelta(0)
RATED = "utterance_id,annotator_id,trait,rating,scale,created_at,source\n"


@pytest.fixture(autouse=True)
def with_mlflow(mlflow_url: str, make_store: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)


def publish(store: Store, tmp_path: Path, name: str, inputs: tuple[Ref, ...] = (), kind: str = "scan") -> Ref:
    folder = tmp_path / f"out-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "common").write_text("the same in all")
    (folder / "own").write_text(name * 100)
    about = {"built_by": f"ser_study/{name}", "inputs": {str(i): str(ref) for i, ref in enumerate(inputs)}}
    return store.publish(kind, artifact_key(kind, 1, {"name": name}, {}), folder, about)[0]


def record(store: Store, name: str, *refs: Ref) -> None:
    store.put(f"runs/ser_study/{name}.json", json.dumps({"steps": [{"ref": str(ref)} for ref in refs]}).encode())


def gc(store: Store) -> dict[str, object]:
    """No grace period: times in the store have whole seconds."""
    time.sleep(1.1)
    return collect(store, "test", older_than=NOW)


def empty_trash(store: Store) -> None:
    time.sleep(1.1)
    collect(store, "test", older_than=NOW, trash=NOW)


def keys(store: Store, prefix: str) -> set[str]:
    return {item["key"] for item in store.list(prefix)}


def own_blob(store: Store, ref: Ref) -> str:
    files = (store.manifest(ref.kind, ref.key) or {})["files"]
    return next(f"blobs/sha256/{file['sha256']}" for file in files if file["name"] == "own")


def test_what_runs_pointers_versions_leases_and_inputs_need_stays_and_the_rest_goes(
    store: Store, tmp_path: Path
) -> None:
    raw = publish(store, tmp_path, "raw", kind="raw")
    held = {
        "run": publish(store, tmp_path, "run", (raw,)),
        "pointer": publish(store, tmp_path, "pointer"),
        "version": publish(store, tmp_path, "version", kind="train_cnn"),
        "lease": publish(store, tmp_path, "lease"),
    }
    loose = publish(store, tmp_path, "loose")
    record(store, "1", held["run"])
    store.move_pointer("accepted/demo", {"scan": str(held["pointer"])}, None)
    client = mlflow.MlflowClient()
    name = f"ser-{store.bucket}"
    client.create_registered_model(name)
    client.create_model_version(name, "s3://mlflow/none", tags={"ser.artifact": str(held["version"])})
    upload = store.client.create_multipart_upload(Bucket=store.bucket, Key="blobs/sha256/half")["UploadId"]
    loose_blob = own_blob(store, loose)
    with store.leases.hold("0" * 64, "ser_study/lease"):
        told = gc(store)
        assert told["to_trash"]["objects"] == 2  # its manifest, and the one blob that is only its own
        assert told["uploads_aborted"] == 1
        empty_trash(store)
    assert not keys(store, TRASH)
    assert loose_blob not in keys(store, "blobs/")
    assert store.manifest("scan", loose.key) is None
    for ref in (raw, *held.values()):
        store.fetch(ref, tmp_path / f"again-{ref.key}")
    left = store.client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])
    assert upload not in {each["UploadId"] for each in left}


def test_what_the_pointers_of_annotations_and_accepted_corpora_lead_to_stays(
    make_store: Callable[[], Store], tmp_path: Path
) -> None:
    store = make_store()
    for day, rating in ((1, 2), (2, 4)):
        row = f"u1,a1,rudeness,{rating},1-5,2026-01-{day:02d}T00:00:00Z,x\nu{day},,rudeness,3,1-5,,x\n"
        store.put(f"{INCOMING}{day}.csv", (RATED + row).encode())
        take_in(store, "ser_nightly_retrain/1")
    pinned = [publish(store, tmp_path, name, kind=name) for name in ("raw", "scan")]
    accept("demo", *map(str, pinned), store)
    version, held = current(store), keys(store, "artifacts/")
    superseded = {f"artifacts/{kind}/" for kind in ("annotation_ledger", "ratings_version")}
    gc(store)
    empty_trash(store)
    gone = held - keys(store, "artifacts/")
    assert {next(start for start in superseded if key.startswith(start)) for key in gone} == superseded
    assert len(gone) == 2  # the first drop's ledger and ratings: the second's name all that they were made of

    store = make_store()  # nothing comes from a cache
    assert [drop.listed for drop in read_ledger(store, version)] == [1, 1]
    assert list(read_ratings_version(store, version)["rating"]) == [4]
    assert list(read_standing(store, version).history["status"]) == ["older", "current"]
    store.put(f"{INCOMING}3.csv", (RATED + "u3,a1,rudeness,5,1-5,2026-01-03T00:00:00Z,x\n").encode())
    third = take_in(store, "ser_nightly_retrain/3")
    assert (third.now.version, third.counts["current"], third.counts["older"]) == (3, 2, 1)
    store.fetch(accepted_before("demo", "other uploads", store) or "", tmp_path / "accepted")


def test_a_dry_run_changes_nothing_and_is_the_default(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "loose")
    before = keys(store, "")
    time.sleep(1.1)
    done = CliRunner().invoke(app, ["store", "gc", "--older-than", "0s", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["to_trash"]["objects"] == 3
    assert keys(store, "") == before
    done = CliRunner().invoke(app, ["store", "gc", "--older-than", "0s", "--delete"])
    assert done.exit_code == 0, done.output
    assert not keys(store, "artifacts/") | keys(store, "blobs/")


def test_what_is_young_stays(store: Store, tmp_path: Path) -> None:
    ref = publish(store, tmp_path, "young")
    assert collect(store, "test", older_than=timedelta(minutes=5))["to_trash"]["objects"] == 0
    store.fetch(ref, tmp_path / "again")


def test_a_blob_that_a_publisher_found_is_there_once_its_manifest_is(store: Store, tmp_path: Path) -> None:
    """The collector sees the blob unneeded, the publisher sees it there, the collector takes it, the manifest comes."""
    loose = publish(store, tmp_path, "loose")
    blob = own_blob(store, loose)
    publishing = Store(store.client, store.bucket, store.cache)
    put = publishing.put

    def put_after_collection(key: str, body: object, **conditions: str) -> bool:
        if key.endswith("manifest.json"):  # its blobs were found a moment ago
            gc(store)
            assert blob not in keys(store, "blobs/")
        return put(key, body, **conditions)  # type: ignore[arg-type]

    publishing.put = put_after_collection  # type: ignore[method-assign]
    folder = tmp_path / "out-loose"
    ref, won = publishing.publish("pack", artifact_key("pack", 1, {}, {}), folder, {"built_by": "ser_study/late"})
    assert won
    store.fetch(ref, tmp_path / "at-once")
    store.delete(blob)  # as if nobody had read it before the next collection
    record(store, "late", ref)
    gc(store)
    assert blob in keys(store, "blobs/")
    empty_trash(store)
    store.fetch(ref, tmp_path / "later")


def test_collections_and_publications_at_the_same_time_lose_nothing(
    make_store: Callable[[], Store], tmp_path: Path
) -> None:
    stores = [make_store() for _ in range(3)]
    ended = threading.Event()
    failures: list[BaseException] = []

    def collecting() -> None:
        while not ended.is_set():
            try:
                collect(stores[0], "test", older_than=NOW)
            except BaseException as error:
                failures.append(error)
                return

    thread = threading.Thread(target=collecting)
    thread.start()
    published = []
    try:
        begin = time.monotonic()
        turn = 0
        while time.monotonic() - begin < 8:
            # The same six contents again and again, under new keys: blobs are found more often than put.
            folder = tmp_path / f"out-{turn % 6}"
            folder.mkdir(exist_ok=True)
            (folder / "own").write_text(f"content {turn % 6}")
            key = artifact_key("scan", 1, {"turn": turn}, {})
            published.append(stores[1].publish("scan", key, folder, {"built_by": "ser_study/x"})[0])
            record(stores[1], str(turn % 10), *published[-1:])
            stores[2].fetch(published[-1], tmp_path / f"got-{turn}")
            turn += 1
    finally:
        ended.set()
        thread.join()
    assert not failures
    assert turn > 20
    for ref in published[-10:]:
        stores[2].fetch(ref, tmp_path / f"kept-{ref.key}")


def test_killed_anywhere_the_next_collection_ends_it(store: Store, tmp_path: Path) -> None:
    program = """
import os, signal, sys, datetime
from ser_tasks.keeping.collect import collect
from ser_tasks.store import Store
class Dies(Store):
    left = int(sys.argv[1])
    def delete(self, key):
        Dies.left -= 1
        if Dies.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().delete(key)
collect(Dies.from_env(), "killed", older_than=datetime.timedelta(0))
"""
    kept = publish(store, tmp_path, "kept")
    record(store, "1", kept)
    for moves in (0, 1, 3):
        for name in ("a", "b"):
            publish(store, tmp_path, f"{name}{moves}")
        time.sleep(1.1)
        done = subprocess.run(
            [sys.executable, "-c", program, str(moves)], env=os.environ, capture_output=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert not verify(store)["faults"]
        with pytest.raises(Busy):
            collect(store, "test", older_than=NOW)
        store.delete("leases/gc.json")  # as if LEASE_EXPIRES_S had passed
        gc(store)
        assert len(keys(store, "artifacts/")) == 1
        assert len(keys(store, "blobs/")) == 2
    store.fetch(kept, tmp_path / "again")


def test_a_run_gets_back_what_it_had_found_before_it_was_collected(store: Store, tmp_path: Path) -> None:
    loose = publish(store, tmp_path, "loose")
    gc(store)
    assert not keys(store, "artifacts/") | keys(store, "blobs/")
    store.fetch(loose, tmp_path / "again")
    assert len(keys(store, "artifacts/")) == 1


def test_checkpoints_stay_while_their_training_lives(store: Store, tmp_path: Path) -> None:
    key = artifact_key("train_cnn", 1, {}, {})
    StoreCheckpoints(store, key).save(1, lambda folder: (folder / "w").write_text("weights") and None)
    with store.leases.hold(key, "ser_study/training"):
        gc(store)
        assert len(keys(store, "checkpoints/")) == len(keys(store, "blobs/")) == 1
    gc(store)
    assert not keys(store, "checkpoints/") | keys(store, "blobs/")


def test_nothing_is_collected_when_it_cannot_be_known_what_is_needed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = publish(store, tmp_path, "one")
    with monkeypatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI")
        with pytest.raises(BadInput, match="MLFLOW_TRACKING_URI"):
            find(store)
    store.put(f"artifacts/scan/{ref.key}/manifest.json", b"{torn")
    with pytest.raises(Damaged, match=ref.key):
        find(store)


def test_why_says_the_way_from_a_root(store: Store, tmp_path: Path) -> None:
    raw = publish(store, tmp_path, "raw", kind="raw")
    record(store, "1", publish(store, tmp_path, "scan", (raw,)))
    blob = own_blob(store, raw)
    done = CliRunner().invoke(app, ["store", "gc", "--older-than", "0s", "--why", blob.rsplit("/", 1)[1][:12]])
    assert done.exit_code == 0, done.output
    assert "runs/ser_study/1.json -> artifacts/scan/" in done.stdout
    assert f"-> artifacts/raw/{raw.key}/manifest.json" in done.stdout


def test_verify_names_artifact_file_and_blob(store: Store, tmp_path: Path) -> None:
    good, bad = publish(store, tmp_path, "good"), publish(store, tmp_path, "bad")
    assert not verify(store)["faults"]
    assert verify(store, sample=1, seed=0)["hashed"] == 1
    blob = own_blob(store, bad)
    store.put(blob, b"rotten")
    store.delete(own_blob(store, good))
    faults = {fault["artifact"]: fault for fault in verify(store)["faults"]}
    assert faults[f"artifacts/scan/{bad.key}/manifest.json"] == {
        "artifact": f"artifacts/scan/{bad.key}/manifest.json", "file": "own", "blob": blob,
        "reason": "does not have its SHA-256",
    }  # fmt: skip
    assert faults[f"artifacts/scan/{good.key}/manifest.json"]["reason"] == "is missing"
    done = CliRunner().invoke(app, ["store", "verify", "--all"])
    assert done.exit_code == 1
    assert "2 fault(s)" in done.stdout


def test_du_says_what_each_run_alone_holds_and_neither_it_nor_the_sweep_leaves_out_a_place(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = publish(store, tmp_path, "one"), publish(store, tmp_path, "two", kind="pack")
    record(store, "1", one)
    record(store, "2", one, two)
    store.put("nights/one.json", b"{}")
    other = f"mlflow-{store.bucket}"
    store.client.create_bucket(Bucket=other)
    monkeypatch.setattr("ser_tasks.keeping.collect.MLFLOW", other)
    store.client.put_object(Bucket=other, Key="1/model", Body=b"12345")
    told = usage(store)
    assert told["places"]["nights/"] == {"objects": 1, "bytes": 2}
    assert told["places"][f"s3://{other}/"] == {"objects": 1, "bytes": 5}
    upload = store.client.create_multipart_upload(Bucket=other, Key="1/half")["UploadId"]
    time.sleep(1.1)
    assert (other, "1/half", upload) in find(store, NOW)[1].uploads
    collect(store, "test", older_than=NOW)
    assert not store.client.list_multipart_uploads(Bucket=other).get("Uploads", [])
    store.client.delete_bucket(Bucket=other)
    assert set(told["kinds"]) == {"scan", "pack"}
    assert told["runs"]["runs/ser_study/1.json"]["only"] == 0
    assert told["runs"]["runs/ser_study/2.json"]["only"] > 300  # two's own blob and manifest
    assert told["places"]["blobs/"] == {"objects": 3, "bytes": 615}
    assert CliRunner().invoke(app, ["store", "du"]).exit_code == 0
