"""`ser annotate` against a real object store: tasks out, ratings in, what waits."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from include.stack.layout import CHECKOUT
from ser_tasks.cli import app
from ser_tasks.corpora.demo import make_demo_corpora
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
    rating = {"from_name": "rudeness", "type": "rating", "value": {"rating": 4}}
    for n, task in enumerate(tasks):
        task["annotations"] = [{"id": n, "completed_by": 1, "created_at": "2026-01-01T00:00:00Z", "result": [rating]}]
    export = tmp_path / "project-1.json"
    export.write_text(json.dumps(tasks))
    first = ser("import", str(export), "--json")
    assert (first["version"], first["counts"]["current"]) == (1, 4)
    assert ser("import", str(export), "--json") == {**first, "new": []}
    other = tmp_path / "late" / "project-1.json"  # the same name, other content: both are kept
    other.parent.mkdir()
    other.write_text(json.dumps(tasks[:1]))
    assert ser("import", str(other), "--json")["counts"]["repeated"] == 1
    assert len(list(filled.list("annotations/incoming/"))) == 2


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
    told = ser("import", str(path), "--check", "--json")["r.csv"]
    assert told["accepted"] == 1
    assert told["listed"] == [{"row": "line 3", "reason": "rating 'six' is no number"}]
