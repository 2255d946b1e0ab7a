"""The direction without what might explain it, and classifiers that know nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ser_tasks.rudeness.effects import centred_by
from ser_tasks.rudeness.folds import Layers, held_out
from ser_tasks.rudeness.null import Value, estimate
from ser_tasks.rudeness.ranks import pairs_within, resampled_auc, within_auc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
LOUDNESS = ("rms_db", "level_sd_db")
"""Measures of loudness."""
LEVEL = "rms_db"
WITHIN_DB = 2.0
"""Two clips of one speaker whose levels differ by less are matched."""
CLIPS_A_COLUMN = 10
"""All splines of a confound together have no more columns than one for so many clips: more would follow noise."""
MOST_COLUMNS = 9
"""Of one measure's spline: a line and a hinge at each of eight quantiles."""
SECOND = {"loudness": "loudness, linear and squared", "prosody": "prosody, linear"}
"""Confounds that are taken out a second time, by fewer terms, so that a reader sees what the spline changes."""
RATED = ("valence", "activation", "dominance")


def filled(values: Floats) -> Floats:
    """Unknown values (NaN) become their column's median, 0 where nothing is known; [n, k]."""
    known = np.isfinite(values)
    with np.errstate(all="ignore"):
        middle = np.where(known.any(axis=0), np.nanmedian(np.where(known, values, np.nan), axis=0), 0.0)
    return np.where(known, values, middle)


