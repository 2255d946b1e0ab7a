"""Speech is found and brought to one level, whatever the recording's level and the silence around it."""

import numpy as np
import pytest
import torch

from ser_tasks.audio.decode import decode
from ser_tasks.audio.speech import Speech, SpeechOptions
from tests.conftest import SHARED_CORPORA

RATE = 16_000
REAL = [
    path
    for corpus, pattern in (("ravdess", "Actor_0[2-5]/*-01-01-01-*.flac"), ("nemo", "samples/*_3.flac"))
    for path in sorted((SHARED_CORPORA / corpus).glob(pattern))[:12]
]


def voice(seconds: float = 1.5, seed: int = 0) -> torch.Tensor:
    """Like speech: harmonics of 140 Hz in syllables, four a second, 10 dB apart."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    carrier = sum(np.sin(2 * np.pi * 140 * k * time + generator.uniform(0, 6)) / k for k in range(1, 20))
    return torch.from_numpy((0.05 * (0.7 + 0.3 * np.sin(2 * np.pi * 4 * time)) * carrier).astype(np.float32))


def found(waveform: torch.Tensor) -> torch.Tensor:
    cut, lengths = Speech(SpeechOptions())(waveform[None], torch.tensor([len(waveform)]))
    return cut[0, : int(lengths[0])]


@pytest.mark.parametrize("gain_db", [-30, -12, 6, 20])
def test_level_does_not_matter(gain_db: float) -> None:
    waveform = voice()
    torch.testing.assert_close(found(waveform * 10 ** (gain_db / 20)), found(waveform), rtol=1e-4, atol=1e-5)


def test_speech_frames_get_the_level_that_is_asked_for() -> None:
    speech = Speech(SpeechOptions(level_db=-26.0))
    cut, lengths = speech(voice()[None], torch.tensor([int(1.5 * RATE)]))
    power, active = speech.activity(cut, lengths)
    assert 10 * float(((power * active).sum() / active.sum()).log10()) == pytest.approx(-26.0, abs=0.1)


@pytest.mark.parametrize("room_db", [-np.inf, -70.0, -40.0])
def test_silence_or_room_noise_around_speech_is_left_out(room_db: float) -> None:
    waveform = voice()
    generator = torch.Generator().manual_seed(1)
    level = float(waveform.square().mean().sqrt()) * 10 ** (room_db / 20)
    ends = [level * torch.randn(RATE, generator=generator) for _ in range(2)]
    padded = found(torch.cat([ends[0], waveform, ends[1]]))
    # 50 ms stay on either side, and of the frames at the ends what lies outside of speech
    assert len(waveform) < len(padded) <= len(waveform) + 0.16 * RATE
    inside = Speech(SpeechOptions()).activity(padded[None], torch.tensor([len(padded)]))[1][0]
    assert int(inside.sum()) == pytest.approx(len(waveform) / 160, abs=4)


def test_a_click_and_hum_are_no_speech() -> None:
    waveform = voice()
    silence = torch.zeros(RATE)
    silence[5_000] = 0.9
    silence += 0.02 * torch.sin(2 * torch.pi * 50 * torch.arange(RATE) / RATE)
    assert len(found(torch.cat([silence, waveform]))) < len(waveform) + 0.15 * RATE


@pytest.mark.parametrize("samples", [1, 100, 399, 1_000])
def test_what_holds_no_speech_or_hardly_any_is_kept_whole(samples: int) -> None:
    zeros = found(torch.zeros(samples))
    assert len(zeros) >= samples
    assert not zeros.any()
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    assert len(found(noise)) > 0
    assert bool(found(noise).isfinite().all())


def test_a_clips_speech_does_not_depend_on_its_batch() -> None:
    clips = [voice(1.5), voice(0.4, 1), torch.zeros(3_000), voice(2.0, 2)[:9_999]]
    batch = torch.full((4, 40_000), 0.3)
    for row, clip in enumerate(clips):
        batch[row, : len(clip)] = clip
    cut, lengths = Speech(SpeechOptions())(batch, torch.tensor([len(clip) for clip in clips]))
    for row, clip in enumerate(clips):
        alone = found(clip)
        assert int(lengths[row]) == len(alone)
        torch.testing.assert_close(cut[row, : len(alone)], alone, rtol=1e-5, atol=1e-7)
        assert not cut[row, len(alone) :].any()


def test_of_a_very_short_clip_the_margins_are_no_speech() -> None:
    noise = 0.1 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    _, _, active = Speech(SpeechOptions()).cut(noise[None], torch.tensor([400]))
    assert 1 <= int(active.sum()) <= 6


@pytest.mark.parametrize("later", [1, 53, 80, 159, 1_000])
def test_frames_are_counted_from_where_speech_begins_not_from_where_the_file_does(later: int) -> None:
    clip = torch.cat([torch.zeros(4_000), voice(), torch.zeros(4_000)])
    ours, shifted = found(clip), found(clip[later:])
    assert abs(len(ours) - len(shifted)) <= 160
    n = min(len(ours), len(shifted))
    apart = min(
        float((ours[8 : n - 8] - shifted[8 + by : n - 8 + by]).square().mean()) for by in range(-8, 9)
    )  # half a millisecond
    assert apart < 1e-4 * float(ours.square().mean())


def test_a_file_whose_silence_was_cut_off_gives_the_frames_of_the_whole() -> None:
    whole = torch.cat([torch.zeros(4_000), voice(), torch.zeros(4_000)])
    ours, cut = found(whole), found(voice())
    assert abs(len(ours) - len(cut)) <= 160
    n = min(len(ours), len(cut))
    apart = min(float((ours[8 : n - 8] - cut[8 + by : n - 8 + by]).square().mean()) for by in range(-8, 9))
    assert apart < 1e-4 * float(ours.square().mean())


@pytest.mark.skipif(not REAL, reason="the real corpora are not at hand (SER_TEST_CORPORA)")
def test_the_ends_of_real_speech_are_those_that_librosa_finds() -> None:
    """librosa.effects.split at 30 dB below the loudest frame is the reference; words' soft ends lie between the two."""
    librosa = pytest.importorskip("librosa")
    differences = []
    for path in REAL:
        samples = decode(path).samples
        waveform = torch.from_numpy(samples)[None]
        speech = Speech(SpeechOptions(hangover_ms=0))
        _, active = speech.activity(waveform, torch.tensor([len(samples)]))
        frames = active[0].nonzero()[:, 0]
        first, end = int(frames[0]) * 160, int(frames[-1]) * 160 + 400
        spans = librosa.effects.split(samples, top_db=30, frame_length=512, hop_length=160)
        differences.append((first - spans[0][0], end - spans[-1][1]))
    assert np.median(np.abs(differences), axis=0).max() < 0.06 * RATE
