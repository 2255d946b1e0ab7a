"""What a model says of clips when it may look at the unlabelled clips of their speaker or corpus beside them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.builds.regression import best_regression
from ser_tasks.inference.predict import embed_packed
from ser_tasks.models.adapted import FEWEST_CLIPS, AdaptedHead, load_adapted, standardised
from ser_tasks.training.examples import Examples

WAYS = ("speaker", "corpus", "speaker, two emotions", "speaker, few clips")
"""Whose mean and spread a clip's embedding is standardised by. The last two show what is left of the first when the
clips at hand do not cover the emotions alike (those of a clip's own emotion and of one other), or are only ten."""
TAKEN_FOR_GRANTED = {
    "speaker": f"a speaker's clips, {FEWEST_CLIPS} or more, cover the emotions alike",
    "corpus": f"the corpus's clips, {FEWEST_CLIPS} or more, cover the emotions alike, as the training corpus's do",
    "speaker, two emotions": "nothing: what is left of it where a speaker's clips are of two emotions alone",
    "speaker, few clips": f"nothing: what is left of it with {FEWEST_CLIPS} clips of a speaker, whichever they are",
}
STRENGTHS = (0.1, 0.01, 0.001)
"""Inverse regularisation strengths that are tried, on dev."""


def fit_adapted(
    model: Any,
    audio: PackedAudio,
    train: Examples,
    dev: Examples,
    speakers: tuple[Sequence[str], Sequence[str]],
    classes: int,
) -> AdaptedHead | None:
    """Fit a second head to embeddings standardised by speaker: trained on train, selected on dev.

    Args:
        model: Trained, with `embed`.
        audio: Where the clips are.
        train: Clips to learn from.
        dev: Clips to select by.
        speakers: Of the rows of train and of dev.
        classes: Of the model.

    Returns:
        The head; None where no speaker of either side has clips enough, or one class alone is left.
    """
    features = [
        standardised(embed_packed(model, audio, side.clips), who)
        for side, who in zip((train, dev), speakers, strict=True)
    ]
    targets = [np.asarray(side.targets) for side in (train, dev)]
    known = [np.isfinite(values).all(axis=1) for values in features]
    (x, tried), (y, truth) = (
        [values[kept] for values, kept in zip(both, known, strict=True)] for both in (features, targets)
    )
    if not len(tried) or len(np.unique(y)) < 2:
        return None
    return AdaptedHead(*best_regression((x, y), (tried, truth), STRENGTHS, classes))


def predict_adapted(
    folder: Path, model: Any, audio: PackedAudio, rows: pd.DataFrame, labels: Sequence[str], ways: Sequence[str]
) -> pd.DataFrame | None:
    """Probabilities of every row in every way: columns utterance_id, way, p_<label>; NaN where a group has too few.

    Args:
        folder: Of the model.
        model: Loaded from it.
        audio: Where the clips are.
        rows: Clips of one corpus that are tested: utterance_id, speaker_id, label.
        labels: Of the model.
        ways: Of `WAYS`, the first two as they are named; what belongs to "speaker" goes with it.

    Returns:
        None where the model has no such head.
    """
    head = load_adapted(folder)
    if head is None or rows.empty or not ways:
        return None
    embeddings = embed_packed(model, audio, [audio.index_of(name) for name in rows["utterance_id"]])
    speakers, emotions = list(rows["speaker_id"]), [str(label) for label in rows["label"]]
    found = {
        "corpus": lambda: standardised(embeddings, [""] * len(rows)),
        "speaker": lambda: standardised(embeddings, speakers),
        "speaker, two emotions": lambda: _of_two_emotions(embeddings, speakers, emotions),
        "speaker, few clips": lambda: _of_few_clips(embeddings, speakers, list(rows["utterance_id"])),
    }
    tables = [
        _table(rows, way, head.probabilities(found[way]()), labels) for way in WAYS if way.partition(",")[0] in ways
    ]
    return pd.concat(tables, ignore_index=True)


def _table(rows: pd.DataFrame, way: str, probabilities: NDArray[np.float64], labels: Sequence[str]) -> pd.DataFrame:
    columns = [f"p_{label}" for label in labels]
    frame = pd.DataFrame(probabilities, columns=columns)
    frame.insert(0, "utterance_id", list(rows["utterance_id"]))
    frame.insert(1, "way", way)
    return frame


def _of_two_emotions(
    embeddings: NDArray[np.float32], speakers: Sequence[str], emotions: Sequence[str]
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
    embeddings: NDArray[np.float32], speakers: Sequence[str], names: Sequence[str]
) -> NDArray[np.float64]:
    """By `FEWEST_CLIPS` of the speaker's clips, whichever they are: in the order of a hash of their names."""
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    taken, reference = dict.fromkeys(speakers, 0), np.zeros(len(names), dtype=bool)
    for i in order:
        if taken[speakers[i]] < FEWEST_CLIPS:
            taken[speakers[i]] += 1
            reference[i] = True
    return standardised(embeddings, speakers, reference)
