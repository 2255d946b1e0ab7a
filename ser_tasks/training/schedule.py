"""Optimiser and learning rate."""

import math
from typing import Any

import torch
from torch import nn

from ser_tasks.training.options import FitOptions


def make_optimiser(model: nn.Module, options: FitOptions) -> torch.optim.AdamW:
    """AdamW over what is trained, in groups of equal rate and decay; each group knows its highest rate as `peak`.

    A model that has `learning_rate_factor(name)` decides how fast each of its weights learns, against the others of
    its encoder.
    """
    factor: Any = getattr(model, "learning_rate_factor", lambda name: 1.0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = options.learning_rate
            if name.startswith("encoder.") and options.encoder_learning_rate is not None:
                rate = options.encoder_learning_rate
            decay = options.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate * factor(name), decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": held, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), held in groups.items()],
        fused=True,
    )


def restore_optimiser(optimiser: Any, state: dict[str, Any]) -> None:
    """Load an optimiser's state, each moment in the memory layout of its weight.

    A checkpoint holds tensors in plain order; the fused kernel walks weight and moments through memory side by side and
    would mix up those of a weight that lies in another order (channels last).
    """
    optimiser.load_state_dict(state)
    for parameter, held in optimiser.state.items():
        for name, value in held.items():
            if value.shape == parameter.shape:
                held[name] = torch.empty_like(parameter).copy_(value)


def rate_factor(progress: float, warmup: float) -> float:
    """Part of the highest rate, `progress` in (0, 1) being the part of the training that is done."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
