"""Several processes train one model together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

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
