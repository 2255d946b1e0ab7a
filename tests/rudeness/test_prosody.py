"""Prosody of sounds whose prosody is known, and next to Praat's where that is installed."""

from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest

from ser_tasks.audio.decode import decode
from ser_tasks.rudeness.effects import effect_sizes
from ser_tasks.rudeness.prosody import MEASURES, measure_prosody

RATE = 16_000


def voice(f0: np.ndarray | float, seconds: float = 1.0, noise: float = 0.0, tilt: float = 1.0) -> np.ndarray:
    """Twenty harmonics of a pitch in Hz, the k-th with amplitude 1 / k ** tilt."""
    pitch = np.broadcast_to(np.asarray(f0, dtype=float), int(seconds * RATE))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    samples = sum(np.sin(k * phase) / k**tilt for k in range(1, 21))
    samples = samples + noise * np.random.default_rng(0).normal(size=len(pitch))
    return (0.1 * samples / np.sqrt(np.mean(np.square(samples)))).astype(np.float32)


def measured(samples: np.ndarray) -> pd.Series:
    return measure_prosody([("a", samples.astype(np.float32))]).iloc[0]


@pytest.mark.parametrize("f0", [90, 150, 240, 410])
def test_pitch_is_that_of_the_voice(f0: float) -> None:
    row = measured(voice(f0))
    assert row["f0_hz"] == pytest.approx(f0, rel=0.005)
    assert row["f0_sd_st"] < 0.1 and row["voiced_share"] > 0.95


def test_a_fall_of_an_octave_in_two_seconds_is_six_semitones_a_second() -> None:
    row = measured(voice(200 * 2 ** -(np.arange(2 * RATE) / (2 * RATE)), 2.0))
    assert row["f0_slope_st_s"] == pytest.approx(-6, abs=0.1)
    assert row["f0_sd_st"] == pytest.approx(12 / np.sqrt(12), rel=0.05)


def test_noise_lowers_the_harmonics_to_noise_ratio_by_as_much() -> None:
    clean, noisy, noisier = (measured(voice(150, noise=noise))["hnr_db"] for noise in (0.01, 0.15, 0.3))
    assert clean > 25
    assert noisy - noisier == pytest.approx(6, abs=1)


def test_jitter_and_shimmer_rise_with_what_they_measure() -> None:
    draw = np.random.default_rng(0)
    jitters, shimmers = [], []
    for amount in (0.0, 0.02, 0.05):
        pulses = np.zeros(2 * RATE)
        at = np.cumsum(RATE / 140 * (1 + amount * draw.normal(size=250))).astype(int)
        pulses[at[at < len(pulses)]] = 1
        tube = np.exp(-np.arange(200) / 30) * np.sin(2 * np.pi * 700 * np.arange(200) / RATE)
        jitters.append(measured(0.3 * np.convolve(pulses, tube)[: len(pulses)])["jitter"])
        louder = np.zeros_like(pulses)
        places = np.arange(0, len(pulses), 114)
        louder[places] = 1 + amount * draw.normal(size=len(places))
        shimmers.append(measured(0.3 * np.convolve(louder, tube)[: len(louder)])["shimmer"])
    assert jitters[0] < 0.005 and jitters[0] < jitters[1] < jitters[2]
    assert jitters[1] == pytest.approx(0.02 * 2 / np.sqrt(np.pi), rel=0.35)
    assert shimmers[0] < 0.01 and shimmers[2] == pytest.approx(0.05 * 2 / np.sqrt(np.pi), rel=0.35)


def test_a_steeper_spectrum_has_a_higher_first_harmonic() -> None:
    steep, flat = measured(voice(200, tilt=2.0))["h1_h2_db"], measured(voice(200, tilt=1.0))["h1_h2_db"]
    assert steep == pytest.approx(20 * np.log10(4), abs=0.7)
    assert flat == pytest.approx(20 * np.log10(2), abs=0.7)


