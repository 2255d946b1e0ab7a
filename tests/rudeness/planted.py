"""Corpora of embeddings with a known direction in them, and with known reasons for it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.rudeness.evidence import Evidence, Options, examine
from ser_tasks.rudeness.folds import Layers

EMOTIONS = ("angry", "happy", "neutral", "sad")


@dataclass(frozen=True)
class Planted:
    """A corpus with three layers, the direction in the second."""

    layers: list[np.ndarray]
    clips: pd.DataFrame
    vector: np.ndarray
    ratings: pd.DataFrame

    def examined(self, **options: Any) -> Evidence:
        named = Layers(["layer 0", "layer 1", "layer 2"], lambda i: self.layers[i])
        chosen = Options(**{"permutations": 99, "resamples": 300, "seed": 0} | options)
        ratings = None if chosen.stand_in else self.ratings
        return examine(named, self.clips, ["rms_db", "level_sd_db", "f0_hz"], ratings, chosen)


def plant(
    cause: str = "trait",
    strength: float = 1.5,
    *,
    response: str = "linear",
    other: float = 0.0,
    clips: int = 480,
    speakers: int = 10,
    dim: int = 32,
    seed: int = 0,
) -> Planted:
    """Embeddings = what a speaker sounds like + noise of SD 1 + `strength` x cause x a unit vector, in layer 1.

    Args:
        cause: trait (rudeness itself), loudness, speaker, anger (rudeness follows it, the embedding too), trait and
            loudness (both follow both), or nothing.
        strength: Of the direction.
        response: How the embedding follows loudness: linear, quadratic (a second dimension follows its square),
            saturating (each dimension by a tanh of its own threshold, width and sign), interacting (the more, the more
            the level varies inside the clip, and the louder the speaker is).
        other: SD of what raters hear besides, and embeddings do not: takes the cause alone away from AUC 1.
        clips: In all.
        speakers: Two share a session.
        dim: Of a layer.
        seed: Of everything.
    """
    draw = np.random.default_rng(seed)
    vector = draw.normal(size=dim)
    vector /= np.linalg.norm(vector)
    speaker = np.arange(clips) % speakers
    emotion = draw.integers(len(EMOTIONS), size=clips)
    loudness = draw.normal(size=clips)
    rude_speaker = np.linspace(-2, 2, speakers)[draw.permutation(speakers)]
    level = {
        "trait": draw.normal(size=clips),
        "nothing": draw.normal(size=clips),
        "loudness": loudness,
        "trait and loudness": loudness,
        "speaker": rude_speaker[speaker],
        "anger": 2.0 * (emotion == 0) - 0.5,
    }[cause]
    more = np.random.default_rng([seed, 1])
    own_level, level_sd = more.normal(size=speakers)[speaker], more.normal(size=clips)
    heard = level + other * more.normal(size=clips)
    itself = more.normal(size=clips)
    if cause == "trait and loudness":
        heard = heard + itself
    annotators = [np.clip(np.round(3 + heard + 0.5 * draw.normal(size=clips)), 1, 5) for _ in range(3)]
    rating = np.mean(annotators, axis=0)
    layers = [draw.normal(size=(clips, dim)) + draw.normal(size=(speakers, dim))[speaker] for _ in range(3)]
    if cause != "nothing":
        # the trait itself is in the embedding as the annotators hear it, a confound as it is
        carried = (rating > 3) - 0.5 if cause == "trait" else level / level.std()
        layers[1] += strength * _answer(response, carried, level_sd, own_level, vector, more)
    if cause == "trait and loudness":
        layers[1] += strength * np.outer(itself, np.roll(vector, 1))
    measured = 0.5 if response == "linear" else 0.0  # what no measure of level can take out
    ids = [f"u{i:04d}" for i in range(clips)]
    frame = pd.DataFrame(
        {
            "utterance_id": ids,
            "speaker_id": [f"s{s}" for s in speaker],
            "session": [f"session{s // 2}" for s in speaker],
            "dialog": [f"d{i // 20}" for i in range(clips)],
            "emotion": np.array(EMOTIONS)[emotion],
            "rating": rating,
            "high": rating > 3,
            "valence": np.nan,
            "activation": np.clip(3 + (emotion < 2) + draw.normal(size=clips), 1, 5),
            "dominance": np.nan,
            "rms_db": -30
            + 5 * (loudness + (own_level if response != "linear" else 0))
            + measured * draw.normal(size=clips),
            "level_sd_db": level_sd if response == "interacting" else draw.normal(size=clips),
            "f0_hz": 150 + 20 * draw.normal(size=clips),
        }
    )
    ratings = pd.concat(
        [pd.DataFrame({"utterance_id": ids, "annotator_id": f"a{k}", "rating": r}) for k, r in enumerate(annotators)]
    )
    return Planted([layer.astype(np.float32) for layer in layers], frame, vector, ratings)


def _answer(
    response: str,
    carried: np.ndarray,
    level_sd: np.ndarray,
    own_level: np.ndarray,
    vector: np.ndarray,
    draw: np.random.Generator,
) -> np.ndarray:
    """What a cause [clips] adds to embeddings [clips, dim] for a strength of 1."""
    if response == "linear":
        return np.outer(carried, vector)
    absolute = carried + own_level
    if response == "quadratic":
        return np.outer(absolute, vector) + np.outer(absolute**2, np.roll(vector, 1)) / 2
    if response == "interacting":
        return np.outer(carried * (1 + level_sd / 2 + own_level / 2), vector)
    dim = len(vector)
    reach = (absolute[:, None] - draw.uniform(-2, 2, dim)) / draw.uniform(0.2, 1, dim)
    return np.asarray(np.tanh(reach) * draw.choice([-1, 1], dim) / 2)
