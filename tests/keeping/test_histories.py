"""Garbage collection over random histories: every byte that is needed stays, every other one goes."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from hypothesis import HealthCheck, given, settings

from ser_tasks.keeping.collect import collect
from ser_tasks.objects import TRASH
from ser_tasks.store import Store
from tests.keeping.histories import History, histories
from tests.keeping.memory_s3 import MemoryS3

MORE = 1000
"""Histories under `make prove`."""


class Registry:
    """The registered versions of a history, as MLflow's client lists them, two on a page."""

    versions: list[SimpleNamespace] = []  # noqa: RUF012 - one registry, as in MLflow

    def search_model_versions(self, max_results: int, page_token: str | None) -> Any:
        first = int(page_token or 0)
        page = Page(self.versions[first : first + 2])
        page.token = str(first + 2) if first + 2 < len(self.versions) else None
        return page


class Page(list[Any]):
    token: str | None = None


@pytest.fixture(scope="module", autouse=True)
def registry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://registry.invalid")
        patch.setattr(mlflow, "MlflowClient", Registry)
        yield


def gc(history: History) -> None:
    Registry.versions = [
        SimpleNamespace(name="ser-cnn", version=str(i), tags={"ser.artifact": str(made.ref)})
        for i, made in enumerate(history.registered)
    ]
    collect(history.store, "test/gc")


def play(moves: list[tuple[str, int, int]]) -> None:
    client = MemoryS3()
    store = Store(client, "bucket", Path("unused"))
    history = History(store, lambda days: client.pass_time(timedelta(days=days)), gc)
    history.play(moves)
    history.collect(0, 0)
    # Nobody does anything more: after the grace period and the time in the trash only what is needed is left.
    for _ in range(2):
        history.pass_days(40)
        history.collect(0, 0)
    needed = history.needed()
    manifests = {f"artifacts/{made.ref.kind}/{made.ref.key}/manifest.json" for made in needed}
    blobs = {hashlib.sha256(body).hexdigest() for made in needed for body in made.files.values()}
    assert not list(store.list(TRASH))
    assert {item["key"] for item in store.list("artifacts/")} == manifests
    for item in store.list("checkpoints/"):
        key = item["key"].split("/")[1]
        assert key in history.leases
        blobs |= {file["sha256"] for file in json.loads(store.get(item["key"]) or b"")["files"]}
    assert {item["key"].removeprefix("blobs/sha256/") for item in store.list("blobs/")} == blobs


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories)
def test_what_is_needed_stays_and_everything_else_goes(moves: list[tuple[str, int, int]]) -> None:
    play(moves)


@pytest.mark.prove
@settings(max_examples=MORE, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories)
def test_a_thousand_histories(moves: list[tuple[str, int, int]]) -> None:
    play(moves)
