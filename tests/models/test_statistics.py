"""Statistics of a voice: pitch is the voice's, and level, silence and padding are in none of them."""

import math

import pytest
import torch

from ser_tasks.audio.voice import Voice, VoiceOptions
from ser_tasks.models.statistics import VoiceStatistics, pitch_statistics
from tests.audio.test_speech import RATE, voice

VOICE = Voice(VoiceOptions())


def pitched(hz: float, seconds: float = 1.2) -> torch.Tensor:
    time = torch.arange(int(seconds * RATE)) / RATE
    return 0.05 * torch.stack([torch.sin(2 * math.pi * hz * k * time) / k for k in range(1, 12)]).sum(dim=0)


@pytest.mark.parametrize("hz", [80.0, 121.0, 205.0, 333.0, 440.0])
def test_the_pitch_of_a_voice_is_found(hz: float) -> None:
    waveform = pitched(hz)
    found = pitch_statistics(*VOICE(waveform[None], torch.tensor([len(waveform)])))[0]
    assert math.exp(float(found[3])) == pytest.approx(hz, rel=0.02)
    assert float(found[1]) < 0.03
    assert float(found[7]) > 0.9


def test_the_pitch_of_noisy_speech_is_still_its_own_and_noise_alone_has_none() -> None:
    generator = torch.Generator().manual_seed(0)
    waveform = pitched(180.0)
    noise = torch.randn(len(waveform), generator=generator)
    noisy = waveform + noise * waveform.square().mean().sqrt() * 0.3
    found = pitch_statistics(*VOICE(noisy[None], torch.tensor([len(noisy)])))[0]
    assert math.exp(float(found[3])) == pytest.approx(180.0, rel=0.03)
    hiss = pitch_statistics(*VOICE(noise[None], torch.tensor([len(noise)])))[0]
    assert float(hiss[7]) < 0.2


def test_statistics_know_neither_level_nor_padding_nor_outer_silence() -> None:
    statistics = VoiceStatistics(64, 20, 1e-5)
    clip, other = voice(1.4), voice(2.0, 1)
    batch = torch.zeros(2, len(other))
    batch[0, : len(clip)], batch[1] = clip, other
    together = statistics(*VOICE(batch, torch.tensor([len(clip), len(other)])))
    for changed in (clip * 0.03, clip * 10, torch.cat([torch.zeros(RATE), clip, torch.zeros(RATE)])):
        alone = statistics(*VOICE(changed[None], torch.tensor([len(changed)])))
        assert alone.shape == (1, statistics.size)
        if len(changed) == len(clip):
            torch.testing.assert_close(alone[0], together[0], rtol=1e-3, atol=1e-3)
        else:  # the frames at the ends of speech hold some silence now
            close = (alone[0] - together[0]).abs() / (together[0].abs() + 1) < 0.15
            assert float(close.float().mean()) > 0.9
    assert float((together[0] - together[1]).abs().max()) > 0.1


@pytest.mark.parametrize("samples", [50, 400, 1_000])
def test_statistics_of_very_short_and_of_silent_clips_are_finite(samples: int) -> None:
    statistics = VoiceStatistics(64, 20, 1e-5)
    for clip in (torch.zeros(samples), torch.randn(samples, generator=torch.Generator().manual_seed(0))):
        assert bool(statistics(*VOICE(clip[None], torch.tensor([samples]))).isfinite().all())
