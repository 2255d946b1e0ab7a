"""A direction fitted on one corpus, scored on another."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ser_tasks.errors import BadInput
from ser_tasks.rudeness.folds import numbered
from ser_tasks.rudeness.null import estimate, rounded, shuffled
from ser_tasks.rudeness.ranks import draw_clusters, pairs_within
from ser_tasks.rudeness.traitfile import TraitVector


def transfer(
    trait: TraitVector,
    layers: npt.NDArray[np.floating[Any]],
    clips: pd.DataFrame,
    *,
    permutations: int = 300,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score the clips of a corpus that a direction has not seen.

    Args:
        trait: Fitted on another corpus, with the same encoder.
        layers: [n, layers, 2 * width] of the clips.
        clips: n rows: utterance_id, speaker_id, high (bool, None where a clip has no label).
        permutations: Shuffles of labels within speakers.
        resamples: Of speakers.
        seed: Of both.

    Returns:
        Metrics (pooled and within_speaker AUC, each with interval, p and n; None without labels in both groups), and
        the clips with `score` and `percentile` among the held-out scores of the fit. `shift` is the mean score: far
        from 0, the corpora differ in more than the trait, and percentiles mean little.

    Raises:
        BadInput: There is no clip, or the embeddings are another encoder's.
    """
    if not len(clips):
        raise BadInput(f"trait {trait.name}: there is no clip to score")
    score = trait.score(trait.take(layers))
    scored = clips.assign(score=score, percentile=trait.percentile(score))
    metrics: dict[str, Any] = {"trait": trait.name, "fitted_on": trait.about, "shift": round(float(score.mean()), 4)}
    known = clips["high"].notna().to_numpy()
    high = clips["high"][known].to_numpy(dtype=bool)
    if not 0 < high.sum() < len(high):
        return metrics | {"pooled": None, "within_speaker": None}, scored
    speakers = numbered(list(clips["speaker_id"][known]))
    draws = draw_clusters(int(speakers.max()) + 1, resamples, seed)
    labels = shuffled(high, speakers, permutations, seed)
    mine = score[known].astype(np.float64)
    for name, strata in (("pooled", np.zeros_like(speakers)), ("within_speaker", speakers)):
        values = pairs_within(mine, labels, strata).auc()
        within = name == "within_speaker"
        value = estimate(float(values[0]), values[1:], mine, high, speakers, draws, within=within)
        metrics[name] = rounded(value.as_dict()) | {"clips": len(high), "speakers": int(speakers.max()) + 1}
    return metrics, scored
