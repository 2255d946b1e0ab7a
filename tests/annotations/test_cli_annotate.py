"""`ser annotate` against a real object store: tasks out, ratings in, what waits."""

import itertools
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from include.stack.layout import CHECKOUT
from ser_tasks.artifact import artifact_key
from ser_tasks.cli import app
from ser_tasks.config import StudyConfig, load_config
from ser_tasks.corpora.demo import make_demo_corpora
from ser_tasks.errors import BadInput
from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.plan import make_plan
from ser_tasks.running import run_step
from ser_tasks.store import Store

HEAD = "utterance_id,annotator_id,trait,rating,scale,created_at\n"
CONFIG = str(CHECKOUT / "tests" / "configs" / "nights.yaml")


def ser(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["annotate", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """A store with two small corpora."""
    folders = make_demo_corpora(tmp_path / "demo", crema_d_actors=2, ravdess_actors=1, iemocap_sessions=1)
    for name in ("demo_crema_d", "demo_iemocap"):
        for path in sorted(folders[name].rglob("*")):
            if path.is_file():
                store.put(f"raw/{name}/{path.relative_to(folders[name]).as_posix()}", path.read_bytes())
    return store


def test_tasks_go_out_and_an_export_comes_back(filled: Store, tmp_path: Path) -> None:
    ser("export", "--config", CONFIG, "--corpus", "demo_crema_d", "--count", "4", "--target_dir", str(tmp_path))
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert len(tasks) == 4
    assert {task["data"]["speaker_id"] for task in tasks} == {"1001", "1002"}
    with urllib.request.urlopen(tasks[0]["data"]["audio"]) as answer:
        assert answer.read(4) == b"RIFF"
    assert 'name="rudeness"' in (tmp_path / "labels.xml").read_text()
    elsewhere = os.environ["SER_S3_ENDPOINT"].replace("127.0.0.1", "localhost")
    ser("export", "--config", CONFIG, "--count", "1", "--target_dir", str(tmp_path / "2"), "--endpoint", elsewhere)
    (told,) = json.loads((tmp_path / "2" / "tasks.json").read_text())
    assert told["data"]["audio"].startswith(elsewhere)
    with urllib.request.urlopen(told["data"]["audio"]) as answer:  # signed for that address
        assert answer.read(4) == b"RIFF"
    rating = {"from_name": "rudeness", "type": "rating", "value": {"rating": 4}}
    for n, task in enumerate(tasks):
        task["annotations"] = [{"id": n, "completed_by": 1, "created_at": "2026-01-01T00:00:00Z", "result": [rating]}]
    export = tmp_path / "project-1.json"
    export.write_text(json.dumps(tasks))
    first = ser("import", str(export), "--json")
    assert (first["version"], first["counts"]["current"]) == (1, 4)
    assert ser("import", str(export), "--json") == {**first, "new": []}
    assert first["listed"] == []
    other = tmp_path / "late" / "project-1.json"  # the same name, other content: both are kept
    other.parent.mkdir()
    other.write_text(json.dumps(tasks[:1]))
    assert ser("import", str(other), "--json")["counts"]["repeated"] == 1
    assert len(list(filled.list("annotations/incoming/"))) == 2


def test_an_export_asks_the_newest_cnn_about_training_clips_and_leaves_out_speakers_who_test(
    filled: Store, tmp_path: Path
) -> None:
    study = load_config(CONFIG)
    steps = trained(study, filled, tmp_path)
    filled.put("runs/ser_study/one.json", json.dumps({"written_at": "2026-01-01", "steps": steps}).encode())

    def tasks(*options: str) -> list[dict[str, Any]]:
        ser("export", "--config", CONFIG, "--count", "500", "--target_dir", str(tmp_path), *options)
        return [task["data"] for task in json.loads((tmp_path / "tasks.json").read_text())]

    train, test = tasks(), tasks("--corpus", "demo_crema_d", "--evaluation")
    assert {task["speaker_id"] for task in train if task["corpus"] == "demo_crema_d"} == {"1001"}
    assert {task["corpus"] for task in train} == {"demo_crema_d", "demo_iemocap"}
    assert {task["speaker_id"] for task in test} == {"1001", "1002"}
    # All of them would be .5 if nobody had asked:
    assert sum(task["uncertain"] == 0.5 for task in train + test) <= 4  # the middle rank of a role
    assert {0.0, 1.0} <= {task["uncertain"] for task in train}, "ranks among the clips of a role"


def trained(study: StudyConfig, store: Store, tmp_path: Path) -> list[dict[str, Any]]:
    """What a run would have left: a plan, packed corpora, a split in which speaker 1002 tests, and an untrained CNN."""
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "roles.json").write_text(json.dumps({"demo_crema_d": {"1001": "train", "1002": "test"}}))
    spec = ModelSpec("cnn", {"channels": [8, 8, 8, 8]}, list(study.emotion.labels))
    (tmp_path / "cnn").mkdir()
    save_model(tmp_path / "cnn", build_model(spec), spec)
    results = make_plan(study, store, "test")
    for step, name in itertools.product(("scan", "pack"), study.used_corpora):
        results.append(run_step(step, results, name, store, "test"))
    for step, about in (("split", ""), ("train_cnn", "cnn")):
        folder = tmp_path / (about or step)
        ref, _ = store.publish(step, artifact_key(step, 1, {}, {}), folder, {"built_by": "test"})
        results.append({"step": step, "about": about, "ref": str(ref)})
    return results


def test_ratings_of_unknown_clips_wait_until_their_audio_comes(filled: Store, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(HEAD + "new_clip,a1,rudeness,4,1-5,2026-01-01\n1001_DFA_ANG_XX,a1,rudeness,9,1-5,\n")
    assert ser("import", str(path), "--json")["new"] == [{"file": "r.csv", "accepted": 1, "listed": 1}]
    told = ser("status", "--config", CONFIG, "--json")
    assert (told["version"], told["rated"]) == (1, 0)
    assert [(row["utterance_id"], row["file"], row["row"]) for row in told["waiting"]] == [
        ("new_clip", "r.csv", "line 2")
    ]
    clip = next(item["key"] for item in filled.list("raw/demo_crema_d/AudioWAV/1001"))
    filled.put("raw/demo_crema_d/AudioWAV/1003_IEO_HAP_XX.wav", filled.get(clip) or b"")
    more = tmp_path / "s.csv"
    more.write_text(HEAD + "1003_IEO_HAP_XX,a1,rudeness,4,1-5,2026-01-01\n")
    ser("import", str(more), "--json")
    told = ser("status", "--config", CONFIG, "--json")
    assert told["rated"] == 1
    assert len(told["waiting"]) == 1


def test_check_needs_no_store_and_names_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(HEAD + "u,a1,rudeness,4,1-5,\nu,a1,rudeness,six,1-5,\n")
    told = ser("import", str(path), "--check", "--json")[str(path)]
    assert told["accepted"] == 1
    assert told["listed"] == [{"row": "line 3", "reason": "rating 'six' is no number"}]


def test_check_names_the_file_that_cannot_be_read_and_goes_on_with_the_others(tmp_path: Path) -> None:
    bad, good = tmp_path / "a" / "export.json", tmp_path / "b" / "export.csv"
    for path, text in ((bad, '[{"annotation_id": 1, "rudeness": 3}]'), (good, HEAD + "u,a1,rudeness,4,1-5,\n")):
        path.parent.mkdir()
        path.write_text(text)
    done = CliRunner().invoke(app, ["annotate", "import", str(bad), str(good), "--check", "--json"])
    assert isinstance(done.exception, BadInput)
    assert str(done.exception) == f"1 of 2 file(s) cannot be read: {bad}"
    told = json.loads(done.stdout)
    assert told[str(good)]["accepted"] == 1
    assert "export from Label Studio as 'JSON'" in told[str(bad)]["listed"][0]["reason"]


def test_files_of_one_name_are_all_taken_in_and_status_says_why_rows_were_not_accepted(
    store: Store, tmp_path: Path
) -> None:
    paths = [tmp_path / name / "export.csv" for name in "ab"]
    for path, utterance in zip(paths, ("u1", ""), strict=True):
        path.parent.mkdir()
        path.write_text(HEAD + f"{utterance},a1,rudeness,4,1-5,2026-01-01\nu2,{path.parent.name},rudeness,4,1-5,\n")
    told = ser("import", *map(str, paths), "--json")
    assert (len(told["new"]), told["counts"]["current"]) == (2, 3)
    assert [(row["row"], row["reason"]) for row in told["listed"]] == [("line 2", "names no utterance")]
    assert ser("status", "--config", CONFIG, "--json")["listed"] == told["listed"]
    text = ser("status", "--config", CONFIG)
    assert "line 2: names no utterance" in text
    assert "2026-01: alpha unknown, 1 rating(s)" in text
