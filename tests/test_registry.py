"""Champion, previous and challenger in a real MLflow."""

import uuid
from collections.abc import Callable
from typing import Any

import mlflow
import pytest

from ser_tasks import registry
from ser_tasks.errors import BadInput


@pytest.fixture
def model(mlflow_url: str, seaweedfs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A registered model with three versions; the third is challenger."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    for key, value in seaweedfs.items():
        if key.startswith(("AWS_", "MLFLOW_S3")):
            monkeypatch.setenv(key, value)
    mlflow.set_tracking_uri(mlflow_url)
    name = f"ser-{uuid.uuid4().hex[:8]}"
    client = mlflow.MlflowClient()
    client.create_registered_model(name)
    experiment = mlflow.set_experiment("registry").experiment_id
    for number in (1, 2, 3):
        run = client.create_run(experiment)
        client.log_metric(run.info.run_id, "within.uar", number / 10)
        client.create_model_version(name, f"runs:/{run.info.run_id}/model", run.info.run_id)
    client.set_registered_model_alias(name, "challenger", "3")
    return name


def test_promotion_keeps_the_old_champion_as_previous_and_twice_is_once(model: str) -> None:
    assert registry.promote(model, 1, "ann", "first") == {"name": model, "champion": 1, "previous": None}
    assert registry.promote(model, 3, "ann", "better") == {"name": model, "champion": 3, "previous": 1}
    assert registry.promote(model, 3, "ann", "better") == {"name": model, "champion": 3, "previous": 1}
    assert "challenger" not in registry.aliases(model)
    newest = registry.versions(model)[0]
    assert newest["aliases"] == ["champion"]
    assert newest["tags"]["ser.reviewer"] == "ann"
    assert registry.metrics_of(model, 3) == {"within.uar": 0.3}


@pytest.mark.parametrize("calls", range(1, 5))
def test_a_promotion_that_is_killed_anywhere_leaves_a_champion_and_converges(
    model: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(model, 1, "ann", "first")
    made = 0
    alias, tag = mlflow.MlflowClient.set_registered_model_alias, mlflow.MlflowClient.set_model_version_tag

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            if made == calls:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", dying(alias))
        patch.setattr(mlflow.MlflowClient, "set_model_version_tag", dying(tag))
        with pytest.raises(KeyboardInterrupt):
            registry.promote(model, 3, "ann", "better")
    assert registry.aliases(model)["champion"] in (1, 3)
    assert registry.promote(model, 3, "ann", "better") == {"name": model, "champion": 3, "previous": 1}


def test_rollback_swaps_champion_and_previous(model: str) -> None:
    registry.promote(model, 1, "ann", "first")
    with pytest.raises(BadInput, match="no previous champion"):
        registry.rollback(model, "bob", "worse in use")
    registry.promote(model, 2, "ann", "better")
    assert registry.rollback(model, "bob", "worse in use") == {"name": model, "champion": 1, "previous": 2}


def test_a_refused_challenger_is_tagged_and_the_champion_stays(model: str) -> None:
    registry.promote(model, 1, "ann", "first")
    assert registry.reject(model, 3, "bob", "worse for women") == {"name": model, "champion": 1, "previous": None}
    tags = registry.versions(model)[0]["tags"]
    assert (tags["ser.review"], tags["ser.reviewer"]) == ("rejected", "bob")
    assert "challenger" not in registry.aliases(model)


def test_what_does_not_exist_is_said(model: str) -> None:
    with pytest.raises(BadInput, match="no version 9; it has: 1, 2, 3"):
        registry.promote(model, 9, "ann", "")
    with pytest.raises(BadInput, match="run ser_study first"):
        registry.aliases("ser-nothing")
