"""The goals on a GPU, and that the script which measures them runs at all."""

from typing import Any

import pytest
import torch

from tests.gpu.throughput import measure


def best(lines: list[dict[str, Any]], benchmark: str, figure: str) -> float:
    return max(line[figure] or 0.0 for line in lines if line["benchmark"] == benchmark)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
def test_training_on_a_gpu_reaches_its_goals() -> None:
    lines = measure(tiny=False)
    assert best(lines, "gpu_train_wav2vec2", "ratio_to_trainer_fp32") >= 3
    assert best(lines, "gpu_train_wav2vec2", "ratio_to_trainer_bf16") >= 2
    assert best(lines, "gpu_train_wav2vec2", "flop_utilisation") >= 0.4
    assert best(lines, "gpu_train_cnn", "utterances_per_s") >= 20_000


def test_the_script_runs_on_a_cpu() -> None:
    lines = measure(tiny=True)
    assert [line["side"] for line in lines] == [
        "plain", "ours", "ours, cached features", "Trainer fp32", "Trainer bf16",
    ]  # fmt: skip
    assert all(line.get("audio_seconds_per_s", 1) > 0 for line in lines)
