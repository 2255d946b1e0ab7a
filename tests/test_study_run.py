"""A study's run in MLflow: one for a DAG run, whatever its tries; what it links and which figures it has."""

import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from ser_tasks.tracking import log_study, stream

ROW: dict[str, Any] = {
    "model": "CNN on log-mel",
    "corpus": "c",
    "relation": "within",
    "uar": 0.6,
    "low": 0.5,
    "high": 0.7,
}
ROW |= {"labels": "UAR among the 2 labels that model and corpus share", "answers": "all 9 clips are called sad"}
ROW |= {"accuracy": 0.65, "macro_f1": 0.55, "uar_open": 0.2}
SUMMARY: dict[str, Any] = {"rows": [ROW], "seeds": [], "rudeness": None}


def test_a_retry_keeps_to_one_run_which_has_the_headline_figures_and_links_every_training(
    mlflow_url: str, seaweedfs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**seaweedfs, "MLFLOW_TRACKING_URI": mlflow_url}.items():
        if name.startswith(("AWS_", "MLFLOW_")):
            monkeypatch.setenv(name, value)
    (tmp_path / "index.html").write_text("report")
    client = mlflow.MlflowClient()
    with stream("study-run", "ser-cnn-1", "s" * 64) as log:
        log({"epoch": 1, "dev_uar": 0.5})
    further = client.search_runs([client.get_experiment_by_name("study-run").experiment_id])[0].info.run_id

    def logged(summary: dict[str, Any]) -> str:
        return log_study(
            experiment="study-run", run="ser_study/manual__1", title="A study", summary=summary, trainings=["first"],
            seeds=["s" * 64, "trained in another study"], report=tmp_path, tags={"git.commit": "abc"},
        )  # fmt: skip

    address = logged(SUMMARY | {"rows": []})  # a try before that was cut off
    assert logged(SUMMARY) == address
    experiment = client.get_experiment_by_name("study-run").experiment_id
    (run,) = client.search_runs([experiment], "tags.`ser.study` = 'ser_study/manual__1'")
    assert run.info.run_id in address and run.info.status == "FINISHED"
    assert run.data.tags["ser.trainings"] == f"first,{further}"
    place = "within.c.CNN_on_log_mel"
    assert run.data.metrics == {
        f"{place}.uar": 0.6, f"{place}.uar_low": 0.5, f"{place}.uar_high": 0.7, f"{place}.accuracy": 0.65,
        f"{place}.macro_f1": 0.55, f"{place}.uar_open": 0.2,
    }  # fmt: skip
    assert run.data.tags["mlflow.note.content"] == (
        "- CNN on log-mel on c (within): UAR **0.600** (0.500 to 0.700); UAR among the 2 labels that model and corpus "
        "share. **all 9 clips are called sad**"
    )
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"report", "summary.json"}


def test_a_trainings_run_has_what_the_machine_did(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    client, found, deadline = mlflow.MlflowClient(), {}, time.monotonic() + 30
    with stream("machine", "ser-cnn", "m" * 64):
        experiment = client.get_experiment_by_name("machine").experiment_id
        while not found and time.monotonic() < deadline:
            time.sleep(0.2)
            found = client.search_runs([experiment])[0].data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(found)
