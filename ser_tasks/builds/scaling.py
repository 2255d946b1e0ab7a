"""The temperature of a model: fitted to its dev clips when its training ends, and from then on a part of its weights.

Temperature scaling (Guo et al. 2017, doi 10.48550/arXiv.1706.04599) divides logits by one number. Here the weights of
the last layer are divided by it, so that whatever computes with the model has scaled logits: predictions, served
models, exports, reports. `model.json` keeps the number; the logits before it are those of the model times it.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ser_tasks.evaluation.calibration import temperature_on_dev
from ser_tasks.models.adapted import AdaptedHead
from ser_tasks.models.files import ModelSpec


def scale_model(
    model: Any, spec: ModelSpec, probabilities: NDArray[np.floating], target: NDArray[np.int64]
) -> ModelSpec:
    """Divide a model's logits by the temperature that suits its dev clips; which label comes first stays.

    Args:
        model: Of `build_model`, trained; its last layer is changed.
        spec: Of the model.
        probabilities: [clips, classes] of the dev clips.
        target: int64 [clips].

    Returns:
        The spec with the temperature; as it was where there is no dev clip.
    """
    if not len(target):
        return spec
    temperature = temperature_on_dev(np.asarray(probabilities, dtype=np.float64), target)
    last = model.classifier if hasattr(model, "classifier") else model.linear
    with torch.no_grad():
        last.weight.div_(temperature)
        last.bias.div_(temperature)
    return replace(spec, temperature=temperature, temperature_clips=len(target))


def scaled_head(head: AdaptedHead, standard: NDArray[np.float64], target: NDArray[np.int64]) -> AdaptedHead:
    """The head for adapted embeddings with a temperature of its own, fitted to dev clips in the same way.

    Args:
        head: As it was fitted.
        standard: Standardised embeddings of the dev clips, [clips, dim].
        target: int64 [clips].
    """
    temperature = temperature_on_dev(head.probabilities(standard), target)
    values = {"weight": head.weight, "bias": head.bias}
    scaled = {name: np.asarray(value / temperature, dtype=np.float32) for name, value in values.items()}
    return AdaptedHead(**scaled, temperature=np.float32(temperature).reshape(1))