def test_syllables_and_pauses_are_counted() -> None:
    beat = np.sin(np.pi * np.arange(int(0.25 * RATE)) / (0.25 * RATE)) ** 2
    words = voice(150, 1.0) * np.tile(beat, 4)
    row = measured(np.concatenate([words, np.zeros(RATE // 2), words]))
    assert row["speech_rate_hz"] == pytest.approx(8 / 2.4, rel=0.1)
    assert row["articulation_rate_hz"] == pytest.approx(4, rel=0.2)
    assert row["pauses_per_s"] == pytest.approx(1 / 2.4, rel=0.1)
    assert row["pause_share"] == pytest.approx(0.6 / 2.4, rel=0.25)


def test_level_and_brightness_equal_librosas() -> None:
    samples = np.concatenate([voice(150), 0.001 * voice(300)])
    row = measured(samples)
    spectrum = np.abs(librosa.stft(samples, n_fft=1024, hop_length=256))
    rms = librosa.feature.rms(S=spectrum, frame_length=1024)[0]
    centroid = librosa.feature.spectral_centroid(S=spectrum, sr=RATE)[0]
    assert row["centroid_hz"] == pytest.approx(centroid[rms >= rms.max() * 10 ** (-30 / 20)].mean(), rel=1e-4)
    assert row["rms_db"] == pytest.approx(10 * np.log10(np.mean(samples.astype(float) ** 2)), abs=1e-6)


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.zeros(5), np.full(RATE, 0.3), voice(150)[:700]])
def test_a_clip_without_voice_has_a_row_without_voice_measures(samples: np.ndarray) -> None:
    row = measured(samples)
    assert set(MEASURES) < set(row.index)
    assert np.isfinite(row["rms_db"]) and np.isnan(row["jitter"])


def test_a_clips_measures_do_not_depend_on_the_clips_beside_it() -> None:
    clips = [(f"u{i}", voice(100 + 20 * i, 0.3 + 0.1 * i, noise=0.1)) for i in range(20)]
    together, alone = measure_prosody(iter(clips)), pd.concat([measure_prosody([clip]) for clip in clips])
    pd.testing.assert_frame_equal(together, alone.reset_index(drop=True))


def test_pitch_and_voice_quality_follow_praats_on_real_speech(ravdess: Path) -> None:
    parselmouth = pytest.importorskip(
        "parselmouth", reason="GPL, not a part of this project: pip install it to compare"
    )
    call = parselmouth.praat.call
    rows, ours = [], []
    for path in sorted(ravdess.rglob("*.flac"))[::40]:
        samples = decode(path).samples
        ours.append((path.stem, samples))
        sound = parselmouth.Sound(samples.astype(float), RATE)
        pitch = sound.to_pitch_ac(time_step=0.01, pitch_floor=75, pitch_ceiling=600)
        f0 = pitch.selected_array["frequency"]
        f0 = f0[f0 > 0]
        harmonicity = sound.to_harmonicity_cc(0.01, 75).values
        points = call([sound, pitch], "To PointProcess (cc)")
        rows.append(
            {
                "f0_hz": np.median(f0),
                "f0_sd_st": np.std(12 * np.log2(f0)),
                "hnr_db": harmonicity[harmonicity > -199].mean(),
                "jitter": call(points, "Get jitter (local)", 0, 0, 0.0001, 0.02, 1.3),
                "shimmer": call([sound, points], "Get shimmer (local)", 0, 0, 0.0001, 0.02, 1.3, 1.6),
            }
        )
    theirs, mine = pd.DataFrame(rows), measure_prosody(ours)
    assert ((mine["f0_hz"] / theirs["f0_hz"] - 1).abs() < 0.05).mean() > 0.9
    least = {"f0_hz": 0.97, "f0_sd_st": 0.8, "hnr_db": 0.8, "jitter": 0.75, "shimmer": 0.75}
    found = {name: mine[name].corr(theirs[name], method="spearman") for name in least}
    assert all(found[name] > least[name] for name in least), found


def test_effect_sizes_leave_differences_between_speakers_out_and_hold_the_false_discovery_rate() -> None:
    draw = np.random.default_rng(0)
    speakers = np.arange(400) % 10
    high = draw.random(400) < 0.2 + 0.06 * speakers
    measures = pd.DataFrame({f"nothing{i}": draw.normal(size=400) for i in range(20)})
    measures["speaker_only"] = 3.0 * speakers + draw.normal(size=400)
    measures["real"] = 0.8 * high + 3.0 * speakers + draw.normal(size=400)
    measures["unknown"] = np.nan
    found = effect_sizes(measures, high, speakers, 499, 0).set_index("measure")
    assert found.loc["real", "d"] == pytest.approx(0.8, abs=0.25)
    assert found.loc["real", "d_low"] > 0.3 and found.loc["real", "q"] < 0.05
    assert found.loc["speaker_only", "q"] > 0.05 and abs(found.loc["speaker_only", "d"]) < 0.3
    assert (found["q"] < 0.05).sum() == 1
    assert found.loc["unknown"].drop(["clips", "speakers"]).isna().all()
