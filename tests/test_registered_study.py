"""A study without Airflow, from uploads to a registered version, again and again: what the version says each time."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow.exceptions import MlflowException

from include.stack.objects import upload_folder
from ser_tasks import promotion, registry
from ser_tasks.corpora.demo import make_demo_corpora
from ser_tasks.records import plan_study, register
from ser_tasks.running import run_step
from ser_tasks.store import Store

CORPORA = ("demo_crema_d", "demo_ravdess")
TINY = yaml.safe_load(Path(__file__).with_name("configs").joinpath("tiny.yaml").read_text())
SPEAKERS = {"train": ["1001", "1002"], "dev": ["1003"], "gate": ["1004"], "test": ["1005"]}
MODEL = "ser-cnn"


def config(folder: Path, **changes: Any) -> str:
    tiny = {key: value for key, value in TINY.items() if key != "trait"}
    tiny["split"] = {"policy": "speakers", "speakers": SPEAKERS}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tiny | changes))
    return str(path)


def studied(store: Store, config: str, by: str) -> dict[str, Any]:
    planned = plan_study(config, {}, [], store, by)
    given, pairs = planned["results"], planned["pairs"]
    for step, about in [
        *((step, corpus) for step in ("scan", "pack") for corpus in planned["corpora"]),
        ("split", ""), ("rows", "fit"), ("rows", "gate"), *([("spectra", "")] if len(planned["corpora"]) > 1 else []),
        *((f"train_{model}", model) for model in ("baseline", "cnn", "wav2vec2")),
        *((step, pair) for step in ("predict", "evaluate") for pair in pairs),
        ("figures", ""), ("harm", "cnn"), ("gate", "cnn"),
    ]:  # fmt: skip
        given.append(run_step(step, given, about, store, by))
    return register("cnn", given, store, by)


@pytest.mark.prove
def test_a_version_says_what_the_newest_study_of_its_training_found(
    make_store: Callable[[], Store], mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    client = mlflow.MlflowClient()
    with suppress(MlflowException):
        client.delete_registered_model(MODEL)
    folders = make_demo_corpora(tmp_path / "demo", crema_d_actors=5, ravdess_actors=2, iemocap_sessions=1)
    for corpus in CORPORA:
        upload_folder(store.client, folders[corpus], store.bucket, f"raw/{corpus}")

    within = {key: TINY["emotion"][key] for key in ("train_corpus", "labels")}
    first = studied(store, config(tmp_path, emotion=within), "ser_study/1")
    assert (first["version"], first["new"], first["gate"]) == (1, True, "first")
    card = registry.card(MODEL, 1)
    assert "There is no champion yet" in card
    assert "1 version of ser-cnn so far was measured" in card
    registry.promote(MODEL, 1, "ann", "first")

    # The gate compares it with itself now: nothing of it changes.
    tags = registry.tags_of(MODEL, 1)
    again = studied(store, config(tmp_path, emotion=within), "ser_study/2")
    assert (again["version"], again["new"]) == (1, False)
    assert (registry.tags_of(MODEL, 1), registry.card(MODEL, 1)) == (tags, card)

    # Another test corpus: the figures are new, the verdict under which it became champion stays.
    again = studied(store, config(tmp_path), "ser_study/3")
    assert (again["version"], again["new"]) == (1, False)
    anew = registry.tags_of(MODEL, 1)
    changed = {"ser.run", "ser.airflow", "ser.plan", "ser.results", "ser.corpora", "ser.test", "ser.evaluation"}
    assert {name for name in tags if tags[name] != anew[name]} == changed
    assert "across.demo_ravdess.uar" in registry.metrics_of(MODEL, 1)
    card = registry.card(MODEL, 1)
    assert "| demo_ravdess | across |" in card and "There is no champion yet" in card

    # Another split: the champion has learnt from today's gate speaker, who is one of too few anyway.
    swapped = SPEAKERS | {"train": ["1001", "1004"], "gate": ["1002"]}
    other = config(tmp_path, split={"policy": "speakers", "speakers": swapped})
    second = studied(store, other, "ser_study/4")
    assert (second["version"], second["new"], second["gate"]) == (2, True, "undecided")
    card = registry.card(MODEL, 2)
    print(card)
    assert "the champion has learnt from 1 of the gate speakers (1002)" in card
    assert "Difference to the champion, version 1: UAR on gate" in card
    assert "Reported, not decided on: UAR difference on the test speakers of demo_crema_d (1)" in card
    assert "2 versions of ser-cnn so far were measured" in card
    asked = promotion.offers([second], automatic=False)
    assert [item["conf"]["version"] for item in asked] == [2]
    assert asked[0]["trigger_run_id"].endswith(registry.tags_of(MODEL, 2)["ser.gate_result"][:6])
    assert json.loads(json.dumps(promotion.prepare(MODEL, 2, "ask", True, "ann", "run 1")))["decision"] == "ask"
    client.delete_registered_model(MODEL)
