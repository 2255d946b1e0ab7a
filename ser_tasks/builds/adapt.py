"""What a model says of clips when it may look at the unlabelled clips of their speaker or corpus beside them."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_tasks.builds.regression import best_regression
from ser_tasks.builds.scaling import scaled_head
from ser_tasks.models.adapted import FEWEST_CLIPS, AdaptedHead, standardised

WAYS = ("speaker", "corpus", "speaker, two emotions", "speaker, few clips")
"""Whose mean and spread a clip's embedding is standardised by. The last two show what is left of the first when the
clips at hand do not cover the emotions alike (those of a clip's own emotion and of one other), or are only ten."""
REMARKS = {
    "speaker": f"supposes that a speaker's clips, {FEWEST_CLIPS} or more, cover the emotions alike",
    "corpus": "supposes that the corpus's clips cover the emotions alike, as those of training do",
    "speaker, two emotions": "what is left of that when a speaker's clips are of two emotions only",
    "speaker, few clips": f"what is left of that with {FEWEST_CLIPS} clips of a speaker, whichever they are",
}
STRENGTHS = (0.1, 0.01, 0.001)
"""Inverse regularisation strengths that are tried, on dev."""


def fit_adapted(
    embeddings: Sequence[NDArray[np.floating]],
    targets: Sequence[NDArray[np.int64]],
    speakers: Sequence[Sequence[str]],
    classes: int,
) -> AdaptedHead | None:
    """Fit a second head to embeddings standardised by speaker: trained on train, selected on dev.

    Args:
        embeddings: Of the clips of train and of dev, [clips, dim] each.
        targets: Their labels, int64 [clips] each.
        speakers: Whose they are.
        classes: Of the model.

    Returns:
        The head, its temperature in it; None where no speaker of either side has clips enough, or one class alone is
        left.
    """
    kept = []
    for values, target, who in zip(embeddings, targets, speakers, strict=True):
        standard = standardised(values, who)
        known = np.isfinite(standard).all(axis=1)
        kept.append((standard[known], target[known]))
    train, dev = kept
    if not len(dev[1]) or len(np.unique(train[1])) < 2:
        return None
    return scaled_head(AdaptedHead(*best_regression(train, dev, STRENGTHS, classes)), *dev)


def predict_adapted(
    head: AdaptedHead,
    embeddings: NDArray[np.floating],
    rows: pd.DataFrame,
    labels: Sequence[str],
    ways: Sequence[str],
) -> pd.DataFrame:
    """Probabilities of every row in every way: columns utterance_id, way, p_<label>; NaN where a group has too few.

    Args:
        head: Of the model.
        embeddings: Of the rows, [clips, dim].
        rows: Clips of one corpus that are tested: utterance_id, speaker_id, label.
        labels: Of the model.
        ways: Of "speaker" and "corpus", at least one; of `WAYS` what belongs to "speaker" goes with it.
    """
    speakers, emotions = list(rows["speaker_id"]), [str(label) for label in rows["label"]]
    found = {
        "corpus": lambda: standardised(embeddings, [""] * len(rows)),
        "speaker": lambda: standardised(embeddings, speakers),
        "speaker, two emotions": lambda: _of_two_emotions(embeddings, speakers, emotions),
        "speaker, few clips": lambda: _of_few_clips(embeddings, speakers, list(rows["utterance_id"])),
    }
    asked = [way for way in WAYS if way.partition(",")[0] in ways]
    return pd.concat([_table(rows, way, head.probabilities(found[way]()), labels) for way in asked], ignore_index=True)


def _table(rows: pd.DataFrame, way: str, probabilities: NDArray[np.float64], labels: Sequence[str]) -> pd.DataFrame:
    columns = [f"p_{label}" for label in labels]
    frame = pd.DataFrame(probabilities, columns=columns)
    frame.insert(0, "utterance_id", list(rows["utterance_id"]))
    frame.insert(1, "way", way)
    return frame


def _of_two_emotions(
    embeddings: NDArray[np.floating], speakers: Sequence[str], emotions: Sequence[str]
) -> NDArray[np.float64]:
    """By the speaker's clips of a clip's own emotion and of one other, the next one in the alphabet."""
    names, members, own = sorted(set(emotions)), np.asarray(speakers, dtype=object), np.asarray(emotions, dtype=object)
    found = np.full(embeddings.shape, np.nan)
    for speaker in dict.fromkeys(speakers):
        had = [name for name in names if ((members == speaker) & (own == name)).any()]
        for place, emotion in enumerate(had):
            pair = (emotion, had[(place + 1) % len(had)])
            of = (members == speaker) & np.isin(own, pair)
            clips = (members == speaker) & (own == emotion)
            found[clips] = standardised(embeddings, speakers, of)[clips]
    return found


def _of_few_clips(
    embeddings: NDArray[np.floating], speakers: Sequence[str], names: Sequence[str]
) -> NDArray[np.float64]:
    """By `FEWEST_CLIPS` of the speaker's clips, whichever they are: in the order of a hash of their names."""
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    taken, reference = dict.fromkeys(speakers, 0), np.zeros(len(names), dtype=bool)
    for i in order:
        if taken[speakers[i]] < FEWEST_CLIPS:
            taken[speakers[i]] += 1
            reference[i] = True
    return standardised(embeddings, speakers, reference)
