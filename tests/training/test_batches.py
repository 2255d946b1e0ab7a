import numpy as np

from ser_tasks.training.batches import prediction_batches, training_batches

LENGTHS = np.random.default_rng(0).integers(8_000, 80_000, size=1_000).tolist()


def test_every_clip_comes_once_in_an_epoch() -> None:
    for batches in (training_batches(LENGTHS, 32, 100.0, 0, 0), prediction_batches(LENGTHS, 100.0)):
        assert sorted(position for batch in batches for position in batch) == list(range(1_000))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = training_batches(LENGTHS, 32, 100.0, seed=1, epoch=2)
    np.random.seed(7)
    assert training_batches(LENGTHS, 32, 100.0, seed=1, epoch=2) == first
    assert training_batches(LENGTHS, 32, 100.0, seed=1, epoch=3) != first
    assert training_batches(LENGTHS, 32, 100.0, seed=2, epoch=2) != first


def test_no_batch_is_larger_than_allowed_and_little_of_it_is_padding() -> None:
    batches = training_batches(LENGTHS, 32, 100.0, 0, 0)
    padded = [len(batch) * max(LENGTHS[i] for i in batch) for batch in batches]
    assert max(len(batch) for batch in batches) == 32
    assert max(padded) <= 100 * 16_000
    assert sum(padded) < 1.1 * sum(LENGTHS)


def test_a_clip_longer_than_a_batch_makes_one_of_its_own() -> None:
    assert prediction_batches([16_000, 16_000 * 500], 100.0) == [[0], [1]]
