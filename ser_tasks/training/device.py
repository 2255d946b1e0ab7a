"""Where a network computes, with how many bits, and in how many processes."""

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from ser_tasks.errors import BadInput

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bf16"]


def choose_device(name: str) -> torch.device:
    """Resolve auto | cpu | cuda; auto takes a GPU where there is one.

    Raises:
        BadInput: CUDA is asked for and absent, or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise BadInput(f"device '{name}': known are auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("device 'cuda': torch finds no GPU here: choose auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Context in which a forward pass runs in bfloat16 where that is asked for; auto: where the device has it.

    Raises:
        BadInput: The precision is unknown.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=wants_bf16(device, precision))


def wants_bf16(device: torch.device, precision: str) -> bool:
    """Whether auto | float32 | bf16 comes to bfloat16 on this device.

    Raises:
        BadInput: The precision is unknown.
    """
    if precision not in ("auto", "float32", "bf16"):
        raise BadInput(f"precision '{precision}': known are auto, float32, bf16")
    return precision == "bf16" or (precision == "auto" and has_bf16(device))


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is quick on the device, not merely possible."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))


def make_accelerator(device: str, precision: str) -> Any:
    """An `accelerate.Accelerator`: device, precision, and the processes that torchrun or `accelerate launch` started.

    Several processes split every batch among them; each computes on its own GPU, or on the CPU through gloo.

    Raises:
        BadInput: See `choose_device` and `autocast`.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    place = choose_device(device)
    bf16 = wants_bf16(place, precision)
    # accelerate keeps the first Accelerator's device and precision for the life of the process; here two trainings of
    # one process may differ in them
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=place.type == "cpu",
        mixed_precision="bf16" if bf16 else "no",
        # statistics of batch norms are averaged after each epoch
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
