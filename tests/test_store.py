"""The artifact mechanism against a real SeaweedFS."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

import ser_tasks.leases as leases_module
from include.stack.objects import s3_client
from ser_tasks.artifact import Ref, artifact_key, content_digest
from ser_tasks.errors import BadInput, Busy, Damaged
from ser_tasks.live import training_under
from ser_tasks.materialise import materialise
from ser_tasks.store import Store

BUILD = "tests.test_store:build_text"


def build_text(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """A build for these tests: what it says depends on its inputs and parameters."""
    before = "".join((folder / "text").read_text() for folder in inputs.values())
    (out / "text").write_text(before + params["text"])


def folder_with(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def key_of(text: str) -> str:
    return artifact_key("kind", 1, {"text": text}, {})


def test_what_is_published_comes_back_byte_for_byte(store: Store, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "a", one="1", two="2")
    ref, won = store.publish("kind", key_of("x"), folder, {"built_by": "test"})
    assert won
    fetched = store.fetch(str(ref), tmp_path / "b")
    assert {path.name: path.read_text() for path in fetched.iterdir()} == {"one": "1", "two": "2"}


def test_requests_and_added_bytes_are_counted(store: Store, tmp_path: Path) -> None:
    before = store.spent
    store.publish("kind", key_of("x"), folder_with(tmp_path / "a", one="1", two="22"), {"built_by": "test"})
    first = store.spent - before
    assert first.requests == 5  # two blobs looked for and put, and the manifest
    assert first.added == 3 + len(store.get(f"artifacts/kind/{key_of('x')}/manifest.json") or b"")
    before = store.spent
    store.publish("kind", key_of("x"), folder_with(tmp_path / "b", one="1", two="22"), {"built_by": "test"})
    again = store.spent - before
    assert (again.requests, again.added) == (4, 0)  # two blobs found; the manifest refused, and read


def test_of_two_publishers_with_different_bytes_one_is_visible_whole(
    make_store: Callable[[], Store], tmp_path: Path
) -> None:
    stores = [make_store() for _ in range(6)]
    folders = [folder_with(tmp_path / f"p{i}", a=f"a{i}" * 1000, b=f"b{i}") for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(
            pool.map(lambda i: stores[i].publish("kind", key_of("race"), folders[i], {"built_by": str(i)}), range(6))
        )
    assert sum(won for _, won in results) == 1
    assert len({ref for ref, _ in results}) == 1
    fetched = stores[0].fetch(results[0][0], tmp_path / "result")
    winner = next(i for i, (_, won) in enumerate(results) if won)
    assert (fetched / "a").read_text() == f"a{winner}" * 1000
    assert (fetched / "b").read_text() == f"b{winner}"


def test_a_publisher_killed_between_blobs_and_manifest_leaves_nothing_visible(store: Store, tmp_path: Path) -> None:
    folder_with(tmp_path / "out", text="half")
    program = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from ser_tasks.store import Store
        class Dies(Store):
            def put(self, key, body, **conditions):
                if key.endswith("manifest.json"):
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().put(key, body, **conditions)
        Dies.from_env().publish("kind", sys.argv[1], Path(sys.argv[2]), {"built_by": "killed"})
    """)
    key = key_of("killed")
    killed = subprocess.run(
        [sys.executable, "-c", program, key, str(tmp_path / "out")], env=dict(os.environ), check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert any(item["key"].startswith("blobs/") for item in store.list(""))
    assert store.manifest("kind", key) is None
    ref, won = store.publish("kind", key, tmp_path / "out", {"built_by": "retry"})
    assert won
    assert (store.fetch(ref, tmp_path / "again") / "text").read_text() == "half"


def test_a_damaged_object_is_detected_and_named(store: Store, tmp_path: Path) -> None:
    ref, _ = store.publish("kind", key_of("x"), folder_with(tmp_path / "a", one="good"), {"built_by": "test"})
    blob = next(item["key"] for item in store.list("blobs/"))
    store.put(blob, b"evil")
    with pytest.raises(Damaged, match=rf"one of artifact kind/{ref.key} is damaged: {blob}"):
        store.fetch(ref, tmp_path / "b")


def test_a_missing_object_is_named(store: Store, tmp_path: Path) -> None:
    ref, _ = store.publish("kind", key_of("x"), folder_with(tmp_path / "a", one="good"), {"built_by": "test"})
    store.client.delete_object(Bucket=store.bucket, Key=next(item["key"] for item in store.list("blobs/")))
    with pytest.raises(Damaged, match="is missing"):
        store.fetch(ref, tmp_path / "b")


def test_a_manifest_cannot_write_outside_its_folder(store: Store, tmp_path: Path) -> None:
    import json

    ref, _ = store.publish("kind", key_of("x"), folder_with(tmp_path / "a", one="1"), {"built_by": "test"})
    manifest = store.manifest("kind", ref.key)
    assert manifest
    manifest["files"][0]["name"] = "../escaped"
    manifest["digest"] = content_digest(manifest["files"])
    store.put(f"artifacts/kind/{ref.key}/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(Damaged, match="outside its folder"):
        store.fetch(Ref("kind", ref.key, manifest["digest"]), tmp_path / "b")
    assert not (tmp_path / "escaped").exists()


def test_a_hit_imports_nothing_of_the_steps_room(store: Store) -> None:
    materialise(store, "kind", 1, BUILD, {"text": "x"}, {}, by="first")
    again = materialise(store, "kind", 1, "no.such.module:build", {"text": "x"}, {}, by="second")
    assert again.hit
    assert again.built_by == "first"


def test_version_parameters_inputs_and_salt_make_other_keys(store: Store) -> None:
    first = materialise(store, "kind", 1, BUILD, {"text": "x"}, {}, by="t").ref
    assert not materialise(store, "kind", 2, BUILD, {"text": "x"}, {}, by="t").hit
    assert not materialise(store, "kind", 1, BUILD, {"text": "y"}, {}, by="t").hit
    assert not materialise(store, "kind", 1, BUILD, {"text": "x"}, {"in": first}, by="t").hit
    assert not materialise(store, "kind", 1, BUILD, {"text": "x"}, {}, by="t", salt="run").hit


def test_an_unchanged_output_stops_a_rebuild_downstream(store: Store) -> None:
    first = materialise(store, "kind", 1, BUILD, {"text": "x"}, {}, by="t").ref
    after = materialise(store, "after", 1, BUILD, {"text": "z"}, {"in": first}, by="t").ref
    rebuilt = materialise(store, "kind", 2, BUILD, {"text": "x"}, {}, by="t").ref
    assert rebuilt.key != first.key
    assert rebuilt.digest == first.digest
    again = materialise(store, "after", 1, BUILD, {"text": "z"}, {"in": rebuilt}, by="t")
    assert again.hit
    assert again.ref == after


def test_a_lease_keeps_others_out_while_it_lives_and_not_longer(
    make_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make_store(), make_store()
    with (
        one.leases.hold("k" * 64, "first"),
        pytest.raises(Busy, match="first is building"),
        other.leases.hold("k" * 64, "second"),
    ):
        pass
    with other.leases.hold("k" * 64, "second"):
        pass
    long_ago = datetime.now(UTC) - timedelta(seconds=leases_module.LEASE_EXPIRES_S + 1)
    one.put(
        f"leases/{'d' * 64}.json", f'{{"owner": "dead", "token": "t", "heartbeat": "{long_ago.isoformat()}"}}'.encode()
    )
    with other.leases.hold("d" * 64, "second"), pytest.raises(Busy), one.leases.hold("d" * 64, "third"):
        pass


@contextmanager
def out_of_reach(store: Store) -> Iterator[None]:
    """No request of this store's client gets out while the block runs."""

    def refuse(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="http://store")

    store.client.meta.events.register_first("before-send.s3", refuse)
    try:
        yield
    finally:
        store.client.meta.events.unregister("before-send.s3", refuse)


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(leases_module, "LEASE_EXPIRES_S", 1.0)


def impatient(store: Store, parts: Any) -> Store:
    """The same store by a client that tries once."""
    return Store(s3_client(parts[1], retries=1), store.bucket, store.cache)


def test_a_lease_outlives_a_store_that_was_out_of_reach(
    store: Store, parts: Any, quick_leases: None, caplog: pytest.LogCaptureFixture
) -> None:
    key, holder = "k" * 64, impatient(store, parts)
    with holder.leases.hold(key, "first"):
        with out_of_reach(holder):
            time.sleep(1.5)
        time.sleep(1.2)
        with pytest.raises(Busy, match="first is building"), store.leases.hold(key, "second"):
            pass
        holder.leases.check(key)
    assert "was not renewed" in caplog.text
    assert store.get(f"leases/{key}.json") is None


def test_who_lost_a_lease_learns_it_and_writes_no_more_checkpoints(
    store: Store, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_leases: None
) -> None:
    monkeypatch.setenv("SER_LIVE_DIR", str(tmp_path))
    key, holder = "k" * 64, impatient(store, parts)
    with holder.leases.hold(key, "first"), training_under(key, store=holder, experiment="none", name="cnn") as given:
        given["on_epoch"]({"epoch": 1})
        with out_of_reach(holder):
            time.sleep(1.2)
            other = store.leases.hold(key, "second")
            other.__enter__()
        time.sleep(0.3)
        with pytest.raises(Busy, match="lost to second"):
            given["on_epoch"]({"epoch": 2})
        with pytest.raises(Busy, match="lost to second"):
            given["checkpoints"].save(2, lambda folder: None)
    assert store.get(f"leases/{key}.json") is not None, "the other's lease is left alone"
    other.__exit__(None, None, None)


def test_a_raw_upload_that_changes_after_it_was_pinned_is_refused(make_store: Callable[[], Store]) -> None:
    store = make_store()
    store.put("raw/c/a.wav", b"one")
    pinned = store.pin_raw("raw/c/", {"built_by": "t"})
    assert pinned
    assert (store.cached(pinned) / "a.wav").read_bytes() == b"one"
    store.put("raw/c/a.wav", b"two")
    with pytest.raises(BadInput, match=r"raw/c/a\.wav was changed"):
        make_store().cached(pinned)
    assert store.pin_raw("raw/c/", {"built_by": "t"}) != pinned
    assert store.pin_raw("raw/none/", {"built_by": "t"}) is None


def test_the_probe_accepts_a_store_with_atomic_conditional_writes(store: Store) -> None:
    store.probe(writers=16)


def test_the_probe_refuses_a_store_where_several_writers_win(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    unconditional = store.put
    monkeypatch.setattr(store, "put", lambda key, body, **conditions: unconditional(key, body))
    with pytest.raises(Exception, match="not atomic"):
        store.probe()


def test_a_store_takes_the_credentials_of_today(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    with pytest.raises(Exception, match="InvalidAccessKeyId"):
        list(Store.from_env().list(""))


def test_a_reference_that_is_none_is_refused() -> None:
    for text in ("", "a/b", "kind/short/digest", "../../etc"):
        with pytest.raises(BadInput):
            Ref.parse(text)


def _materialise_in_process(queue: Any) -> None:
    queue.put(str(materialise(Store.from_env(), "kind", 1, BUILD, {"text": "same"}, {}, by="p").ref))


def test_two_processes_that_build_one_key_agree(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_materialise_in_process, args=(queue,)) for _ in range(2)]
    for process in processes:
        process.start()
    refs = {queue.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(refs) == 1
