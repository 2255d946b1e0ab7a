"""A training, or a direction, is registered once, also by a task that is killed between registering and alias."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from ser_tasks.tracking import Training, register_training
from ser_tasks.trait_registry import FittedTrait, register_fitted_trait
from tests.trainings import ESTIMATE, make_training


class Killed(BaseException):
    """SIGKILL, as the next try sees it."""


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return make_training(tmp_path, "ser-killed")


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
    version = client.get_model_version_by_alias("ser-killed", "challenger")
    assert version.version in (1, "1")
    assert "not free for commercial use" in version.description
    assert "1 version of ser-killed so far was measured on these test speakers" in version.description
    client.delete_registered_model_alias("ser-killed", "challenger")  # a person refused it
    assert register_training(training) == {**second, "new": False}
    assert not client.get_registered_model("ser-killed").aliases
    assert len(client.search_model_versions("name = 'ser-killed'")) == 1


@pytest.fixture
def direction(tmp_path: Path) -> FittedTrait:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("weights")
    evidence = {
        "left_out": {"speakers": {"within_speaker": ESTIMATE}}, "refused": [], "verdict": {"why": "because"},
        "shape": {"verdict": "unknown", "why": "few"},
    }  # fmt: skip
    metrics = {
        "trait": "killed", "auc": ESTIMATE, "left_out_together": "speakers", "evidence": evidence, "groups": "rated",
        "clips": 2, "speakers": 2, "embeddings": "an encoder", "note": "", "explained_by": "nothing",
    }  # fmt: skip
    folder = tmp_path / "folder"
    return FittedTrait("killed", "d" * 64, folder, folder, metrics, [], [], {"ser.key": "d" * 64})


def test_a_direction_that_was_killed_before_the_alias_gets_it_from_the_next_try(
    direction: FittedTrait, mlflow_url: str, seaweedfs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)

    def killed(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", killed)
        register_fitted_trait(direction)
    client = mlflow.MlflowClient()
    assert not client.get_registered_model("ser-trait-killed").aliases
    second = register_fitted_trait(direction)
    assert (second["version"], second["new"]) == (1, True)
    assert client.get_registered_model("ser-trait-killed").aliases == {"challenger": "1"}
    assert register_fitted_trait(direction) == {**second, "new": False}
    assert len(client.search_model_versions("name = 'ser-trait-killed'")) == 1
