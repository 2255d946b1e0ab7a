"""The DAG files: how quickly they parse, what they import, how they are wired."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).parents[2] / "dags"
HEAVY = ("torch", "transformers", "mlflow", "great_expectations", "librosa", "umap")

PARSE = """
import json, sys, time
import airflow.sdk, airflow.dag_processing.dagbag
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
tasks = {
    dag_id: {task.task_id: {
        "upstream": sorted(task.upstream_task_ids), "rule": task.trigger_rule.value,
        "retries": task.retries, "doc": bool(task.doc_md),
        "timeout": bool(task.execution_timeout), "pool": task.pool, "queue": task.queue,
        "backoff": bool(task.retry_exponential_backoff), "policy": bool(task.retry_policy),
    } for task in dag.tasks} for dag_id, dag in bag.dags.items()
}
about = {
    dag_id: [dag.catchup, dag.max_active_runs, getattr(dag.timetable, "expression", None)]
    for dag_id, dag in bag.dags.items()
}
print(json.dumps({
    "errors": bag.import_errors, "seconds": {s.file: s.duration.total_seconds() for s in bag.dagbag_stats},
    "heavy": [name for name in sys.argv[2].split(",") if name in sys.modules], "tasks": tasks, "about": about,
}))
"""


@pytest.fixture(scope="module")
def parsed(airflow_env: dict[str, str]) -> Any:
    """What Airflow sees when it parses the DAG folder in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(DAGS), ",".join(HEAVY)],
        env=airflow_env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_every_file_parses_quickly_and_imports_nothing_heavy(parsed: Any) -> None:
    assert parsed["errors"] == {}
    assert parsed["heavy"] == []
    assert max(parsed["seconds"].values()) < 5  # half a second on a quiet machine; the list above is what keeps it so


def test_the_dags_are_there_and_never_run_twice_at_once(parsed: Any) -> None:
    assert set(parsed["about"]) == {
        "ser_study",
        "ser_nightly_retrain",
        "ser_rudeness",
        "ser_store_gc",
        "ser_promote",
    }
    assert not any(catchup for catchup, _, _ in parsed["about"].values())
    # Approvals wait for days: several stand side by side.
    assert {name: active for name, (_, active, _) in parsed["about"].items() if active != 1} == {"ser_promote": 16}
    assert parsed["about"]["ser_nightly_retrain"][2] == "0 2 * * *"


def test_every_task_has_retries_with_backoff_a_timeout_and_words(parsed: Any) -> None:
    for dag_id, tasks in parsed["tasks"].items():
        for name, task in tasks.items():
            assert task["retries"] and task["backoff"] and task["policy"], f"{dag_id}.{name}"
            assert task["timeout"], f"{dag_id}.{name} has no timeout"
            assert task["doc"], f"{dag_id}.{name} has no doc_md"


def test_trainings_wait_for_the_split_not_for_each_other_and_use_the_gpu_queue(parsed: Any) -> None:
    tasks = parsed["tasks"]["ser_study"]
    for name in ("train_cnn", "train_wav2vec2", "train_seeds"):
        assert tasks[name]["pool"] == tasks[name]["queue"] == "gpu"
        assert set(tasks[name]["upstream"]) - {"seeded"} == {"data"}
    assert "split" in tasks["data"]["upstream"]
    for name in ("train_cnn", "train_wav2vec2"):
        assert not {"train_cnn", "train_wav2vec2"} & set(tasks[name]["upstream"])


def test_validation_stands_before_pack_split_and_training(parsed: Any) -> None:
    tasks = parsed["tasks"]["ser_study"]
    assert "corpus.validate" in tasks["corpus.pack"]["upstream"]
    assert "corpus.validate" in tasks["corpus.scanned"]["upstream"]
    assert "corpus.scanned" in tasks["split"]["upstream"]


def test_record_is_the_last_task(parsed: Any) -> None:
    tasks = parsed["tasks"]["ser_study"]
    assert not [name for name, task in tasks.items() if "record" in task["upstream"]]


def test_the_watermark_waits_for_the_request_to_a_person_which_may_be_skipped(parsed: Any) -> None:
    moved = parsed["tasks"]["ser_nightly_retrain"]["move_watermark"]
    assert {"record", "start_promotion"} <= set(moved["upstream"])
    assert moved["rule"] == "none_failed"
