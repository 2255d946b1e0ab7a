"""The instrument works: a planted direction is found, nothing is found where nothing is, and confounds are named."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from ser_tasks.errors import BadInput
from ser_tasks.rudeness.confounds import SECOND, matched_pairs
from ser_tasks.rudeness.directions import cosine, direction
from ser_tasks.rudeness.folds import Layers, held_out, numbered
from ser_tasks.rudeness.null import estimate, shuffled
from ser_tasks.rudeness.ranks import draw_clusters, pairs_within, resampled_auc
from tests.rudeness.planted import Planted, plant


@pytest.fixture(scope="module")
def found() -> tuple[Planted, dict]:
    corpus = plant("trait", 3.0)
    return corpus, corpus.examined().metrics


def test_a_planted_direction_is_recovered(found: tuple[Planted, dict]) -> None:
    """Noise of SD 1 in 32 dimensions, speakers' offsets of SD 1, groups 3 SD apart."""
    corpus, metrics = found
    v = direction(corpus.layers[1].astype(float), corpus.clips["high"].to_numpy())
    assert cosine(v, corpus.vector) > 0.9
    assert metrics["verdict"]["explained_by"] == "none" and metrics["verdict"]["found"]
    for scheme in ("session", "speaker"):
        for pairs in ("pooled", "within_speaker"):
            value = metrics["left_out"][scheme][pairs]
            assert value["low"] > 0.6 and value["p"] == 0.01 and value["p_within_emotion"] == 0.01
    assert metrics["stability"]["bootstrap"]["low"] > 0.8
    assert metrics["gain"]["over_prosody_only"]["low"] > 0.2
    assert metrics["verdict"]["beyond_prosody"] and "without all of prosody" in metrics["verdict"]["why"]


def test_the_layer_that_holds_the_direction_is_chosen_in_every_fold(found: tuple[Planted, dict]) -> None:
    assert found[1]["left_out"]["speaker"]["chosen"] == {"layer 1": 10}


def test_every_count_is_told(found: tuple[Planted, dict]) -> None:
    expected = {"clips": 480, "speakers": 10, "speakers_with_both": 10, "sessions": 5, "dialogs": 24}
    assert expected.items() <= found[1]["n"].items()


def test_the_rating_is_held_against_the_annotators_own_ceiling(found: tuple[Planted, dict]) -> None:
    rating = found[1]["rating"]
    assert 0.3 < rating["spearman"]["low"] < rating["spearman"]["value"] < rating["annotators"]["ceiling"]["value"] < 1


@pytest.mark.parametrize(
    ("cause", "other", "said"),
    [
        ("loudness", 1.0, "loudness"), ("loudness", 0.0, "cannot be separated"), ("speaker", 0.0, "speaker"),
        ("anger", 1.0, "emotion"), ("anger", 0.0, "cannot be separated"), ("nothing", 0.0, "none"),
    ],
)  # fmt: skip
def test_what_explains_a_direction_is_said(cause: str, other: float, said: str) -> None:
    metrics = plant(cause, 3.0, other=other).examined(permutations=199).metrics
    assert metrics["verdict"]["explained_by"] == said, metrics["verdict"]
    assert metrics["verdict"]["found"] == (cause in ("loudness", "anger"))


def test_a_trait_that_is_loudness_is_explained_by_it_also_where_embeddings_saturate() -> None:
    """Linear and squared terms leave enough of a tanh in to call the rest more than loudness."""
    metrics = plant("loudness", 10.0, response="saturating", other=0.4, seed=1).examined().metrics
    left = metrics["residual"]
    assert metrics["verdict"]["explained_by"] == "loudness", metrics["verdict"]
    assert left["loudness, linear and squared"]["value"] > left["loudness"]["value"] + 0.05
    assert left["loudness, linear and squared"]["p"] < 0.05 < left["loudness"]["p"]


def test_what_is_more_than_a_saturating_loudness_is_still_found() -> None:
    metrics = plant("trait and loudness", 3.0, response="saturating").examined().metrics
    assert metrics["verdict"]["explained_by"] == "none" and metrics["residual"]["loudness"]["p"] == 0.01
    matched = metrics["matched"]
    assert matched["pairs"] > 100 and matched["speakers"] == 10
    assert matched["low"] > matched["louder"] > 0.4 and "pairs of one speaker within 2 dB" in metrics["verdict"]["why"]


