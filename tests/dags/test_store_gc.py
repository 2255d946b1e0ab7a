"""The weekly collection by `dag.test()`, with a real SeaweedFS and a real MLflow."""

import json
from pathlib import Path

import pytest

from ser_tasks.artifact import artifact_key
from ser_tasks.store import Store
from tests.dags.test_study import run_dag


@pytest.mark.parametrize(("dry_run", "deleted"), [(True, "skipped"), (False, "success")])
def test_it_lists_first_then_does_it_unless_it_is_a_dry_run(
    dry_run: bool,
    deleted: str,
    airflow_env: dict[str, str],
    seaweedfs: dict[str, str],
    mlflow_url: str,
    store: Store,
    tmp_path: Path,
) -> None:
    """What is unneeded is too young to go; that a needed thing comes back from the trash shows that it was done."""
    (tmp_path / "file").write_text("young")
    ref, _ = store.publish("scan", artifact_key("scan", 1, {}, {}), tmp_path, {"built_by": "test"})
    store.put("runs/ser_study/one.json", json.dumps({"steps": [{"ref": str(ref)}]}).encode())
    manifest = f"artifacts/scan/{ref.key}/manifest.json"
    for key in [manifest, *[item["key"] for item in store.list("blobs/")]]:
        store.throw_away(key)
    chosen = {name: value for name, value in seaweedfs.items() if not name.startswith(("AIRFLOW", "SER_CONFIGS"))}
    env = {**airflow_env, **chosen, "SER_S3_BUCKET": store.bucket, "MLFLOW_TRACKING_URI": mlflow_url}
    done = run_dag(env, "ser_store_gc", {"dry_run": dry_run})
    assert done["state"] == "success", done["log"][-4000:]
    assert done["tasks"] == {"list_unneeded": "success", "not_dry": "success", "delete": deleted}
    assert (store.get(manifest) is None) == dry_run
    assert bool(list(store.list("blobs/"))) == (not dry_run)
