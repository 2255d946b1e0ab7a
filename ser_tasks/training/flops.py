"""Model FLOP utilisation: floating-point operations that the model needs, against what the GPU could do.

As PaLM's appendix B has it (Chowdhery et al. 2022, arXiv:2204.02311): the forward and the backward pass count, and a
multiply-add is two operations. With gradient checkpointing what is computed twice is counted twice, which PaLM leaves
out: the figure then is the hardware's utilisation.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode

from ser_tasks.training.device import wants_bf16

_DENSE_BF16 = {
    "H200": 989e12, "H100 NVL": 835e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "A10G": 70e12,
    "A10": 125e12, "A40": 150e12, "A6000": 155e12, "L40S": 362e12, "L40": 181e12, "L4": 121e12, "RTX 4090": 165e12,
    "RTX 3090": 71e12, "V100": 125e12, "T4": 65e12,
}  # fmt: skip
"""Greatest dense rate of the tensor cores in 16 bits, operations a second, by a part of the device's name (data
sheets)."""
_FLOAT32 = {"H200": 67e12, "H100 PCIe": 51e12, "H100": 67e12, "A100": 19.5e12, "A10": 31.2e12, "L4": 30.3e12}
"""The same in float32 without TF32."""


def peak_rate(device: torch.device, precision: str) -> float | None:
    """Greatest rate of a GPU in operations a second; None on a CPU and where the data sheet is not known here."""
    if device.type != "cuda":
        return None
    rates = _DENSE_BF16 if wants_bf16(device, precision) else _FLOAT32
    name = torch.cuda.get_device_name(device)
    return _rate_of(name, rates)


def _rate_of(name: str, rates: Mapping[str, float]) -> float | None:
    """The first rate whose part is in the name as whole words: an L4 is no L40S."""
    return next((rate for part, rate in rates.items() if re.search(rf"\b{part}\b", name)), None)


class Flops:
    """Counts the operations of the first batch and scales them to the others by their padded audio.

    With several processes each counts what it does itself, over all samples: the utilisation is that of one GPU.

    Args:
        peak: Greatest rate of the device, operations a second; None: nothing is counted.
    """

    def __init__(self, peak: float | None) -> None:
        self.peak = peak
        self.per_sample: float | None = None  # operations for one padded sample of audio

    @contextmanager
    def counted(self, samples: int) -> Iterator[None]:
        """Run a training step over `samples` padded samples; its operations are counted if it is the first."""
        if self.peak is None or self.per_sample is not None:
            yield
            return
        # compiled code would not be seen, and under the counter torch would give up compiling for good
        with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
            yield
        self.per_sample = counter.get_total_flops() / samples

    def utilisation(self, samples: int, seconds: float) -> float | None:
        """Part of the peak that was reached over so many padded samples; None where nothing is counted."""
        if self.peak is None or self.per_sample is None:
            return None
        return self.per_sample * samples / seconds / self.peak
