"""Low-rank adaptation of linear layers (LoRA, Hu et al. 2021, arXiv:2106.09685)."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """A weight plus `scale * up @ down`; `up` starts at 0, so that nothing is changed before training."""

    def __init__(self, outputs: int, inputs: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down)


def add_low_rank(layers: Iterable[nn.Linear], rank: int, alpha: float) -> None:
    """Give each layer's weight a trainable low-rank addition.

    It sits on the weight and not behind the layer, so that it also holds where a model takes `layer.weight` by itself,
    as WavLM's attention does.
    """
    for layer in layers:
        low_rank = LowRank(layer.out_features, layer.in_features, rank, alpha)
        parametrize.register_parametrization(layer, "weight", low_rank)


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights with every low-rank part added to its weight: they fit the same model without such parts.

    `torch.nn.utils.parametrize` can only merge in place, and then spoils every copy of the model.
    """
    weights = model.state_dict()
    for place, module in model.named_modules():
        for number, part in enumerate(module) if isinstance(module, parametrize.ParametrizationList) else ():
            if isinstance(part, LowRank):
                prefix, _, name = place.rpartition(".parametrizations.")
                weights[f"{prefix}.{name}"] = part(weights.pop(f"{place}.original")).detach()
                for leaf in ("up", "down"):
                    del weights[f"{place}.{number}.{leaf}"]
    return weights