def splines(values: Floats) -> Floats:
    """Linear splines of each measure: the values, and what they exceed each of their inner quantiles by.

    An embedding follows a measure in its own way, by units that saturate or have a threshold: a line and a square would
    leave much of that in. Few clips for the number of measures allow few hinges, or none.

    Args:
        values: [n, k], without NaN.

    Returns:
        [n, columns], of which each measure has 1 to `MOST_COLUMNS`.
    """
    n, k = values.shape
    hinges = int(np.clip(n // (CLIPS_A_COLUMN * k), 1, MOST_COLUMNS)) - 1
    found = []
    for column in values.T:
        places = np.unique(np.quantile(column, np.linspace(0, 1, hinges + 2)[1:-1]))
        found += [column, *(np.maximum(column - place, 0) for place in places)]
    return np.column_stack(found)


def confound_values(clips: pd.DataFrame, prosody: Sequence[str], speakers: Ints) -> dict[str, Floats]:
    """The confounds that a corpus allows, each [n, k] without its speakers' means.

    What can be measured goes in as splines of the clip's value and, for loudness, of its distance from the speaker's
    mean, and with their products: what is loud depends on who speaks. `SECOND` are the same by fewer terms.

    Args:
        clips: Columns emotion, `RATED` where rated, and the prosodic measures.
        prosody: Names of these measures.
        speakers: int [n].
    """
    found: dict[str, Floats] = {}
    if loud := [name for name in LOUDNESS if name in prosody]:
        level = filled(clips[loud].to_numpy(dtype=np.float64))
        own = centred_by(level[:, :1], speakers)
        both = np.hstack([level - level.mean(axis=0), own])
        both /= both.std(axis=0) + 1e-9
        products = np.column_stack([both[:, i] * both[:, j] for i in range(both.shape[1]) for j in range(i)])
        found["loudness"] = centred_by(np.hstack([splines(both), products]), speakers)
        found[SECOND["loudness"]] = centred_by(np.hstack([level, np.square(level - level.mean(axis=0))]), speakers)
    if prosody:
        measures = filled(clips[list(prosody)].to_numpy(dtype=np.float64))
        found["prosody"] = centred_by(splines(measures), speakers)
        found[SECOND["prosody"]] = centred_by(measures, speakers)
    emotions = pd.get_dummies(clips["emotion"].fillna("unknown"), dtype=float).to_numpy()
    if emotions.shape[1] > 1:
        found["emotion"] = centred_by(emotions, speakers)
    rated = [name for name in RATED if name in clips and clips[name].notna().mean() > 0.5 and clips[name].nunique() > 1]
    if rated:
        levels = centred_by(splines(filled(clips[rated].to_numpy(dtype=np.float64))), speakers)
        found["emotion and VAD"] = np.hstack([found["emotion"], levels]) if "emotion" in found else levels
    return found


@dataclass(frozen=True)
class Matched:
    """Pairs of a high and a low clip of one speaker with levels within `WITHIN_DB`.

    Attributes:
        pairs: How many there are.
        clips: Clips in them.
        speakers: Speakers of them.
        won: Share in which the high clip scores above, NaN without pairs; low, high: 95 %, the wider of speakers
            resampled and the exact interval of as many pairs as share no clip.
        louder: Share in which the high clip is the louder one: what the level that is left can win.
    """

    pairs: int
    clips: int
    speakers: int
    won: float
    low: float
    high: float
    louder: float


def matched_pairs(score: Floats, level: Floats, high: Bools, speakers: Ints, draws: Floats) -> Matched:
    """How often the high clip of a pair of equal level scores above: needs no model of what level does to embeddings.

    Args:
        score: Held-out [n].
        level: In dB [n], NaN where unknown.
        high: bool [n].
        speakers: int [n].
        draws: Of `draw_clusters`.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.stats import beta

    count = draws.shape[1]
    won, possible = np.zeros(count), np.zeros(count)
    louder, apart, clips = 0.0, 0, 0
    for speaker in np.unique(speakers):
        tops, lows = (np.flatnonzero((speakers == speaker) & half) for half in (high, ~high))
        with np.errstate(invalid="ignore"):
            gap = level[tops][:, None] - level[lows][None]
            near = np.abs(gap) < WITHIN_DB
        if not near.any():
            continue
        difference = (score[tops][:, None] - score[lows][None])[near]
        won[speaker] = (difference > 0).sum() + (difference == 0).sum() / 2
        possible[speaker] = near.sum()
        louder += float((gap[near] > 0).sum() + (gap[near] == 0).sum() / 2)
        apart += int((maximum_bipartite_matching(csr_array(near)) >= 0).sum())
        clips += int(near.any(axis=0).sum() + near.any(axis=1).sum())
    pairs = int(possible.sum())
    if not pairs:
        return Matched(0, 0, 0, float("nan"), float("nan"), float("nan"), float("nan"))
    share = float(won.sum() / pairs)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, top = np.nanpercentile((draws @ won) / (draws @ possible), [2.5, 97.5])
    wins = share * apart
    exact = (
        float(beta.ppf(0.025, wins, apart - wins + 1)) if wins > 0 else 0.0,
        float(beta.ppf(0.975, wins + 1, apart - wins)) if wins < apart else 1.0,
    )
    low, top = min(float(low), exact[0]), max(float(top), exact[1])
    return Matched(pairs, clips, int((possible > 0).sum()), share, low, top, louder / pairs)


def without_speakers(values: npt.NDArray[np.float32], speakers: Ints) -> npt.NDArray[np.float32]:
    """Embeddings [n, dim] without the mean of their speaker's clips, which needs no label."""
    sums = np.zeros((int(speakers.max()) + 1, values.shape[1]), dtype=np.float64)
    np.add.at(sums, speakers, values)
    return np.asarray(values - (sums / np.bincount(speakers)[:, None])[speakers], dtype=np.float32)


def residual_auc(
    layers: Layers, chosen: Ints, confound: Floats | None, labels: Bools, folds: Ints, speakers: Ints, draws: Floats
) -> tuple[Value, Floats]:
    """AUC inside speakers of the direction in embeddings without speakers' means and without a confound.

    What a confound predicts of the embeddings, by linear regression on the training folds, is subtracted from training
    and held-out clips alike. Regression on all clips would push held-out scores below chance.

    Args:
        layers: The candidates.
        chosen: int [folds]: each fold's candidate.
        confound: [n, k] without speakers' means; None to leave all of it in.
        labels: bool [n, labellings]; the first column is the true one.
        folds: int [n].
        speakers: int [n].
        draws: Of `draw_clusters`.

    Returns:
        The AUC, and the held-out scores [n] by the true labels, centred in each fold.
    """
    scores = np.zeros(labels.shape, dtype=np.float32)
    known = np.zeros((len(labels), 0)) if confound is None else confound
    for candidate in np.unique(chosen):
        values = without_speakers(layers.read(int(candidate)), speakers)
        for fold in np.flatnonzero(chosen == candidate):
            test = folds == fold
            slopes, *_ = np.linalg.lstsq(known[~test], values[~test], rcond=1e-8)
            left = values - (known @ slopes).astype(np.float32)
            left = (left - left[~test].mean(axis=0)) / (left[~test].std(axis=0) + np.float32(1e-6))
            training = labels[~test].astype(np.float32)
            weight = training / np.maximum(training.sum(axis=0), 1)
            weight -= (1 - training) / np.maximum((1 - training).sum(axis=0), 1)
            vectors = left[~test].T @ weight
            vectors /= np.linalg.norm(vectors, axis=0) + 1e-12
            found = left[test] @ vectors
            scores[test] = found - found.mean(axis=0)
    values_of = pairs_within(scores, labels, speakers).auc()
    mine = scores[:, 0].astype(np.float64)
    null = values_of[1:] if len(values_of) > 1 else None
    return estimate(float(values_of[0]), null, mine, labels[:, 0], speakers, draws, within=True), mine


def classified(
    features: Floats, labels: Bools, folds: Ints, speakers: Ints, draws: Floats
) -> tuple[Value, npt.NDArray[np.float64]]:
    """AUC inside speakers of a logistic regression on few features, by the same folds, and its scores [n].

    Its p-value and the part of its interval that shuffled labels give come from the difference of means of the same
    features, which can be fitted to every shuffle at once.
    """
    from sklearn.linear_model import LogisticRegression

    high = labels[:, 0]
    score = np.zeros(len(high))
    for fold in np.unique(folds):
        test = folds == fold
        mean, deviation = features[~test].mean(axis=0), features[~test].std(axis=0) + 1e-9
        fitted = LogisticRegression(class_weight="balanced", max_iter=500)
        fitted.fit((features[~test] - mean) / deviation, high[~test])
        found = fitted.decision_function((features[test] - mean) / deviation)
        score[test] = found - found.mean()
    layer = features.astype(np.float32)
    null = held_out(Layers(["features"], lambda _: layer), labels, folds, speakers)
    values = pairs_within(null.scores, labels, speakers).auc()[1:]
    observed = within_auc(score, high, speakers)
    return estimate(observed, values if len(values) else None, score, high, speakers, draws, within=True), score


def gain(first: Floats, second: Floats, high: Bools, speakers: Ints, draws: Floats) -> Value:
    """AUC inside speakers of one score minus that of another over the same clips; speakers resampled in pairs."""
    observed = within_auc(first, high, speakers) - within_auc(second, high, speakers)
    resampled = resampled_auc(first, high, speakers, draws, within=True)
    resampled = resampled - resampled_auc(second, high, speakers, draws, within=True)
    low, top = np.nanpercentile(resampled, [2.5, 97.5]) if np.isfinite(resampled).any() else (np.nan, np.nan)
    return Value(float(observed), float(low), float(top), None)
