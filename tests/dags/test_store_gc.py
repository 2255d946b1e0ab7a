"""The weekly collection by `dag.test()`, with a real SeaweedFS and a real MLflow."""

from pathlib import Path

import pytest

from ser_tasks.artifact import artifact_key
from ser_tasks.store import Store
from tests.dags.test_study import run_dag


@pytest.mark.parametrize(("dry_run", "deleted"), [(True, "skipped"), (False, "success")])
def test_it_lists_first_then_deletes_unless_it_is_a_dry_run(
    dry_run: bool,
    deleted: str,
    airflow_env: dict[str, str],
    seaweedfs: dict[str, str],
    mlflow_url: str,
    store: Store,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("young")
    ref, _ = store.publish("scan", artifact_key("scan", 1, {}, {}), tmp_path, {"built_by": "test"})
    chosen = {name: value for name, value in seaweedfs.items() if not name.startswith(("AIRFLOW", "SER_CONFIGS"))}
    env = {**airflow_env, **chosen, "SER_S3_BUCKET": store.bucket, "MLFLOW_TRACKING_URI": mlflow_url}
    done = run_dag(env, "ser_store_gc", {"dry_run": dry_run})
    assert done["state"] == "success", done["log"][-4000:]
    assert done["tasks"] == {"list_unneeded": "success", "not_dry": "success", "delete": deleted}
    assert store.manifest("scan", ref.key) is not None
