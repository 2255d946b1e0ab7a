"""Which clips an annotator should hear first: those that would teach most."""

import numpy as np
import pandas as pd

from ser_tasks.annotations.labelstudio import EMOTION


def choose(clips: pd.DataFrame, ratings: pd.DataFrame, trait: str, count: int) -> pd.DataFrame:
    """Choose clips one after the other by the sum of three scores from 0 to 1.

    `uncertain`: how unsure the model is beside other clips of the same role (see `ranked`); .5 where no model was
    asked. `disagreed`: the
    larger of two, each relative to the largest possible and 0 with one rating: spread of the trait's ratings, entropy
    of the votes for an emotion. `uncovered`: 1 / (1 + clips of the same speaker that are rated or already chosen), so
    that no speaker takes every place.

    Args:
        clips: utterance_id, speaker_id, uncertainty (0 to 1, or NaN; from `ranked`).
        ratings: Current ratings.
        trait: The trait to be rated.
        count: How many clips at most.

    Returns:
        The chosen rows of `clips`, first the best, with uncertain, disagreed, uncovered and why (the largest of them).
    """
    rated = ratings[ratings["trait"].isin([trait, EMOTION])]
    spread = rated[rated["trait"] == trait].groupby("utterance_id")["rating"].std(ddof=0) / 2
    votes = rated[rated["trait"] == EMOTION].groupby("utterance_id")["label"].agg(_vote_entropy)
    table = clips.sort_values("utterance_id", ignore_index=True)
    uncertain = table["uncertainty"].fillna(0.5).to_numpy(float)
    by_clip = pd.concat([table["utterance_id"].map(of).astype("float64") for of in (spread, votes)], axis=1)
    disagreed = by_clip.max(axis=1).fillna(0.0).clip(0, 1).to_numpy(float)
    speakers, speaker = np.unique(table["speaker_id"].fillna("").to_numpy(str), return_inverse=True)
    heard = np.bincount(speaker, weights=table["utterance_id"].isin(rated["utterance_id"]), minlength=len(speakers))
    free = np.ones(len(table), dtype=bool)
    order, uncovered = [], []
    for _ in range(min(count, len(table))):
        cover = 1 / (1 + heard[speaker])
        best = int(np.where(free, uncertain + disagreed + cover, -1.0).argmax())
        order.append(best)
        uncovered.append(cover[best])
        free[best] = False
        heard[speaker[best]] += 1
    chosen = table.iloc[order].assign(
        uncertain=uncertain[order].round(3), disagreed=disagreed[order].round(3), uncovered=np.round(uncovered, 3)
    )
    names = ["uncertain", "disagreed", "uncovered"]
    why = chosen[names].astype(float).idxmax(axis=1) if len(chosen) else pd.Series(dtype="str")
    return chosen.assign(why=why).reset_index(drop=True)


def _vote_entropy(labels: pd.Series) -> float:
    share = labels.value_counts().to_numpy(float) / len(labels)
    return float(-(share * np.log(share)).sum() / np.log(len(labels))) if len(labels) > 1 else 0.0


def uncertainty(predictions: pd.DataFrame) -> pd.Series:
    """Entropy of a model's probabilities by utterance, relative to the largest possible.

    Args:
        predictions: utterance_id and p_<label> columns.
    """
    p = predictions.filter(regex="^p_").to_numpy(float).clip(1e-12, 1.0)
    entropy = -(p * np.log(p)).sum(axis=1) / np.log(p.shape[1])
    return pd.Series(entropy, index=predictions["utterance_id"].to_numpy())


def ranked(uncertain: pd.Series, role: pd.Series) -> pd.Series:
    """Rank of each clip's uncertainty among the clips of its role, from 0 to 1; NaN where no model was asked.

    A model is surer of clips that it was trained on than of others, for that reason alone: put side by side, clips of
    other roles would seem to teach more.

    Args:
        uncertain: Of each clip.
        role: Of each clip in the training of that model; any text for those that have none.
    """
    places = uncertain.groupby(role).rank() - 1
    known = uncertain.groupby(role).transform("count")
    return (places / (known - 1)).where(known > 1, uncertain * 0 + 0.5)
