"""Everything that speaks for or against a trait direction, each with an interval or p-value and the n behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ser_tasks.errors import BadInput
from ser_tasks.rudeness.agreement import agreement
from ser_tasks.rudeness.confounds import (
    LEVEL,
    RATED,
    SECOND,
    WITHIN_DB,
    classified,
    confound_values,
    gain,
    matched_pairs,
    residual_auc,
    without_speakers,
)
from ser_tasks.rudeness.directions import ALTERNATIVES, cosine, direction, rating_direction
from ser_tasks.rudeness.dose import mean_and_error
from ser_tasks.rudeness.effects import effect_sizes
from ser_tasks.rudeness.folds import HeldOut, Layers, held_out, make_folds, numbered
from ser_tasks.rudeness.null import Value, estimate, movable, rounded, shuffled, shuffled_rows
from ser_tasks.rudeness.ranks import draw_clusters, pairs_within
from ser_tasks.rudeness.rating import correlation
from ser_tasks.rudeness.shape import shape_of
from ser_tasks.rudeness.stability import compass, stability
from ser_tasks.rudeness.verdict import (
    FEW_SPEAKERS,
    beyond,
    explain,
    in_figures,
    matched_in_words,
    power_of,
    refuse_too_little,
    speaker_only,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Options:
    """permutations: shuffles of a null; resamples: of the bootstrap; stand_in: the groups are emotions, not ratings."""

    permutations: int = 300
    resamples: int = 2000
    seed: int = 0
    stand_in: bool = False


@dataclass(frozen=True)
class Evidence:
    """What was found.

    Attributes:
        metrics: JSON values; see `examine`.
        score: float64 [n], held out, centred in each fold, standard deviation 1.
        raw: float32 [n], held out by the candidate in every fold, not centred: as a clip by itself is scored.
        candidate: The representation that most folds chose.
        null: Columns null (speaker | speaker and emotion), left_out, auc: one row a shuffle.
        curve: One row a candidate: name, pooled and within with intervals, folds (that chose it).
        effects: Of `effect_sizes`.
    """

    metrics: dict[str, Any]
    score: Floats
    raw: npt.NDArray[np.float32]
    candidate: int
    null: pd.DataFrame
    curve: pd.DataFrame
    effects: pd.DataFrame


@dataclass(frozen=True)
class _Case:
    """The clips as arrays, and what is drawn once for all analyses."""

    layers: Layers
    clips: pd.DataFrame
    prosody: Sequence[str]
    high: npt.NDArray[np.bool_]
    speakers: Ints
    draws: Floats
    labels: npt.NDArray[np.bool_]
    labels_in_emotion: npt.NDArray[np.bool_] | None
    options: Options


def examine(
    layers: Layers, clips: pd.DataFrame, prosody: Sequence[str], ratings: pd.DataFrame | None, options: Options
) -> Evidence:
    """Put a direction to the test.

    Args:
        layers: Candidate embeddings of the clips.
        clips: n rows: utterance_id, speaker_id, session and dialog (None where the corpus has none), emotion, high
            (bool), rating (mean, NaN without), valence, activation, dominance (NaN without), and the prosodic measures.
        prosody: Names of the measures among the columns.
        ratings: utterance_id, annotator_id, rating of these clips, for the ceiling; None for a stand-in.
        options: How much to draw.

    Returns:
        The evidence; the keys of `metrics`: n, left_out (evidence by session and by speaker), residual, alone, matched,
        gain, verdict, stability, compass, alternatives, rating, shape, power, refused (conclusions that this much data
        does not carry, in words).

    Raises:
        BadInput: Too few clips, speakers or sessions to say anything.
    """
    speakers = numbered(list(clips["speaker_id"]))
    high = clips["high"].to_numpy(dtype=bool)
    schemes = {"speaker": make_folds(list(clips["speaker_id"]))}
    if clips["session"].notna().all() and clips["session"].nunique() > 1:
        schemes = {"session": make_folds(list(clips["session"])), **schemes}
    for folds, _ in schemes.values():
        refuse_too_little(high, int(speakers.max()) + 1, folds)
    if not movable(high, speakers):
        raise BadInput(
            "trait: no speaker has clips of both groups, so that the trait cannot be told from who speaks: rate more "
            "clips of the same speakers, or change trait.threshold"
        )
    in_emotion = numbered([f"{s}/{e}" for s, e in zip(speakers, clips["emotion"], strict=True)])
    # numbers of speakers and emotions, not pairs of them, decide what can move: strata of one group stay as they are
    enough = movable(high, in_emotion) >= 20
    case = _Case(
        layers, clips, prosody, high, speakers,
        draw_clusters(int(speakers.max()) + 1, options.resamples, options.seed),
        shuffled(high, speakers, options.permutations, options.seed),
        shuffled(high, in_emotion, options.permutations, options.seed + 1) if enough else None,
        options,
    )  # fmt: skip
    runs, sections, nulls = {}, {}, []
    for name, (folds, together) in schemes.items():
        runs[name], sections[name], null = _left_out(case, folds, name)
        sections[name] |= {"left_out_together": together, "folds": int(folds.max()) + 1}
        nulls.append(null)
    first = next(iter(schemes))
    run, folds = runs[first], schemes[first][0]
    candidate = int(np.bincount(run.chosen[:, 0], minlength=len(layers.names)).argmax())
    score = run.scores[:, 0].astype(np.float64)
    score /= score.std() + 1e-12
    by_candidate = np.full((int(folds.max()) + 1, 1), candidate)
    raw = held_out(layers, high[:, None], folds, speakers, by_candidate).raw[:, 0]
    within_speaker = nulls[0].query("null == 'speaker' and pairs == 'within_speaker'")["auc"].to_numpy()
    metrics: dict[str, Any] = {
        "n": _counts(case),
        "left_out": sections,
        **_confounded(case, folds, run.chosen[:, 0]),
        "stability": stability(layers.read(candidate), high, speakers, case.draws, options.seed),
        "compass": _compass(case, candidate),
        "alternatives": _alternatives(case, folds, run.chosen[:, 0]),
        "rating": _against_rating(case, run, ratings),
        "shape": _shape(case, score, sections[first]["within_speaker"], ratings),
        "power": power_of(within_speaker) if len(within_speaker) else None,
    }
    metrics["refused"] = _refused(case, metrics)
    effects = effect_sizes(clips[list(prosody)], high, speakers, options.permutations, options.seed)
    return Evidence(metrics, score, raw, candidate, pd.concat(nulls, ignore_index=True), _curve(case, run), effects)


def _counts(case: _Case) -> dict[str, int | None]:
    clips = case.clips
    both = [s for s in np.unique(case.speakers) if 0 < case.high[case.speakers == s].mean() < 1]
    distinct = {name: int(clips[name].nunique()) or None for name in ("session", "dialog")}
    return {
        "clips": len(clips), "high": int(case.high.sum()), "speakers": int(case.speakers.max()) + 1,
        "speakers_with_both": len(both), "sessions": distinct["session"], "dialogs": distinct["dialog"],
    }  # fmt: skip


def _left_out(case: _Case, folds: Ints, name: str) -> tuple[HeldOut, dict[str, Any], pd.DataFrame]:
    """Nested held-out AUC inside speakers, of one clip and pooled over centred folds, against both nulls."""
    run = held_out(case.layers, case.labels, folds, case.speakers)
    runs = {"speaker": (run, case.labels)}
    if case.labels_in_emotion is not None:
        second = held_out(case.layers, case.labels_in_emotion, folds, case.speakers)
        runs["speaker and emotion"] = (second, case.labels_in_emotion)
    section: dict[str, Any] = {}
    rows = []
    one = np.zeros_like(case.speakers)
    for pairs, strata in (("within_speaker", case.speakers), ("one_clip", one), ("pooled", one)):
        section[pairs] = {}
        for null, (found, labels) in runs.items():
            scores = found.raw if pairs == "one_clip" else found.scores
            values = pairs_within(scores, labels, strata).auc()
            rows.append(pd.DataFrame({"null": null, "left_out": name, "pairs": pairs, "auc": values[1:]}))
            if null == "speaker":
                value = estimate(
                    values[0], values[1:], scores[:, 0].astype(np.float64), case.high, case.speakers, case.draws,
                    within=pairs == "within_speaker",
                )  # fmt: skip
                section[pairs] |= rounded(value.as_dict())
            else:
                beyond = float((1 + (values[1:] >= values[0] - 1e-12).sum()) / len(values))
                section[pairs]["p_within_emotion"] = round(beyond, 6)
    chosen, times = np.unique(run.chosen[:, 0], return_counts=True)
    section["chosen"] = {case.layers.names[c]: int(t) for c, t in zip(chosen, times, strict=True)}
    return run, section, pd.concat(rows, ignore_index=True)


def _confounded(case: _Case, folds: Ints, chosen: Ints) -> dict[str, Any]:
    """Residual AUCs, gains over small classifiers, and the verdict."""

    def left_without(confound: Floats | None) -> tuple[Value, Floats]:
        return residual_auc(case.layers, chosen, confound, case.labels, folds, case.speakers, case.draws)

    base, base_scores = left_without(None)
    values = confound_values(case.clips, case.prosody, case.speakers)
    if case.options.stand_in:
        values = {name: value for name, value in values.items() if not name.startswith("emotion")}
    n = {"clips": len(case.high), "speakers": int(case.speakers.max()) + 1}
    left, alone, drops = {}, {}, {}
    gains: dict[str, Any] = {}
    for name, value in values.items():
        left[name], left_scores = left_without(value)
        drops[name] = _drop(gain(base_scores, left_scores, case.high, case.speakers, case.draws))
        alone[name], classifier = classified(value, case.labels, folds, case.speakers, case.draws)
        if name in ("loudness", "prosody"):
            more = gain(base_scores, classifier, case.high, case.speakers, case.draws)
            gains[f"over_{name}_only"] = rounded(more.as_dict()) | n
    emotion = "emotion and VAD" if "emotion and VAD" in left else "emotion"
    tried = {"loudness": "loudness", "emotion": emotion}
    known = {name: max((alone[key] for key in (name, SECOND.get(name)) if key in alone), key=_auc) for name in left}
    matched = _matched(case, base_scores)
    speaker = speaker_only(case.high, case.speakers)
    verdict = explain(
        base,
        {name: known[key] for name, key in tried.items() if key in known},
        {name: left[key] for name, key in tried.items() if key in left},
        speaker,
        stand_in=case.options.stand_in,
    )
    if verdict["found"] and matched and matched["pairs"]:
        verdict["why"] += f"; {matched_in_words(matched)}"
    if verdict["found"] and "prosody" in left:
        verdict["beyond_prosody"], words = beyond(left["prosody"], known["prosody"])
        verdict["why"] += f"; without all of prosody {in_figures(left['prosody'])}: {words}"
    return {
        "residual": {
            "speaker": rounded(base.as_dict()) | n,
            **{name: rounded(value.as_dict()) | drops[name] | n for name, value in left.items()},
        },
        "alone": {**{name: rounded(value.as_dict()) | n for name, value in alone.items()}, "speaker": speaker},
        "matched": matched,
        "gain": gains,
        "verdict": verdict,
    }


def _auc(value: Value) -> float:
    return value.value


def _matched(case: _Case, score: Floats) -> dict[str, Any] | None:
    """Pairs of one speaker at equal level; None without a level."""
    if LEVEL not in case.prosody:
        return None
    level = case.clips[LEVEL].to_numpy(dtype=np.float64)
    found = matched_pairs(score, level, case.high, case.speakers, case.draws)
    value = rounded({"value": found.won, "low": found.low, "high": found.high, "louder": found.louder})
    return value | {"pairs": found.pairs, "clips": found.clips, "speakers": found.speakers, "within_db": WITHIN_DB}


def _drop(lost: Value) -> dict[str, float | None]:
    """What an AUC loses by taking a confound out of the embeddings, speakers resampled in pairs."""
    return rounded({"drop": lost.value, "drop_low": lost.low, "drop_high": lost.high})


def _compass(case: _Case, candidate: int) -> dict[str, Any]:
    if case.options.stand_in:
        return {}  # the groups are emotions: the angles are given by that
    values = without_speakers(case.layers.read(candidate), case.speakers)
    rated = {name: case.clips[name].to_numpy(dtype=np.float64) for name in RATED if name in case.clips}
    names = case.clips["emotion"].fillna("unknown")
    found = compass(values, case.high, case.speakers, list(names), rated)
    n = {"clips": len(case.high), "speakers": int(case.speakers.max()) + 1}
    return {name: value | n for name, value in found.items()}


def _alternatives(case: _Case, folds: Ints, chosen: Ints) -> dict[str, Any]:
    """Other directions through the same clips, in the candidate that each fold chose: AUC and the angle to v.

    Their intervals know nothing of what fitting adds, so that near .5 they are too narrow: see `estimate`.
    """
    rating = case.clips["rating"].to_numpy(dtype=np.float64)
    names = [*ALTERNATIVES, *(["rating"] if np.isfinite(rating).mean() > 0.5 else [])]
    scores = {name: np.zeros(len(folds)) for name in names}
    angles: dict[str, list[float]] = {name: [] for name in names}
    for candidate in np.unique(chosen):
        values = case.layers.read(int(candidate)).astype(np.float64)
        for fold in np.flatnonzero(chosen == candidate):
            test = folds == fold
            mean, deviation = values[~test].mean(axis=0), values[~test].std(axis=0) + 1e-9
            fitted, high = (values[~test] - mean) / deviation, case.high[~test]
            v = direction(fitted, high)
            for name in names:
                w = (
                    ALTERNATIVES[name](fitted, high)
                    if name in ALTERNATIVES
                    else rating_direction(fitted, rating[~test])
                )
                found = ((values[test] - mean) / deviation) @ w / (np.linalg.norm(w) + 1e-12)
                scores[name][test] = found - found.mean()
                angles[name].append(cosine(v, w))
    table: dict[str, Any] = {}
    for name in names:
        over_folds = {
            "value": np.nanmean(angles[name]),
            "low": np.nanmin(angles[name]),
            "high": np.nanmax(angles[name]),
        }
        entry: dict[str, Any] = {"cosine_to_v": rounded({k: float(v) for k, v in over_folds.items()})}
        for pairs in ("pooled", "within_speaker"):
            strata = case.speakers if pairs == "within_speaker" else np.zeros_like(case.speakers)
            value = float(pairs_within(scores[name], case.high[:, None], strata).auc()[0])
            within = pairs == "within_speaker"
            found_value = estimate(value, None, scores[name], case.high, case.speakers, case.draws, within=within)
            entry[pairs] = rounded(found_value.as_dict())
        table[name] = entry
    return table


def _against_rating(case: _Case, run: HeldOut, ratings: pd.DataFrame | None) -> dict[str, Any] | None:
    """Spearman of the score with the mean rating, beside what the annotators allow."""
    rating = case.clips["rating"].to_numpy(dtype=np.float64)
    rated = np.isfinite(rating)
    if rated.sum() < 10 or not rated.all() or np.ptp(rating[rated]) == 0:
        return None
    source = shuffled_rows(case.high, case.speakers, case.options.permutations, case.options.seed)
    found = correlation(run.scores, rating[source], case.speakers)
    known = agreement(ratings, case.options.resamples, case.options.seed) if ratings is not None else None
    ceiling = known["ceiling"]["value"] if known else None
    return {
        "spearman": rounded(found.as_dict()) | {"clips": len(rating), "speakers": int(case.speakers.max()) + 1},
        "annotators": known,
        "share_of_ceiling": round(found.value / ceiling, 4) if ceiling and np.isfinite(found.value) else None,
    }


def _shape(case: _Case, score: Floats, auc: dict[str, Any], ratings: pd.DataFrame | None) -> dict[str, Any]:
    rating = None if ratings is None else mean_and_error(ratings, case.clips["utterance_id"])
    options = case.options
    return shape_of(
        score, case.high, case.speakers, auc, rating=rating, chosen_extremes=options.stand_in, seed=options.seed
    )


def _curve(case: _Case, run: HeldOut) -> pd.DataFrame:
    rows = []
    times = np.bincount(run.chosen[:, 0], minlength=len(case.layers.names))
    for candidate, name in enumerate(case.layers.names):
        score = run.curve[:, candidate].astype(np.float64)
        row: dict[str, Any] = {"candidate": name, "folds": int(times[candidate])}
        for pairs in ("pooled", "within"):
            strata = case.speakers if pairs == "within" else np.zeros_like(case.speakers)
            observed = float(pairs_within(score, case.high[:, None], strata).auc()[0])
            value = estimate(observed, None, score, case.high, case.speakers, case.draws, within=pairs == "within")
            row |= {pairs: value.value, f"{pairs}_low": value.low, f"{pairs}_high": value.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _refused(case: _Case, metrics: dict[str, Any]) -> list[str]:
    """Conclusions that this much data does not carry."""
    n, power = metrics["n"], metrics["power"]
    said = []
    if n["speakers_with_both"] < FEW_SPEAKERS:
        said.append(
            f"intervals: {n['speakers_with_both']} speakers have clips in both groups; under {FEW_SPEAKERS} an "
            "interval over speakers means little, and nothing here speaks for other people"
        )
    if power and power["power_at_0.7"] < 0.8:
        said.append(
            f"absence: an AUC of .7 would be found in {power['power_at_0.7']:.0%} of such corpora; that nothing was "
            "found would not say that nothing is there"
        )
    if metrics["shape"]["verdict"] in ("too little data", "cannot be told"):
        said.append(f"continuous or not: {metrics['shape']['why']}")
    if case.labels_in_emotion is None:
        said.append("beyond emotion: within speaker and emotion too few clips of both groups can be exchanged")
    if metrics["rating"] and not metrics["rating"]["annotators"]:
        said.append("against the annotators: no clip has two ratings, so that there is no ceiling to hold rho against")
    return said
