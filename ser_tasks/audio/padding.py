"""Clips of unequal lengths in one batch: which frames are real, and how wide a batch is."""

import torch
from torch import Tensor

_WIDTH = 4_000  # kernels are made anew for every new shape of a batch


def frame_mask(counts: Tensor, frames: int) -> Tensor:
    """True where a frame is real. counts int64 [batch] -> bool [batch, frames]."""
    return torch.arange(frames, device=counts.device) < counts[:, None]


def padded_width(samples: int) -> int:
    """Samples that a batch is padded to whose longest clip has so many: a quarter of a second more at most."""
    return -(-samples // _WIDTH) * _WIDTH


def is_recorded() -> bool:
    """Whether a graph is being recorded (export, torch.compile): it must hold for clips of every length."""
    # torch types neither: is_tracing is missing from its stubs, is_compiling has no annotation
    return bool(torch.compiler.is_compiling() or torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]
