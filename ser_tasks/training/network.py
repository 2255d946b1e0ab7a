"""A model as the loop calls it: one `forward` for labels, tone and cached features."""

from typing import Any

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Wraps a model so that whatever is asked of it goes through `forward`, where precision and processes hook in.

    Args:
        model: Gives logits for (waveforms, lengths). With a head for a social tone, `tone_head` is not None and
            `forward_with_tone` gives (logits, tone [batch]).
        cached: It is called with what `features` gave in place of waveforms: `forward_features` takes that.
    """

    def __init__(self, model: nn.Module, *, cached: bool) -> None:
        super().__init__()
        self.model = model
        self.cached = cached
        self.has_tone = getattr(model, "tone_head", None) is not None

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [batch, classes], and tone [batch] or None."""
        model: Any = self.model
        if self.has_tone:
            both = model.forward_features_with_tone if self.cached else model.forward_with_tone
            return both(inputs, lengths)  # type: ignore[no-any-return]
        return (model.forward_features if self.cached else model)(inputs, lengths), None


def compile_layers(model: nn.Module) -> None:
    """Compile the layers of every stack for all lengths at once.

    Layers that are alike share their code; whole networks, with their masks and random stretches, do not compile for
    lengths that change.
    """
    for stack in model.modules():
        if isinstance(stack, nn.ModuleList):
            for layer in stack:
                layer.compile(dynamic=True)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
