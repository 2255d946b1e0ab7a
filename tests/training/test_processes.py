"""Several processes train one model together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from include.stack.objects import upload_folder
from ser_tasks.config import load_config
from ser_tasks.corpora.demo import make_demo_corpora
from ser_tasks.errors import BadInput
from ser_tasks.plan import make_plan
from ser_tasks.processes import wanted_processes
from ser_tasks.running import run_step
from ser_tasks.store import Store
from tests.training.together import SPECS, train


def test_two_processes_reach_what_one_with_the_same_batches_reaches(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_LIVE_DIR", str(tmp_path / "live"))
    launched = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "tests.training.together", "1",
        ],
        env=dict(os.environ), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr[:6000]
    refs = [line.removeprefix("ref ") for line in launched.stdout.splitlines() if line.startswith("ref ")]
    assert len(refs) == 4, "both processes give the reference of either model"
    assert len(set(refs)) == 2, "and the same one: one of them publishes"
    by_name = {store.manifest(*ref.split("/")[:2])["params"]["architecture"]: ref for ref in refs}  # type: ignore[index]
    for name in SPECS:
        together = load_file(store.fetch(by_name[name], tmp_path / f"{name}2") / "model.safetensors")
        alone = load_file(store.fetch(train(name, 2, store), tmp_path / f"{name}1") / "model.safetensors")
        assert together.keys() == alone.keys()
        for key, tensor in alone.items():
            # statistics of batch norms are averages over processes there, of one piece after the other here
            tolerance = 0.2 if "running" in key else 1e-4
            if tensor.is_floating_point():
                assert torch.allclose(together[key], tensor, atol=tolerance, rtol=tolerance), f"{name}: {key}"
    assert not list(store.list("checkpoints/"))
    assert len(list((tmp_path / "live").glob("cnn-*.jsonl"))) == 2, "one file a training, by the first process"


CONFIGS = Path(__file__).parents[1] / "configs"


def same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        if tensor.is_floating_point() and "running" not in key:  # of batch norms: averages over processes
            assert torch.allclose(tensor, theirs[key], atol=1e-3, rtol=1e-3), key


@pytest.mark.prove
def test_ser_train_with_two_processes_gives_the_model_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_CACHE_DIR", str(tmp_path / "cache"))
    corpus = make_demo_corpora(tmp_path, crema_d_actors=5, ravdess_actors=1, iemocap_sessions=1)["demo_crema_d"]
    ser = [sys.executable, "-m", "ser_tasks.cli"]
    split = [
        *ser,
        "split",
        "--source_dir",
        corpus,
        "--target_dir",
        tmp_path / "data",
        "--config",
        CONFIGS / "tiny.yaml",
    ]
    subprocess.run(split, check=True, capture_output=True)
    train = [*ser, "train", "--data_root", tmp_path / "data", "--epochs", "1", "--model", "wav2vec2"]
    study = json.loads((tmp_path / "data" / "study.json").read_text())
    for processes in (1, 2):  # either way a batch is taken in two pieces, each with its own dropout
        study["wav2vec2"]["fit"] |= {"accumulate": 2 // processes, "precision": "float32"}
        (tmp_path / "data" / "study.json").write_text(json.dumps(study))
        out = tmp_path / f"by{processes}"
        done = subprocess.run(
            [*train, "--out_dir", out, "--processes", str(processes)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("model in") == 1
        assert {path.name for path in out.iterdir()} == {"model.json", "model.safetensors", "history.jsonl"}
    same_weights(tmp_path / "by1", tmp_path / "by2")
    assert not list((tmp_path / "cache" / "checkpoints").glob("*/epoch-*"))
    assert not list(tmp_path.glob(".by*")), "no half result is left beside it"


@pytest.mark.prove
def test_a_worker_may_train_a_step_in_two_processes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_LIVE_DIR", str(tmp_path / "live"))
    folders = make_demo_corpora(tmp_path, crema_d_actors=5, ravdess_actors=1, iemocap_sessions=1)
    config = load_config(CONFIGS / "tiny.yaml", {"cnn.fit.epochs": 1, "emotion.across": []})
    for name in config.used_corpora:
        upload_folder(store.client, folders[name], store.bucket, f"raw/{name}")
    given = make_plan(config, store, "test")
    corpus = config.emotion.train_corpus
    for name, about in (("scan", corpus), ("pack", corpus), ("split", ""), ("rows", "fit")):
        given.append(run_step(name, given, about, store, "test"))
    monkeypatch.setenv("SER_TRAIN_PROCESSES", "2")
    result = run_step("train_cnn", given, "cnn", store, "test")
    assert not result["hit"]
    assert (store.fetch(result["ref"], tmp_path / "model") / "model.json").is_file()
    assert run_step("train_cnn", given, "cnn", store, "test")["hit"]
    assert not [*store.list("checkpoints/"), *store.list("leases/")]
    broken = [item for item in given if item["step"] != "rows"]
    rows = run_step("rows", given, "gate", store, "test")
    with pytest.raises(BadInput, match=r"no clips|train"):
        run_step("train_cnn", [*broken, {**rows, "about": "fit"}], "cnn", store, "test")


def test_a_number_of_processes_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_TRAIN_PROCESSES", "all")
    with pytest.raises(BadInput, match="SER_TRAIN_PROCESSES is 'all'"):
        wanted_processes()
    monkeypatch.setenv("SER_TRAIN_PROCESSES", "4")
    assert wanted_processes() == 4
    monkeypatch.setenv("RANK", "1")
    assert wanted_processes() == 1, "one of several starts no others"
