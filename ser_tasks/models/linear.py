"""Linear classifiers over fixed features, whose weights are fitted elsewhere and set here."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ser_tasks.errors import BadInput


class StandardisedLinear(nn.Module):
    """Subtract a mean, divide by a scale, apply one linear layer.

    Args:
        features: So many.
        n_classes: So many.
        limit: Standardised features beyond it count as it, so that none of a clip unlike all that was learnt from
            outweighs the others; None: they count as they are.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, features: int, n_classes: int, limit: float | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("weight", torch.zeros(n_classes, features))
        self.register_buffer("bias", torch.zeros(n_classes))

    def set(self, mean: NDArray[Any], scale: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """Take over fitted values: mean and scale [features], weight [classes, features], bias [classes].

        Raises:
            BadInput: A shape is not the expected one, or a scale is 0.
        """
        for name, value in (("mean", mean), ("scale", scale), ("weight", weight), ("bias", bias)):
            buffer = getattr(self, name)
            if value.shape != tuple(buffer.shape):
                raise BadInput(f"linear classifier: {name} is {value.shape}, expected {tuple(buffer.shape)}")
            buffer.copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))
        if not bool((self.scale > 0).all()):
            raise BadInput("linear classifier: a scale of 0 or less: give constant features a scale of 1")

    def forward(self, features: Tensor) -> Tensor:
        """Logits: float32 [batch, features] -> float32 [batch, classes]."""
        return nn.functional.linear(self.standardised(features), self.weight, self.bias)

    def standardised(self, features: Tensor) -> Tensor:
        """What the linear layer takes: float32 [batch, features] -> float32 [batch, features]."""
        values = (features - self.mean) / self.scale
        return values if self.limit is None else values.clamp(-self.limit, self.limit)
