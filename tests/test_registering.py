"""A training, or a direction, is registered once, also by a task that is killed between registering and alias."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from ser_tasks.tracking import Training, marks, register_training
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


def test_a_version_that_was_measured_anew_gets_card_tags_and_metrics_and_a_cache_hit_changes_nothing(
    training: Training, mlflow_url: str, seaweedfs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card counts versions that met some of the same test speakers, also where a corpus or speaker came since."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    client = mlflow.MlflowClient()
    client.create_registered_model("ser-renewed")
    for tested in ({"c": ["1", "2"]}, {"c": ["1", "2", "3"], "d": ["1"]}, {"e": ["1", "2"]}):
        other = client.create_run("0").info.run_id
        client.create_model_version("ser-renewed", f"runs:/{other}/model", other, tags={"ser.test": marks(tested)})
    gate = {"verdict": "pass", "sentence": "Passes: it is good.", "criteria": []}
    first = replace(
        training, name="ser-renewed", experiment="ser-renewed", card=replace(training.card, gate=gate),
        tags=training.tags | {"ser.results": "1", "ser.gate_result": "1", "ser.gate": "pass", "git.commit": "a"}
        | {"ser.test": marks({"c": ["2", "4"]})},
    )  # fmt: skip
    known = register_training(first)
    assert known["version"] == 4
    client.delete_registered_model_alias("ser-renewed", "challenger")  # a person refused it
    before = client.get_model_version("ser-renewed", "4")
    later = first.tags | {"ser.run": "later", "git.commit": "b"}
    assert "3 versions of ser-killed so far were measured on these test speakers" in before.description
    assert register_training(replace(first, tags=later)) == {**known, "new": False}
    assert client.get_model_version("ser-renewed", "4").last_updated_timestamp == before.last_updated_timestamp

    gate = {"verdict": "fail", "sentence": "Fails: it is bad.", "criteria": []}
    better = dict(first.metrics[0]) | {"uar": {"value": 0.7, "low": 0.6, "high": 0.8}}
    anew = replace(
        first, metrics=[better], card=replace(first.card, gate=gate, metrics=[better]),
        tags=later | {"ser.results": "2", "ser.gate_result": "2", "ser.gate": "fail"},
    )  # fmt: skip
    assert register_training(anew) == {**known, "new": False}
    version = client.get_model_version("ser-renewed", "4")
    assert "Fails: it is bad." in version.description and "0.700 (0.600 to 0.800)" in version.description
    assert {name: version.tags[name] for name in ("ser.gate", "ser.run", "git.commit")} == {
        "ser.gate": "fail", "ser.run": "later", "git.commit": "a",
    }  # fmt: skip
    run = client.get_run(known["run_id"])
    assert run.data.metrics["within.uar"] == 0.7
    assert run.data.tags["ser.gate"] == "fail"
    assert not client.get_registered_model("ser-renewed").aliases


def test_marks_of_very_many_speakers_fit_a_tag_and_still_meet() -> None:
    many = [str(number) for number in range(5000)]
    one, other = marks({"c": many}), marks({"c": [*many[:4900], "new"]})
    assert len(one) <= 5000
    assert set(one.split()) & set(other.split())


@pytest.fixture
def direction(tmp_path: Path) -> FittedTrait:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("weights")
    evidence = {
        "left_out": {"speakers": {"within_speaker": ESTIMATE}}, "refused": [], "verdict": {"why": "because"},
        "shape": {"verdict": "unknown", "why": "few"},
    }  # fmt: skip
    metrics = {
        "trait": "killed", "auc": {"one_clip": ESTIMATE | {"name": "AUC of one clip of an unknown speaker"}},
        "left_out_together": "speakers", "evidence": evidence, "groups": "rated",
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
