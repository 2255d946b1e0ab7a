"""The whole study by `dag.test()` on tiny corpora, with a real SeaweedFS and a real MLflow."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import mlflow
import pytest

from include.stack.layout import State
from include.stack.objects import s3_client, upload_folder
from ser_tasks.corpora.demo import make_demo_corpora
from ser_tasks.models.encoders import EncoderShape, load_encoder

RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
dag = DagBag(sys.argv[1]).get_dag(sys.argv[2])
run = dag.test(run_conf=json.loads(sys.argv[3]))
names = lambda ti: f"{ti.task_id}[{ti.map_index}]" if ti.map_index >= 0 else ti.task_id
states = {names(ti): str(ti.state) for ti in run.get_task_instances()}
tries = {names(ti): ti.try_number for ti in run.get_task_instances()}
print(json.dumps({"state": str(run.state), "run_id": run.run_id, "tasks": states, "tries": tries}))
"""


@pytest.fixture(scope="module")
def study_env(
    airflow_env: dict[str, str],
    seaweedfs: dict[str, str],
    mlflow_url: str,
    parts: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Tiny demo corpora in raw/, and the variables of a process that runs DAGs on them."""
    folders = make_demo_corpora(tmp_path_factory.mktemp("demo"), crema_d_actors=5, ravdess_actors=2, iemocap_sessions=3)
    for name, folder in folders.items():
        upload_folder(s3_client(parts[1]), folder, "ser", f"raw/{name}")
    chosen = {
        name: value for name, value in seaweedfs.items() if not name.startswith("AIRFLOW") and name != "SER_CONFIGS"
    }
    return {**airflow_env, **chosen, "SER_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}


def run_dag(env: dict[str, str], dag_id: str, conf: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", RUN, env["AIRFLOW__CORE__DAGS_FOLDER"], dag_id, json.dumps(conf)],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-20000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "log": done.stdout + done.stderr}


def read_json(state: State, key: str) -> Any:
    return json.loads(s3_client(state).get_object(Bucket="ser", Key=key)["Body"].read())


def test_a_study_runs_end_to_end_and_again_from_the_store(
    study_env: dict[str, str], parts: Any, tmp_path: Path
) -> None:
    first = run_dag(study_env, "ser_study", {"config": "tiny"})
    assert first["state"] == "success", first["log"][-20000:]
    assert first["tasks"]["train_probe"] == "skipped"
    several = [name for name in first["tasks"] if name.partition("[")[0] in ("train_seeds", "predict_seeds", "seeds")]
    assert len(several) >= 3 and {first["tasks"][name] for name in several} == {"skipped"}  # one seed
    record = read_json(parts[1], f"runs/ser_study/{first['run_id']}.json")
    summary = record["summary"]
    assert {(row["corpus"], row["relation"]) for row in summary["rows"]} == {
        ("demo_crema_d", "within"),
        ("demo_ravdess", "across"),
    }
    assert len(summary["rows"]) == 6
    assert summary["synthetic"] is True
    assert set(summary["rudeness"]["auc"]) == {"inside_speakers", "one_clip"}
    assert all(0 <= auc["value"] <= 1 for auc in summary["rudeness"]["auc"].values())
    random = [row for row in summary["rows"] if row["model"].startswith("wav2vec2")]
    assert all("randomly initialised" in row["note"] for row in random)
    assert {item["name"] for item in record["registered"]} == {"ser-cnn", "ser-wav2vec2", "ser-trait-rudeness"}
    embedded = [name for name in first["tasks"] if name.startswith("embed[")]
    assert len(embedded) == 4 and all(first["tasks"][name] == "success" for name in embedded)  # 2 corpora, 2 parts
    assert first["tasks"]["transfer[0]"] == "success"
    assert [item["version"] for item in record["registered"]] == [1, 1, 1]  # a try that comes again makes no second

    second = run_dag(study_env, "ser_study", {"config": "tiny"})
    again = read_json(parts[1], f"runs/ser_study/{second['run_id']}.json")
    assert all(step.get("hit", True) for step in again["steps"])
    assert "cache hit, built by ser_study/" in second["log"]
    assert not any(item["new"] for item in again["registered"])
    assert [item["version"] for item in again["registered"]] == [item["version"] for item in record["registered"]]

    changed = run_dag(study_env, "ser_study", {"config": "tiny", "cnn_epochs": 1, "rebuild": ["prosody"]})
    third = read_json(parts[1], f"runs/ser_study/{changed['run_id']}.json")
    rebuilt = {step["step"] for step in third["steps"] if step.get("hit") is False}
    assert "train_cnn" in rebuilt
    assert "prosody" in rebuilt
    assert "train_wav2vec2" not in rebuilt
    assert not {"scan", "split", "pack"} & rebuilt


def test_registered_models_are_found_and_predict(study_env: dict[str, str], mlflow_url: str, tmp_path: Path) -> None:
    program = """
import io, sys, json
import mlflow, numpy, pandas, soundfile
client = mlflow.MlflowClient()
version = client.get_model_version_by_alias("ser-cnn", "challenger")
buffer = io.BytesIO()
soundfile.write(buffer, numpy.random.default_rng(0).normal(0, .1, 22050).astype("float32"), 22050, format="WAV")
model = mlflow.pyfunc.load_model("models:/ser-cnn@challenger")
row = model.predict(pandas.DataFrame({"audio": [buffer.getvalue()]})).iloc[0].to_dict()
run = client.get_run(version.run_id)
print(json.dumps({"row": row, "tags": version.tags, "description": version.description, "metrics": run.data.metrics,
                  "figures": [item.path for item in client.list_artifacts(version.run_id, "figures")],
                  "files": [item.path for item in client.list_artifacts(version.run_id)],
                  "datasets": [item.dataset.name for item in run.inputs.dataset_inputs]}))
"""
    done = subprocess.run([sys.executable, "-c", program], env=study_env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    probabilities = [value for name, value in found["row"].items() if name.startswith("p_")]
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert found["tags"]["ser.data"] == "synthetic"
    for part in (
        "synthetic",
        "## Gate: first",
        "## Intended use",
        "## Calibration",
        "## Slices",
        "## Data",
        "| across |",
    ):
        assert part in found["description"]
    names = {name.partition("-")[0] for name in found["figures"]}
    assert names == {"figures/calibration", "figures/confusion"}, found["figures"]
    assert {"card.md", "config.json"} <= set(found["files"])
    assert found["tags"]["ser.encoder"] == "none" and found["tags"]["ser.corpora"].startswith("demo_crema_d ")
    assert {"within.uar", "across.demo_ravdess.uar"} <= set(found["metrics"])
    assert set(found["datasets"]) == {"demo_crema_d", "demo_ravdess"}


def test_the_trait_runs_alone_takes_what_the_study_made_and_is_served(
    study_env: dict[str, str], parts: Any, tmp_path: Path
) -> None:
    """The demo's IEMOCAP from raw files to the registered direction, and its score for a turn of that corpus."""
    result = run_dag(study_env, "ser_rudeness", {"config": "tiny"})
    assert result["state"] == "success", result["log"][-20000:]
    record = read_json(parts[1], f"runs/ser_rudeness/{result['run_id']}.json")
    built = [step for step in record["steps"] if step.get("hit") is False]
    # nothing of the study is made again but what names its plan's corpora
    assert not {"scan", "pack", "train_cnn", "embed", "embeddings", "prosody", "trait"} & {s["step"] for s in built}
    assert [item["name"] for item in record["registered"]] == ["ser-trait-rudeness"]
    again = run_dag(study_env, "ser_rudeness", {"config": "tiny"})
    twice = read_json(parts[1], f"runs/ser_rudeness/{again['run_id']}.json")["registered"]
    assert [item["version"] for item in twice] == [item["version"] for item in record["registered"]]
    assert not any(item["new"] for item in [*record["registered"], *twice])  # the study registered this direction

    turn = "Ses01F_impro01_F000"
    program = f"""
import json, os, sys
from pathlib import Path
import mlflow, pandas
from ser_tasks.store import Store
store = Store.from_env()
record = json.loads(store.get("runs/ser_rudeness/{result["run_id"]}.json"))
trait = next(step["ref"] for step in record["steps"] if step["step"] == "trait")
version = mlflow.MlflowClient().get_model_version("ser-trait-rudeness", record["registered"][0]["version"])
clip = Path(sys.argv[1]).read_bytes()
model = mlflow.pyfunc.load_model(f"models:/ser-trait-rudeness/{{version.version}}")
row = model.predict(pandas.DataFrame({{"audio": [clip]}})).iloc[0].to_dict()
print(json.dumps({{"row": row, "tags": version.tags, "trait": trait, "description": version.description}}))
"""
    folder = make_demo_corpora(tmp_path, crema_d_actors=1, ravdess_actors=1, iemocap_sessions=1)["demo_iemocap"]
    clip = next(folder.rglob(f"{turn}.wav"))
    done = subprocess.run(
        [sys.executable, "-c", program, clip], env=study_env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tags"]["ser.artifact"] == found["trait"] and found["tags"]["ser.data"] == "synthetic"
    assert "explained by" in found["description"] and "synthetic" in found["description"]
    assert abs(found["row"]["score"]) < 5 and 0 <= found["row"]["percentile"] <= 100
    assert "fitted without its session" in found["row"]["percentile_of"]


def test_a_trait_by_a_pretrained_encoder_trains_nothing(study_env: dict[str, str], parts: Any, tmp_path: Path) -> None:
    shape = EncoderShape(hidden_size=16, layers=1, heads=2, feed_forward_size=16, convolution_channels=8)
    load_encoder(random=shape).model.save_pretrained(tmp_path)
    upload_folder(s3_client(parts[1]), tmp_path, "ser", "encoders/tests--small")
    result = run_dag(study_env, "ser_rudeness", {"config": "trait"})
    assert result["state"] == "success", result["log"][-20000:]
    tasks = result["tasks"]
    assert tasks["split"] == tasks["rows"] == tasks["train"] == "skipped"
    assert tasks["embed[0]"] == tasks["trait"] == tasks["trait_report"] == tasks["register_trait"] == "success"
    record = read_json(parts[1], f"runs/ser_rudeness/{result['run_id']}.json")
    assert {item["about"] for item in record["steps"] if item["step"] == "raw"} == {"demo_iemocap"}
    assert record["registered"][0]["new"]


def test_bad_input_fails_at_once_and_says_what_to_do(study_env: dict[str, str]) -> None:
    result = run_dag(study_env, "ser_study", {"config": "absent"})
    assert result["state"] == "failed"
    assert result["tasks"]["plan"] == "failed"
    assert "nothing lies under raw/absent/" in result["log"]
    assert result["tries"]["plan"] == 1


def test_the_trigger_form_refuses_what_is_out_of_range(study_env: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="'nothing_there' is not one of"):
        run_dag(study_env, "ser_study", {"config": "nothing_there"})
    with pytest.raises(AssertionError, match="less than the minimum"):
        run_dag(study_env, "ser_study", {"config": "tiny", "cnn_epochs": 0})


def test_a_night_without_new_annotations_skips(study_env: dict[str, str]) -> None:
    result = run_dag(study_env, "ser_nightly_retrain", {})
    assert result["state"] == "success"
    assert result["tasks"]["intake"] == "success"
    assert {state for name, state in result["tasks"].items() if name != "intake"} == {"skipped"}
    assert "nothing new since the last night: skipped" in result["log"]


def emodb_archive(folder: Path, archive: Path) -> None:
    """The demo's CREMA-D under EmoDB's names, in one .zip: `03a01Wa.wav`."""
    speakers = ["03", "08", "09", "10", "11"]
    letters = {"ANG": "W", "DIS": "E", "FEA": "A", "HAP": "F", "NEU": "N", "SAD": "T"}
    seen: dict[str, int] = {}
    actors = sorted({path.name[:4] for path in folder.rglob("*.wav")})
    sentences = sorted({path.name.split("_")[1] for path in folder.rglob("*.wav")})
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.wav")):
            actor, sentence, emotion, _ = path.stem.split("_")
            stem = f"{speakers[actors.index(actor)]}a{sentences.index(sentence):02d}{letters[emotion]}"
            version = seen[stem] = seen.get(stem, -1) + 1
            file.write(path, f"wav/{stem}{'abcdef'[version]}.wav")


def test_a_corpus_described_only_by_yaml_trains_from_an_archive(
    study_env: dict[str, str], mlflow_url: str, parts: Any, tmp_path: Path
) -> None:
    folder = make_demo_corpora(tmp_path, crema_d_actors=5, ravdess_actors=1, iemocap_sessions=1)["demo_crema_d"]
    emodb_archive(folder, tmp_path / "emodb.zip")
    upload_folder(s3_client(parts[1]), tmp_path / "emodb.zip", "ser", "raw/emodb")
    result = run_dag(study_env, "ser_study", {"config": "described"})
    assert result["state"] == "success", result["log"][-20000:]
    record = read_json(parts[1], f"runs/ser_study/{result['run_id']}.json")
    summary = record["summary"]
    assert {(row["corpus"], row["speakers"]) for row in summary["rows"]} == {("emodb", 1)}

    # Its configuration asks for two seeds: the first is the model of the rows, and nothing else is registered.
    assert result["tasks"]["train_seeds[0]"] == result["tasks"]["predict_seeds[1]"] == "success"
    (over,) = summary["seeds"]
    assert [(model["model"], model["n"], [one["seed"] for one in model["seeds"]]) for model in over["models"]] == [
        ("cnn", 2, [0, 1]),
        ("wav2vec2", 2, [0, 1]),
    ]
    uars = {row["model"]: row["uar"] for row in summary["rows"]}
    assert all(model["seeds"][0]["uar"] == uars[model["title"]] for model in over["models"])
    study = mlflow.MlflowClient(mlflow_url).get_run(summary["mlflow_run_url"].split("/")[-2]).data
    logged = study.metrics
    assert len(set(study.tags["ser.trainings"].split(","))) == 4  # two models, two seeds each
    cnn = over["models"][0]
    assert (logged["seeds.emodb.cnn.uar_mean"], logged["seeds.emodb.cnn.uar_sd"]) == (cnn["mean"], cnn["sd"])
    assert over["verdict"].startswith("no verdict: one of them is randomly initialised")
    assert [item["name"] for item in record["registered"]] == ["ser-cnn", "ser-wav2vec2"]
    trained = {step["about"]: step["ref"] for step in record["steps"] if step["step"] == "train_cnn"}
    assert len(set(trained.values())) == len(trained) == 2
