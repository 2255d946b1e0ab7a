"""A direction with its encoder: audio in, score and percentile out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ser_tasks.audio.decode import decode, to_int16
from ser_tasks.models.encoder import Encoder
from ser_tasks.models.encoders import load_encoder
from ser_tasks.models.files import load_model
from ser_tasks.rudeness.embeddings import layer_function
from ser_tasks.rudeness.traitfile import TraitVector, load_trait


def load_embedder(folder: Path) -> nn.Module:
    """A trained model's folder (model.json), or a pretrained encoder's (config.json)."""
    return load_model(folder)[0] if (folder / "model.json").is_file() else load_encoder(folder)


@dataclass(frozen=True)
class Scorer:
    """Scores clips one by one, as the step `embed` and the direction would score them together."""

    trait: TraitVector
    layers: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def load(cls, trait: Path, encoder: Path) -> "Scorer":
        """From the trait's folder and the folder of the encoder or model that it was fitted with."""
        direction, embedder = load_trait(trait), load_embedder(encoder).eval()
        if isinstance(embedder, Encoder):  # a trained model knows its own front end
            embedder.hear(direction.about.get("front_end", "whole"))  # directions had none before there was a choice
        return cls(direction, layer_function(embedder))

    @torch.inference_mode()
    def score(self, source: Path | bytes) -> dict[str, float | str]:
        """Score one audio file, or its bytes.

        Returns:
            score: 0 is the mean of the corpus of the fit, 1 its standard deviation. percentile: share in percent of
            the scores named by percentile_of that lie below.

        Raises:
            BadInput: It is no audio that can be used, or the encoder is not the one of the fit.
        """
        # 16 bits and float16, as clips are packed and embeddings are stored: a clip gets the score that it had there
        samples = torch.from_numpy(to_int16(decode(source).samples)).float()[None] / 32768
        values = self.layers(samples, torch.tensor([samples.shape[1]])).half().float().numpy()
        score = self.trait.score(self.trait.take(values))
        percentile = float(self.trait.percentile(score)[0])
        return {"score": float(score[0]), "percentile": percentile, "percentile_of": self.trait.percentile_of}