def test_pairs_of_equal_level_are_counted_and_share_clips_so_that_their_interval_is_wide() -> None:
    level = np.array([0.0, 0.5, 1.0, 9.0, 0.0, 20.0])
    high = np.array([True, True, False, False, True, False])
    speakers = np.array([0, 0, 0, 0, 1, 1])
    found = matched_pairs(np.array([3.0, 2.0, 1.0, 0.0, 0.0, 5.0]), level, high, speakers, draw_clusters(2, 50, 0))
    assert (found.pairs, found.clips, found.speakers) == (2, 3, 1)
    assert (found.won, found.louder, found.high) == (1.0, 0.0, 1.0)
    assert found.low == pytest.approx(0.025)  # one pair without a shared clip: 1 of 1 says this much


@pytest.mark.prove
@pytest.mark.parametrize(
    ("cause", "other", "said"),
    [
        ("trait", 0.0, "none"), ("loudness", 1.0, "loudness"), ("loudness", 0.0, "cannot be separated"),
        ("speaker", 0.0, "speaker"), ("anger", 1.0, "emotion"),
    ],
)  # fmt: skip
def test_what_explains_a_direction_is_said_whatever_the_seed(cause: str, other: float, said: str) -> None:
    found = [plant(cause, 3.0, other=other, seed=seed).examined(permutations=199).metrics for seed in range(1, 21)]
    verdicts = [metrics["verdict"] for metrics in found]
    assert np.mean([verdict["explained_by"] == said for verdict in verdicts]) >= 0.95, verdicts


@pytest.mark.prove
def test_only_loudness_is_called_more_in_one_of_twenty_and_more_than_loudness_is_found() -> None:
    """However embeddings follow loudness; prints what is left by splines, and by linear and squared terms."""
    rounds = 8
    for cause, right in (("loudness", {"loudness", "cannot be separated"}), ("trait and loudness", {"none"})):
        said: list[str] = []
        for response in ("linear", "quadratic", "saturating", "interacting"):
            strength = 10.0 if (cause, response) == ("loudness", "saturating") else 3.0
            corpora = (plant(cause, strength, response=response, other=0.4, seed=seed) for seed in range(1, rounds + 1))
            found = [corpus.examined().metrics for corpus in corpora]
            said += (words := [metrics["verdict"]["explained_by"] for metrics in found])
            base, new, old, alone = (
                np.mean([metrics[kind][name]["value"] for metrics in found])
                for kind, name in (
                    ("residual", "speaker"), ("residual", "loudness"), ("residual", SECOND["loudness"]),
                    ("alone", "loudness"),
                )
            )  # fmt: skip
            print(f"{cause}, {response}: {pd.Series(words).value_counts().to_dict()}; AUC {base:.3f}, loudness alone "
                  f"{alone:.3f}, without it {new:.3f}, by linear and squared terms {old:.3f}", flush=True)  # fmt: skip
        wrong = np.mean([word not in right for word in said])
        print(f"{cause}: wrong {wrong:.3f} of {len(said)}")
        assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(said)), said


def test_an_angry_direction_points_at_anger() -> None:
    metrics = plant("anger", 3.0).examined().metrics
    assert metrics["verdict"]["inseparable"] == ["emotion"]
    assert metrics["compass"]["anger"]["low"] > 0.9
    assert metrics["left_out"]["session"]["pooled"]["p_within_emotion"] > 0.05
    assert metrics["residual"]["emotion"]["drop"] > 0.3


