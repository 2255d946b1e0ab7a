"""A training is registered once, also by a task that is killed between registering and alias."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.tracking import Training, register_training

ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6}


class Killed(BaseException):
    """SIGKILL, as the next try sees it."""


@pytest.fixture
def training(tmp_path: Path) -> Training:
    spec = ModelSpec("cnn", {"channels": [4, 4, 4, 4]}, ["angry", "sad"], title="small")
    save_model(tmp_path, build_model(spec, None, 0), spec)
    scan = tmp_path / "scan"
    scan.mkdir()
    row = {"utterance_id": "u", "speaker_id": "s", "emotion": "sad", "duration_s": 1.0}
    pd.DataFrame([row]).to_parquet(scan / "manifest.parquet")
    metrics = {"corpus": "c", "relation": "within", "clips": 1, "speakers": 1} | dict.fromkeys(
        ("uar", "accuracy", "macro_f1"), ESTIMATE
    )
    return Training(
        name="ser-killed", experiment="killed", key="k" * 64, folder=tmp_path, params={}, history=[], metrics=[metrics],
        datasets={"c": (scan, "d" * 64)}, pictures=[], config={}, tags={"ser.key": "k" * 64, "ser.data": "synthetic"},
    )  # fmt: skip


def test_killed_before_the_alias_the_next_try_gives_it_and_makes_no_second_version(
    training: Training, mlflow_url: str, seaweedfs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    alias = mlflow.MlflowClient.set_registered_model_alias

    def killed(*args: Any) -> None:
        raise Killed

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", killed)
    with pytest.raises(Killed):
        register_training(training)
    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", alias)
    client = mlflow.MlflowClient()
    assert not client.get_registered_model("ser-killed").aliases
    second = register_training(training)
    assert (second["version"], second["new"]) == (1, True)
    assert client.get_model_version_by_alias("ser-killed", "challenger").version in (1, "1")
    client.delete_registered_model_alias("ser-killed", "challenger")  # a person refused it
    assert register_training(training) == {**second, "new": False}
    assert not client.get_registered_model("ser-killed").aliases
    assert len(client.search_model_versions("name = 'ser-killed'")) == 1
