"""What a training says while it runs: a file that grows, and MLflow."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from ser_tasks.live import history_file, training_under
from ser_tasks.store import Store
from ser_tasks.tracking import stream

KEY = "k" * 64


def epoch(number: int) -> dict[str, Any]:
    return {"epoch": number, "train_loss": 1.0 / number, "dev_uar": 0.1 * number, "flop_utilisation": None}


def test_the_file_grows_by_the_epoch_and_a_retry_replaces_what_it_does_again(tmp_path: Path) -> None:
    path = tmp_path / "live" / "cnn.jsonl"
    write = history_file(path)
    for number in (1, 2, 3):
        write(epoch(number))
        assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == list(range(1, number + 1))
    with path.open("a") as file:
        file.write('{"epoch": 4, "tra')  # killed while it wrote
    history_file(path)(epoch(3))
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_a_retry_continues_the_run_in_mlflow_and_logs_no_epoch_twice(
    mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    client = mlflow.MlflowClient()
    with pytest.raises(KeyboardInterrupt), stream("live", "ser-cnn", KEY) as log:
        for number in (1, 2):
            log(epoch(number))
        raise KeyboardInterrupt
    with stream("live", "ser-cnn", KEY) as log:
        for number in (2, 3):
            log(epoch(number))
        experiment = client.get_experiment_by_name("live")
        (run,) = client.search_runs([experiment.experiment_id])
        points = client.get_metric_history(run.info.run_id, "dev_uar")
        assert [(point.step, round(point.value, 3)) for point in points] == [(1, 0.1), (2, 0.2), (3, 0.3)]
        assert "flop_utilisation" not in run.data.metrics
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["ser.key"] == KEY


def test_training_goes_on_without_mlflow(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SER_LIVE_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        caplog.at_level(logging.WARNING),
        training_under(KEY, store=store, experiment="live", name="ser-cnn") as given,
    ):
        given["on_epoch"](epoch(1))
    assert "MLflow does not answer" in caplog.text
    assert len((tmp_path / f"ser-cnn-{KEY[:12]}.jsonl").read_text().splitlines()) == 1