def nothing(seed: int, *, clips: int = 240, speakers: int = 10) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Speakers differ in voice and in how often they are rude; nothing connects the two."""
    draw = np.random.default_rng(seed)
    speaker = np.arange(clips) % speakers
    layers = [draw.normal(size=(clips, 24)) + draw.normal(size=(speakers, 24))[speaker] for _ in range(3)]
    high = draw.random(clips) < draw.beta(2, 3, speakers)[speaker]
    return [layer.astype(np.float32) for layer in layers], high, speaker


def under_the_null(seeds: range, *, by_session: bool) -> pd.DataFrame:
    """AUC, p and interval of the whole procedure on corpora without a direction."""
    rows = []
    for seed in seeds:
        layers, high, speaker = nothing(seed)
        labels = shuffled(high, speaker, 99, seed)
        named = Layers(["a", "b", "c"], lambda i, layers=layers: layers[i])
        scores = held_out(named, labels, speaker // 2 if by_session else speaker, speaker).scores
        draws = draw_clusters(10, 300, seed)
        for pairs, strata in (("pooled", np.zeros_like(speaker)), ("within", speaker)):
            values = pairs_within(scores, labels, strata).auc()
            mine, within = scores[:, 0].astype(float), pairs == "within"
            found = estimate(values[0], values[1:], mine, high, speaker, draws, within=within)
            alone = np.percentile(resampled_auc(mine, high, speaker, draws, within=within), [2.5, 97.5])
            rows.append(
                {
                    "pairs": pairs,
                    "auc": found.value,
                    "p": found.p,
                    "covers": found.low <= 0.5 <= found.high,
                    "alone_covers": alone[0] <= 0.5 <= alone[1],
                }
            )
    return pd.DataFrame(rows)


def test_without_a_direction_the_expected_auc_is_a_half() -> None:
    found = under_the_null(range(40), by_session=False)
    for _, rows in found.groupby("pairs"):
        assert abs(rows["auc"].mean() - 0.5) < 3 * rows["auc"].std() / np.sqrt(len(rows))
        assert rows["covers"].mean() >= 0.85


@pytest.mark.prove
@pytest.mark.parametrize("by_session", [False, True])
def test_without_a_direction_p_is_uniform_and_the_interval_covers_a_half_at_its_rate(by_session: bool) -> None:
    found = under_the_null(range(200), by_session=by_session)
    for pairs, rows in found.groupby("pairs"):
        ks = kstest(rows["p"], "uniform").pvalue
        standard_error = rows["auc"].std() / np.sqrt(len(rows))
        print(f"{pairs}: AUC {rows['auc'].mean():.4f} +- {standard_error:.4f}, KS p {ks:.3f}, covers "
              f"{rows['covers'].mean():.3f}, speakers resampled alone {rows['alone_covers'].mean():.3f}")  # fmt: skip
        assert ks > 0.01
        assert abs(rows["auc"].mean() - 0.5) < 3 * standard_error
        assert 0.91 <= rows["covers"].mean() <= 0.99  # nominal .95; 200 corpora tell it to .015


def test_a_shuffle_keeps_how_often_each_speaker_is_rude_in_each_emotion() -> None:
    corpus = plant("anger")
    strata = numbered([f"{s}/{e}" for s, e in zip(corpus.clips["speaker_id"], corpus.clips["emotion"], strict=True)])
    labels = shuffled(corpus.clips["high"].to_numpy(), strata, 20, 0)
    counts = np.stack([np.bincount(strata, weights=column) for column in labels.T])
    assert (counts == counts[0]).all() and (labels[:, 1:] != labels[:, :1]).any()


@pytest.mark.parametrize(("clips", "speakers", "said"), [(480, 2, "of 2 speakers say nothing"), (8, 4, "at least 10")])
def test_too_few_clips_or_speakers_are_refused_in_words(clips: int, speakers: int, said: str) -> None:
    corpus = plant("trait", 3.0, clips=clips, speakers=speakers)
    with pytest.raises(BadInput, match=said):
        corpus.examined()


def test_what_little_data_cannot_carry_is_refused_in_words() -> None:
    metrics = plant("trait", 3.0, clips=60, speakers=4).examined().metrics
    said = " ".join(metrics["refused"])
    assert "4 speakers have clips in both groups" in said
    assert "that nothing was found would not say that nothing is there" in said
    assert "continuous or not: 60 clips" in said
    assert metrics["power"]["power_at_0.7"] < 0.8


def test_a_stand_in_says_that_its_groups_are_emotions() -> None:
    corpus = plant("anger", 3.0)
    clips = corpus.clips[corpus.clips["emotion"].isin(["angry", "sad"])]
    rows = clips.index.to_numpy()
    clips = clips.assign(high=clips["emotion"] == "angry", rating=np.nan).reset_index(drop=True)
    corpus = Planted([layer[rows] for layer in corpus.layers], clips, corpus.vector, corpus.ratings)
    metrics = corpus.examined(stand_in=True).metrics
    assert metrics["verdict"]["explained_by"] == "emotion"
    assert "emotions by choice" in metrics["verdict"]["why"]
    assert metrics["shape"]["verdict"] == "cannot be told"
    assert metrics["rating"] is None and metrics["compass"] == {}
