"""Model FLOP utilisation."""

import pytest
import torch

from ser_tasks.training.flops import Flops, _rate_of, peak_rate


def test_operations_of_the_first_batch_are_counted_once_and_scaled() -> None:
    flops = Flops(peak=1e6)
    assert flops.utilisation(100, 1.0) is None
    layer = torch.nn.Linear(10, 20)
    for _ in range(2):
        with flops.counted(samples=50):
            layer(torch.ones(5, 10)).sum().backward()
    # forward 2 * 5 * 10 * 20, and the same for the weights' gradient: for 50 samples
    assert flops.per_sample == pytest.approx(2 * 2 * 5 * 10 * 20 / 50)
    assert flops.utilisation(1000, 2.0) == pytest.approx(80 * 1000 / 2.0 / 1e6)


def test_a_device_is_known_by_whole_words_of_its_name() -> None:
    rates = {"A40": 1.0, "L40S": 2.0, "L4": 3.0, "H100 PCIe": 4.0, "H100": 5.0}
    names = ["NVIDIA L4", "NVIDIA L40S", "NVIDIA RTX A4000", "NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA L40"]
    assert [_rate_of(name, rates) for name in names] == [3.0, 2.0, None, 4.0, 5.0, None]


def test_on_a_cpu_nothing_is_counted() -> None:
    assert peak_rate(torch.device("cpu"), "float32") is None
    flops = Flops(None)
    with flops.counted(10):
        pass
    assert flops.utilisation(10, 1.0) is None
