"""Frozen convolutional features: computed once, and training on them is training without them."""

import errno
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.examples import Examples
from ser_tasks.training.fit import fit
from tests.training.kill_me import LABELS, OPTIONS, tones

SHAPE = {"hidden_size": 16, "layers": 1, "heads": 2, "feed_forward_size": 16, "convolution_channels": 8}
FLOAT32 = replace(OPTIONS, epochs=3, precision="float32")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Examples, Examples]:
    return tones(tmp_path_factory.mktemp("tones"))


def wav2vec2(**options: Any) -> torch.nn.Module:
    return build_model(ModelSpec("wav2vec2", {"encoder": {"random": SHAPE}, **options}, LABELS))


def caches(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir()) if folder.is_dir() else []


def test_training_on_cached_features_equals_training_without(pair: tuple[Examples, Examples], tmp_path: Path) -> None:
    plain, cached = wav2vec2(), wav2vec2()
    expected = fit(plain, *pair, LABELS, FLOAT32)
    found = fit(cached, *pair, LABELS, FLOAT32, cache_folder=tmp_path)
    assert len(caches(tmp_path)) == 1
    for one, other in zip(expected, found, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, abs=1e-4)
        assert other.dev_loss == pytest.approx(one.dev_loss, abs=1e-4)
    state = plain.state_dict()
    assert all(torch.allclose(tensor, state[name], atol=1e-4) for name, tensor in cached.state_dict().items())


def test_the_convolutions_run_once_for_each_clip(
    pair: tuple[Examples, Examples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = wav2vec2()
    clips: list[int] = []
    compute = model.encoder.features

    def counted(waveforms: torch.Tensor, lengths: torch.Tensor) -> Any:
        clips.append(len(lengths))
        return compute(waveforms, lengths)

    monkeypatch.setattr(model.encoder, "features", counted)
    fit(model, *pair, LABELS, FLOAT32, cache_folder=tmp_path)
    assert sum(clips) == 36 + 1, "every clip once, and the longest one to know the size"
    clips.clear()
    fit(model, *pair, LABELS, FLOAT32, cache_folder=tmp_path)
    assert clips == [], "a second training finds them"


def test_bfloat16_is_stored_as_it_is_computed(pair: tuple[Examples, Examples], tmp_path: Path) -> None:
    options = replace(FLOAT32, precision="bf16")
    expected = fit(wav2vec2(), *pair, LABELS, options)
    found = fit(wav2vec2(), *pair, LABELS, options, cache_folder=tmp_path)
    assert found[-1].dev_loss == pytest.approx(expected[-1].dev_loss, abs=2e-3)


@pytest.mark.parametrize(
    ("model", "change"),
    [
        ({"freeze_feature_encoder": False}, {}),  # the features change
        ({}, {"mixup": 0.2}),  # the waveforms do
        ({}, {"epochs": 1}),  # nobody would read them
        ({}, {"cache_features": False}),
    ],
)
def test_nothing_is_cached_where_it_would_be_wrong_or_useless(
    model: dict[str, Any], change: dict[str, Any], pair: tuple[Examples, Examples], tmp_path: Path
) -> None:
    fit(wav2vec2(**model), *pair, LABELS, replace(FLOAT32, **change), cache_folder=tmp_path)
    assert caches(tmp_path) == []


def test_a_full_disk_costs_the_cache_and_not_the_training(
    pair: tuple[Examples, Examples], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **options: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with caplog.at_level(logging.WARNING):
        history = fit(wav2vec2(), *pair, LABELS, FLOAT32, cache_folder=tmp_path)
    assert len(history) == FLOAT32.epochs
    assert "No space left on device" in caplog.text


def test_beyond_its_bound_a_cache_is_not_made_and_older_ones_make_room(
    pair: tuple[Examples, Examples], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        fit(wav2vec2(), *pair, LABELS, replace(FLOAT32, cache_gb=1e-5), cache_folder=tmp_path)
    assert "features of 36 clips need 0.0 GB, cache_gb allows 0.0" in caplog.text
    assert caches(tmp_path) == []
    fit(wav2vec2(), *pair, LABELS, FLOAT32, cache_folder=tmp_path)
    (first,) = caches(tmp_path)
    bound = 1.5 * sum(file.stat().st_size for file in first.iterdir()) / 1e9
    train, dev = pair
    other = replace(train, rows=train.rows[:-1])
    fit(wav2vec2(), other, dev, LABELS, replace(FLOAT32, cache_gb=bound), cache_folder=tmp_path)
    (second,) = caches(tmp_path)
    assert second != first
