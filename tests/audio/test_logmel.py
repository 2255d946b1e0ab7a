from typing import Any

import numpy as np
import pytest
import torch

from ser_tasks.audio.augment import Augment, AugmentOptions
from ser_tasks.audio.logmel import LogMel, LogMelOptions, normalised


def clips(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveforms[row, :length] = 0.1 * torch.randn(length, generator=generator)
    return waveforms, torch.tensor(lengths)


def test_frames_are_counted_by_whole_windows() -> None:
    features, counts = LogMel(LogMelOptions())(*clips(16_000, 400, 559, 560, 100))
    assert counts.tolist() == [98, 1, 1, 2, 1]
    assert features.shape == (5, 64, 98)


@pytest.mark.parametrize("after", [normalised, lambda features, counts: features], ids=["normalised", "as it is"])
def test_neither_padding_nor_what_lies_in_it_changes_a_real_frame(after: Any) -> None:
    plain = LogMel(LogMelOptions())

    def logmel(waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features, counts = plain(waveforms, lengths)
        return after(features, counts), counts

    waveforms, lengths = clips(16_000, 9_001, 300)
    together, counts = logmel(waveforms + 0.5 * (torch.arange(16_000) >= lengths[:, None]), lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, count = logmel(waveforms[row : row + 1, :length], lengths[row : row + 1])
        assert count[0] == counts[row]
        torch.testing.assert_close(together[row, :, : counts[row]], alone[0, :, : counts[row]], rtol=0, atol=1e-5)
        assert not together[row, :, counts[row] :].any()


def test_a_tone_is_loudest_in_the_bin_of_its_frequency() -> None:
    logmel = LogMel(LogMelOptions())
    loudest = []
    for hz in (250, 1000, 4000):
        tone = torch.sin(2 * np.pi * hz * torch.arange(16_000) / 16_000)[None]
        features, _ = logmel(tone, torch.tensor([16_000]))
        loudest.append(int(features[0].mean(dim=1).argmax()))
    assert loudest == sorted(loudest)
    assert len(set(loudest)) == 3


def test_normalised_features_have_mean_zero_and_spread_one_over_real_frames() -> None:
    features, counts = LogMel(LogMelOptions())(*clips(16_000, 8_000))
    features = normalised(features, counts)
    for row, count in enumerate(counts.tolist()):
        real = features[row, :, :count]
        assert abs(float(real.mean())) < 1e-4
        assert abs(float(real.std()) - 1) < 1e-2


def test_every_filter_hears_something() -> None:
    assert bool((LogMel(LogMelOptions()).mel.mel_scale.fb.sum(dim=0) > 0).all())


def test_nothing_is_changed_outside_training() -> None:
    features, counts = torch.randn(2, 64, 50), torch.tensor([50, 30])
    same, same_counts = Augment(AugmentOptions()).eval()(features, counts)
    assert same is features
    assert same_counts is counts


def test_the_same_seed_changes_features_in_the_same_way() -> None:
    features, counts = torch.randn(4, 64, 50), torch.tensor([50, 30, 20, 1])
    augment = Augment(AugmentOptions()).train()
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(augment(features, counts)[0])
    assert torch.equal(runs[0], runs[1])
    assert runs[0].shape != runs[2].shape or not torch.equal(runs[0], runs[2])


def test_masks_stay_within_their_widths_and_within_the_clip() -> None:
    options = AugmentOptions(time_masks=1, time_mask_fraction=0.2, bin_masks=0, stretch=0, bin_shift=0)
    counts = torch.tensor([50, 20])
    features = torch.ones(2, 64, 50) * (torch.arange(50) < counts[:, None])[:, None]
    widths = []
    for seed in range(50):
        torch.manual_seed(seed)
        masked, _ = Augment(options).train()(features, counts)
        assert not masked[1, :, 20:].any()
        widths.append([int((masked[row, 0, :count] == 0).sum()) for row, count in enumerate(counts)])
    assert np.max(widths, axis=0).tolist() == [10, 4]
    assert np.min(widths, axis=0).tolist() == [0, 0]


def test_stretching_changes_the_number_of_frames_and_keeps_the_padding_silent() -> None:
    options = AugmentOptions(time_masks=0, bin_masks=0, stretch=0.2, bin_shift=0)
    features = torch.arange(1.0, 51).expand(3, 64, 50) * (torch.arange(50) < torch.tensor([[50], [40], [1]]))[:, None]
    torch.manual_seed(0)
    stretched, counts = Augment(options).train()(features, torch.tensor([50, 40, 1]))
    for row, most in enumerate((50, 40, 1)):
        real = stretched[row, 0, : counts[row]]
        assert bool((real.diff() > 0).all())  # in order
        assert float(real[0]) == 1.0
        assert float(real.max()) <= most
        assert not stretched[row, :, counts[row] :].any()
    assert counts.tolist() != [50, 40, 1]
