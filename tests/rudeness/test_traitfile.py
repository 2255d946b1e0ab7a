"""A direction as files: scores, percentiles, and what another corpus makes of it."""

from pathlib import Path

import numpy as np
import pytest

from ser_tasks.errors import BadInput
from ser_tasks.rudeness.traitfile import TraitVector, fit_vector, load_trait, save_trait
from ser_tasks.rudeness.transfer import transfer
from tests.rudeness.planted import Planted, plant


def fitted(corpus: Planted) -> TraitVector:
    """Percentiles are among the projections of the fit's own clips, so that they are known here."""
    high, values = corpus.clips["high"].to_numpy(), corpus.layers[1]
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    vector = standard[high].mean(axis=0) - standard[~high].mean(axis=0)
    projected = standard @ (vector / np.linalg.norm(vector))
    return fit_vector("rudeness", 1, "mean and sd", values, high, projected, {"corpus": "planted"})


def test_a_trait_survives_its_files(tmp_path: Path) -> None:
    corpus = plant("trait", 3.0)
    trait = fitted(corpus)
    save_trait(trait, tmp_path)
    again = load_trait(tmp_path)
    assert (again.name, again.layer, again.pooling, again.about) == (
        "rudeness",
        1,
        "mean and sd",
        {"corpus": "planted"},
    )
    np.testing.assert_array_equal(again.score(corpus.layers[1]), trait.score(corpus.layers[1]))


def test_scores_are_in_units_of_the_corpus_and_percentiles_are_its_ranks() -> None:
    corpus = plant("trait", 3.0)
    trait = fitted(corpus)
    score = trait.score(corpus.layers[1])
    assert score.mean() == pytest.approx(0, abs=1e-4) and score.std() == pytest.approx(1, abs=1e-3)
    percentile = trait.percentile(score)
    assert percentile.mean() == pytest.approx(50, abs=1)
    assert (trait.percentile(np.array([-99.0, 99.0])) == [0, 100]).all()
    ranks = score.argsort().argsort() / (len(score) - 1) * 100
    np.testing.assert_allclose(percentile, ranks, atol=1.5)


def test_the_mean_pooled_layer_is_the_first_half() -> None:
    layers = np.random.default_rng(0).normal(size=(5, 3, 8)).astype(np.float16)
    values, high = np.asarray(layers[:, 2, :4], dtype=np.float32), np.array([1, 0, 1, 0, 1], bool)
    trait = fit_vector("x", 2, "mean", values, high, np.zeros(5, dtype=np.float32), {})
    np.testing.assert_array_equal(trait.take(layers), layers[:, 2, :4].astype(np.float32))
    with pytest.raises(BadInput, match="layer 2 is not among"):
        trait.take(layers[:, :2])
    with pytest.raises(BadInput, match="embed with the encoder that it was fitted on"):
        trait.score(np.zeros((1, 9), dtype=np.float32))


def test_a_folder_without_a_whole_trait_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a trait"):
        load_trait(tmp_path)
    save_trait(fitted(plant("trait")), tmp_path)
    (tmp_path / "trait.safetensors").write_bytes(b"cut off")
    with pytest.raises(BadInput, match="does not fit"):
        load_trait(tmp_path)


def test_a_direction_transfers_to_a_corpus_that_shares_it_and_not_to_another() -> None:
    here = plant("trait", 3.0, seed=0)
    there, elsewhere = plant("nothing", seed=9, clips=300), plant("trait", 3.0, seed=5)
    there.layers[1] += 3.0 * np.outer((there.clips["high"] - 0.5), here.vector).astype(np.float32)
    elsewhere.layers[1] = elsewhere.layers[0]  # its direction lies in another layer
    for corpus, share in ((there, True), (elsewhere, False)):
        metrics, scored = transfer(
            fitted(here), np.stack(corpus.layers, axis=1), corpus.clips, permutations=199, resamples=200
        )
        assert (metrics["within_speaker"]["p"] <= 0.01) == share, metrics
        assert (metrics["pooled"]["low"] > 0.7) == share
        assert metrics["pooled"]["clips"] == len(scored) == len(corpus.clips)
        assert scored["percentile"].between(0, 100).all()


def test_a_corpus_without_labels_is_scored_without_an_auc() -> None:
    corpus = plant("trait", 3.0)
    metrics, scored = transfer(fitted(corpus), np.stack(corpus.layers, axis=1), corpus.clips.assign(high=None))
    assert metrics["pooled"] is None and len(scored) == 480
