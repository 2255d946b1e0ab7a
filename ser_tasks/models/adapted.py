"""A second head, for clips that are compared with others of their speaker or corpus instead of with training's.

Its embeddings have the mean and the spread of their group, which are taken from unlabelled clips. So what is the same
in all clips of a speaker or of a corpus (voice, microphone, room, language) is taken out, and what differs from clip to
clip is left. That supposes that the groups' clips cover the emotions alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ser_tasks.errors import BadInput

FEWEST_CLIPS = 10
"""Of a group: mean and spread of fewer say little."""
NOT_CALIBRATED = "not calibrated: no temperature was fitted when it was trained; train it again"
_FILE = "adapted.safetensors"
_ALIKE = 1e-4  # dividing by less would make rounding as large as speech


@dataclass(frozen=True)
class AdaptedHead:
    """A linear classifier of embeddings that were standardised by group.

    Attributes:
        weight: float32 [classes, dim].
        bias: float32 [classes].
        temperature: float32 [1], by which weight and bias are divided already; None: no temperature was fitted.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: NDArray[np.float32] | None = None

    @property
    def calibration(self) -> str:
        """What is to be known of its probabilities."""
        if self.temperature is None:
            return NOT_CALIBRATED
        if float(self.temperature[0]) == 1:
            return "not scaled: it is right on all dev clips, which fit no temperature"
        return f"scaled by temperature {float(self.temperature[0]):.2f}, fitted on dev clips standardised by speaker"

    def probabilities(self, embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of standardised embeddings [clips, dim]: float64 [clips, classes]; NaN where they are."""
        logits = embeddings @ self.weight.T.astype(np.float64) + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def standardised(
    embeddings: NDArray[np.floating], groups: Sequence[str], reference: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Subtract the mean of a clip's group and divide by its standard deviation, dimension by dimension.

    Args:
        embeddings: [clips, dim].
        groups: Of each clip.
        reference: bool [clips], whose mean and spread are taken; None: all clips'.

    Returns:
        float64 [clips, dim]; NaN for clips of groups with fewer than `FEWEST_CLIPS` to take them from.
    """
    values = np.asarray(embeddings, dtype=np.float64)
    members = np.asarray(groups, dtype=object)
    taken = np.ones(len(values), dtype=bool) if reference is None else reference
    found = np.full_like(values, np.nan)
    for group in dict.fromkeys(groups):
        own = members == group
        if (of := values[own & taken]).shape[0] >= FEWEST_CLIPS:
            found[own] = (values[own] - of.mean(axis=0)) / spread(of)
    return found


def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of each column of values [clips, dim]; 1 where they are all alike, but for rounding."""
    found = values.std(axis=0)
    return np.asarray(np.where(found > _ALIKE, found, 1.0))


def save_adapted(folder: Path, head: AdaptedHead) -> None:
    """Write the head beside a model."""
    tensors = {"weight": head.weight, "bias": head.bias}
    save_file(tensors | ({} if head.temperature is None else {"temperature": head.temperature}), folder / _FILE)


def load_adapted(folder: Path) -> AdaptedHead | None:
    """The head beside a model; None where it was trained before there were any, or on too few clips a speaker.

    Raises:
        BadInput: The file is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        return AdaptedHead(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:
        raise BadInput(f"{path}: not a head for adapted embeddings: {error}: train the model again") from error
