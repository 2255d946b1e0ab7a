"""Noise floor, bandwidth and digital silence of signals whose answers are known."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from ser_tasks.audio.measure import Facts, measure

NOT_KNOWN = pytest.approx(float("nan"), nan_ok=True)


def noise(seconds: float, level_db: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 10 ** (level_db / 20), round(seconds * rate))


def speech(rate: int = 16000, noise_db: float = -60.0, level_db: float = -20.0) -> np.ndarray:
    """Half a second of something and of nothing by turns, in room noise."""
    whole = noise(4, noise_db, rate, seed=1)
    loud = noise(4, level_db, rate, seed=2)
    return whole + np.where(np.arange(len(whole)) * 2 // rate % 2, loud, 0)


def facts(samples: np.ndarray, rate: int = 16000, container: str = "WAV", **how: Any) -> Facts:
    body = io.BytesIO()
    soundfile.write(body, samples, rate, format=container, **how)
    return measure(body.getvalue(), "x")


def limited(rate: int, limit_hz: int) -> np.ndarray:
    """White noise that holds nothing above a limit, as resampling leaves it."""
    return soxr.resample(noise(4, -25, 2 * limit_hz), 2 * limit_hz, rate, quality="VHQ")


@pytest.mark.parametrize("level_db", [-70, -50, -30])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_noise_floor_is_that_of_the_gaps(level_db: float, rate: int) -> None:
    assert facts(speech(rate, level_db), rate).noise_db == pytest.approx(level_db, abs=1)


def test_digital_silence_is_counted_and_is_no_noise_floor() -> None:
    gated = np.concatenate([np.zeros(32000), speech()])
    found = facts(gated)
    assert found.digital_silence_fraction == pytest.approx(1 / 3, abs=0.01)
    assert found.noise_db == pytest.approx(-60, abs=1)
    dithered = gated + np.random.default_rng(0).integers(-1, 2, len(gated)) / 32768
    assert facts(dithered).digital_silence_fraction == pytest.approx(1 / 3, abs=0.01)
    assert facts(speech()).digital_silence_fraction == 0


def test_a_clip_without_sound_has_neither_noise_floor_nor_bandwidth() -> None:
    found = facts(np.zeros(16000))
    assert (found.noise_db, found.bandwidth_hz, found.digital_silence_fraction) == (NOT_KNOWN, NOT_KNOWN, 1.0)


def test_an_offset_is_neither_noise_nor_bandwidth() -> None:
    shifted = facts(speech() + 0.1)
    assert shifted.dc_offset == pytest.approx(0.1, abs=0.001)
    assert shifted.noise_db == pytest.approx(-60, abs=1)
    telephone = limited(16000, 4000)
    assert facts(telephone + 0.1).bandwidth_hz == facts(telephone).bandwidth_hz


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
def test_the_bandwidth_ends_where_the_sound_ends(rate: int) -> None:
    assert facts(limited(rate, 4000), rate).bandwidth_hz == pytest.approx(4000, abs=150)
    if rate >= 16000:
        assert facts(limited(rate, 8000), rate).bandwidth_hz == pytest.approx(8000, abs=150)
    assert facts(noise(4, -25, rate), rate).bandwidth_hz == pytest.approx(rate / 2, abs=50)


@pytest.mark.parametrize("level_db", [-20, -45, -60])
def test_rounding_to_sixteen_bits_is_no_bandwidth(level_db: float) -> None:
    quiet = limited(16000, 4000) * 10 ** ((level_db + 25) / 20)
    assert facts(quiet, subtype="PCM_16").bandwidth_hz == pytest.approx(4000, abs=200)


def test_a_voice_that_falls_off_by_forty_db_still_reaches_all_of_its_band() -> None:
    """A vowel's overtones: 12 dB less an octave above 500 Hz, as in the long-term spectrum of speech."""
    time = np.arange(64000) / 16000
    partials = np.arange(1, 66) * 120
    heights = np.minimum(1.0, (partials / 500.0) ** -2)
    voice = (heights[:, None] * np.sin(2 * np.pi * partials[:, None] * time)).sum(axis=0)
    assert facts(0.1 * voice / np.abs(voice).max() + noise(4, -80)).bandwidth_hz >= 7600


@pytest.mark.parametrize(("compression", "cut_hz"), [(0.5, 16_500), (0.9, 8_000)])
def test_an_mp3_reads_where_its_encoder_cut(compression: float, cut_hz: float) -> None:
    found = facts(noise(4, -25, 44100), 44100, "MP3", compression_level=compression)
    assert found.bandwidth_hz == pytest.approx(cut_hz, rel=0.05)


def test_stereo_and_float_give_what_mono_sixteen_bits_give() -> None:
    one = facts(speech(), subtype="PCM_16")
    two = facts(np.stack([speech()] * 2, axis=1), subtype="FLOAT")
    assert two.noise_db == pytest.approx(one.noise_db, abs=0.05)
    assert two.bandwidth_hz == one.bandwidth_hz
