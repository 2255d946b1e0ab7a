"""The trait direction: a planted one is found, nothing is found in noise, too little data is refused."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ser_tasks.errors import BadInput
from ser_tasks.rudeness.prosody import measure_prosody
from ser_tasks.rudeness.trait import auc, direction, fit_trait


def planted(strength: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], list[str]]:
    draw = np.random.default_rng(seed)
    vector = draw.normal(size=32)
    vector /= np.linalg.norm(vector)
    high = draw.random(400) < 0.4
    speakers = [f"s{i % 10}" for i in range(400)]
    embeddings = draw.normal(size=(400, 32)) + strength * np.outer(high, vector)
    return embeddings, high, vector, [f"session{i % 5}" for i in range(400)], speakers


def test_a_planted_direction_is_recovered() -> None:
    embeddings, high, vector, sessions, speakers = planted(2.0)
    fit = fit_trait(embeddings, high, sessions, speakers, 200, 0)
    assert fit.auc > 0.85
    assert fit.low < fit.auc < fit.high
    found = direction(embeddings, high)
    assert found @ vector / np.linalg.norm(found) > 0.9


def test_without_a_direction_nothing_is_found_on_held_out_sessions() -> None:
    values = []
    for seed in range(5):
        embeddings, high, _, sessions, speakers = planted(0.0, seed)
        values.append(fit_trait(embeddings, high, sessions, speakers, 100, 0).auc)
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


def test_auc_equals_scikit_learns_with_ties() -> None:
    draw = np.random.default_rng(0)
    score, high = draw.integers(5, size=200).astype(float), draw.random(200) < 0.3
    assert auc(score, high) == pytest.approx(roc_auc_score(high, score))


def test_too_few_clips_or_speakers_are_refused_in_words() -> None:
    embeddings, high, _, sessions, speakers = planted(2.0)
    with pytest.raises(BadInput, match="of 2 speakers say nothing"):
        fit_trait(embeddings, high, sessions, [f"s{i % 2}" for i in range(400)], 200, 0)
    with pytest.raises(BadInput, match="at least 10 clips"):
        fit_trait(embeddings[:8], high[:8], sessions[:8], speakers[:8], 200, 0)


def test_prosody_measures_level_and_brightness() -> None:
    time = np.arange(16000) / 16000
    clips = [
        ("low", (0.1 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)),
        ("high", (0.01 * np.sin(2 * np.pi * 3000 * time)).astype(np.float32)),
    ]
    low, high = measure_prosody(iter(clips)).itertuples()
    assert low.rms_db == pytest.approx(-23.0, abs=0.1)
    assert high.rms_db == pytest.approx(-43.0, abs=0.1)
    assert low.centroid_hz == pytest.approx(300, rel=0.1)
    assert high.centroid_hz == pytest.approx(3000, rel=0.1)
