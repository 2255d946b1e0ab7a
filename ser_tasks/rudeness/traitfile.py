"""A trait direction as two small files that a served model can carry: trait.safetensors and trait.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ser_tasks.errors import BadInput

Floats = npt.NDArray[np.float32]
WEIGHTS, ABOUT = "trait.safetensors", "trait.json"
IN_SAMPLE = "the clips of the fit, scored by a direction that has seen them: new clips lie further inside"
"""What percentiles were among before they were among held-out scores."""


@dataclass(frozen=True)
class TraitVector:
    """A direction with what it takes to score a clip.

    Attributes:
        name: Of the trait.
        layer: Of the encoder, 0 being what enters its first layer.
        pooling: mean | mean and sd, over time.
        vector: float32 [dim], of unit length, in standardised embeddings.
        mean: float32 [dim], of the corpus that it was fitted on.
        scale: float32 [dim], of the same.
        spread: Standard deviation of that corpus's scores before they are divided by it.
        quantiles: float32 [101]: percentiles 0 to 100 of `percentile_of`.
        about: What a reader must know: encoder, corpus, groups, n, AUCs, explained_by;
            percentile_of, which scores percentiles are among;
            front_end, what an encoder hears of a clip.
    """

    name: str
    layer: int
    pooling: str
    vector: Floats
    mean: Floats
    scale: Floats
    spread: float
    quantiles: Floats
    about: dict[str, Any]

    @property
    def percentile_of(self) -> str:
        """Which scores percentiles are among, in words."""
        return str(self.about.get("percentile_of", IN_SAMPLE))

    def take(self, layers: npt.NDArray[np.floating[Any]]) -> Floats:
        """The representation that the direction lies in, [n, dim], from all layers [n, layers, 2 * width].

        Raises:
            BadInput: The layers are not those of the encoder that the direction was fitted on.
        """
        if layers.ndim != 3 or self.layer >= layers.shape[1]:
            raise BadInput(f"trait {self.name}: layer {self.layer} is not among embeddings of shape {layers.shape}")
        return pooled(layers, self.layer, self.pooling)

    def score(self, embeddings: npt.NDArray[np.floating[Any]]) -> Floats:
        """Projection [n] of embeddings [n, dim]: 0 is the mean of the corpus of the fit, 1 its standard deviation.

        Raises:
            BadInput: The embeddings have another width.
        """
        if embeddings.shape[-1] != len(self.vector):
            raise BadInput(
                f"trait {self.name}: embeddings of width {embeddings.shape[-1]}, the direction has {len(self.vector)}: "
                "embed with the encoder that it was fitted on"
            )
        standard = (embeddings.astype(np.float32) - self.mean) / self.scale
        return np.asarray(standard @ self.vector / np.float32(self.spread), dtype=np.float32)

    def percentile(self, score: npt.NDArray[np.floating[Any]]) -> Floats:
        """Share in percent of the scores named by `percentile_of` that lie below, [n]."""
        return np.asarray(np.interp(score, self.quantiles, np.arange(101)), dtype=np.float32)


def pooled(layers: npt.NDArray[np.floating[Any]], layer: int, pooling: str) -> Floats:
    """One layer's means, or means and standard deviations: float32 [n, dim] from [n, layers, 2 * width]."""
    width = layers.shape[2] // 2 if pooling == "mean" else layers.shape[2]
    return np.asarray(layers[:, layer, :width], dtype=np.float32)


def fit_vector(
    name: str,
    layer: int,
    pooling: str,
    embeddings: Floats,
    high: npt.NDArray[np.bool_],
    held_out: Floats,
    about: dict[str, Any],
) -> TraitVector:
    """The difference of means of all clips.

    Args:
        name: Of the trait.
        layer: Of the encoder.
        pooling: mean | mean and sd.
        embeddings: [n, dim].
        high: [n].
        held_out: [n], projections of these clips on directions that were fitted without them, not centred: percentiles
            are among these. Those of the fit itself lie further out than a new clip's will.
        about: As in `TraitVector`.
    """
    mean, scale = embeddings.mean(axis=0), embeddings.std(axis=0) + np.float32(1e-6)
    standard = (embeddings - mean) / scale
    vector = standard[high].mean(axis=0) - standard[~high].mean(axis=0)
    vector = vector / (np.linalg.norm(vector) + 1e-12)
    spread = float((standard @ vector).std()) or 1.0
    quantiles = np.quantile(held_out / spread, np.linspace(0, 1, 101)).astype(np.float32)
    return TraitVector(name, layer, pooling, vector, mean, scale, spread, quantiles, about)


def save_trait(trait: TraitVector, folder: Path) -> None:
    """Write both files, the description last."""
    arrays = {"vector": trait.vector, "mean": trait.mean, "scale": trait.scale, "quantiles": trait.quantiles}
    save_file(
        {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in arrays.items()}, folder / WEIGHTS
    )
    fields = {"name": trait.name, "layer": trait.layer, "pooling": trait.pooling, "spread": trait.spread}
    text = json.dumps(fields | {"about": trait.about}, indent=1, ensure_ascii=False)
    (folder / ABOUT).write_text(text, encoding="utf-8")


def load_trait(folder: Path) -> TraitVector:
    """Read what `save_trait` wrote.

    Raises:
        BadInput: The folder holds no whole trait.
    """
    if not (folder / ABOUT).is_file():
        raise BadInput(f"{folder}: no {ABOUT}: not a trait, or saving it was cut off: fit it again")
    fields = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    try:
        return TraitVector(**fields, **load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, TypeError) as error:
        raise BadInput(f"{folder}: {WEIGHTS} does not fit {ABOUT}: {error}") from error
