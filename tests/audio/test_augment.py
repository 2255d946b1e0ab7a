"""Another microphone, room or line, on mel power: each change does what it would do to the waveform."""

from typing import Any

import pytest
import scipy.signal
import torch

from ser_tasks.audio.augment import AugmentRoom, RoomOptions, centres_hz
from ser_tasks.audio.voice import EXTRA_CHANNELS, Voice, VoiceOptions
from tests.audio.test_speech import RATE, voice

NOTHING: dict[str, Any] = {
    "gain_db": 0.0,
    "reverb": 0.0,
    "noise": 0.0,
    "colour_db": 0.0,
    "band": 0.0,
    "silence": 0.0,
    "time_shift": 0.0,
}
VOICE = Voice(VoiceOptions())


def power_of(*waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mel power [clips, frames, bins] of waveforms as they are, and frames."""
    longest = max(len(each) for each in waveforms)
    batch = torch.stack([torch.nn.functional.pad(each, (0, longest - len(each))) for each in waveforms])
    whole = Voice(VoiceOptions(front_end="whole"))
    features, counts = whole(batch, torch.tensor([len(each) for each in waveforms]))
    return features[:, :, :-EXTRA_CHANNELS], counts


def changed(power: torch.Tensor, counts: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    room = AugmentRoom(RoomOptions(**(NOTHING | options)), VOICE.filters, RATE / 2).train()
    found: tuple[torch.Tensor, torch.Tensor] = room(power, counts)
    return found


def db(power: torch.Tensor) -> torch.Tensor:
    return 10 * power.clamp(min=1e-12).log10()


def test_nothing_is_changed_outside_training_or_where_all_is_off() -> None:
    power, counts = power_of(voice(1.0), voice(0.6, 1))
    every = AugmentRoom(RoomOptions(), VOICE.filters, RATE / 2).eval()(power, counts)
    assert torch.equal(every[0], power)
    assert torch.equal(every[1], counts)
    assert torch.equal(changed(power, counts)[0], power)


def test_gain_is_drawn_for_each_clip_within_its_bounds() -> None:
    power, counts = power_of(*(voice(0.5, seed) for seed in range(24)))
    torch.manual_seed(0)
    louder = changed(power, counts, gain_db=3.0)[0]
    by_clip = db(louder.sum(dim=(1, 2))) - db(power.sum(dim=(1, 2)))
    assert -3.01 <= float(by_clip.min()) < -1.5
    assert 1.5 < float(by_clip.max()) <= 3.01


def test_noise_lies_as_far_below_speech_as_was_drawn_and_stays_in_the_clip() -> None:
    power, counts = power_of(voice(1.5), voice(0.9, 1), voice(1.2, 2), voice(1.0, 3))
    torch.manual_seed(0)
    for _ in range(6):
        noise = changed(power, counts, noise=1.0, noise_snr_db=(20.0, 20.0))[0] - power
        for row, count in enumerate(counts.tolist()):
            ratio = power[row, :count].mean() / noise[row, :count].mean()
            assert float(10 * ratio.log10()) == pytest.approx(20.0, abs=0.01)
            assert not noise[row, count:].any()


def test_white_noise_on_mel_power_is_white_noise_on_the_waveform() -> None:
    """Of each bin the mean over time is the same within 1.5 dB, and the spread from cell to cell within 2 dB."""
    speech = voice(3.0)
    generator = torch.Generator().manual_seed(2)
    level = float(speech.square().mean().sqrt()) * 0.1
    power, _ = power_of(speech)
    heard = power_of(speech + level * torch.randn(len(speech), generator=generator))[0]
    added = power_of(level * torch.randn(len(speech), generator=generator))[0]
    room = AugmentRoom(RoomOptions(**NOTHING), VOICE.filters, RATE / 2)
    white = next(noise for seed in range(99) if (noise := _white(room, power, seed)) is not None)
    ours = power + white * (added.mean() / white.mean())
    assert float((db(ours.mean(dim=1)) - db(heard.mean(dim=1))).abs().mean()) < 1.5
    quiet = db(power[0].mean(dim=0)) < db(added[0].mean(dim=0)) - 6
    assert quiet.sum() > 5
    spread = [db(each[0][:, quiet]).std(dim=0).mean() for each in (ours, heard)]
    assert float((spread[0] - spread[1]).abs()) < 2.0


def _white(room: AugmentRoom, power: torch.Tensor, seed: int) -> torch.Tensor | None:
    torch.manual_seed(seed)
    noise = room.noise(power)
    level = db(noise[0].mean(dim=0))
    return noise if float(level.max() - level.min()) < 1.5 else None


def test_a_cut_band_is_what_a_filter_leaves() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(2 * RATE, generator=generator)
    power, counts = power_of(*[noise] * 40)
    torch.manual_seed(0)
    lost = db(changed(power, counts, band=1.0)[0].mean(dim=1)) - db(power.mean(dim=1))
    hz = centres_hz(VOICE.filters, RATE / 2)
    telephone = lost[:, hz < 150].mean(dim=1) < -20
    assert 8 < int(telephone.sum()) < 32
    sections = scipy.signal.butter(8, [300, 3_400], "bandpass", fs=RATE, output="sos")
    line = torch.from_numpy(scipy.signal.sosfilt(sections, noise.numpy())).float()
    theirs = db(power_of(line)[0].mean(dim=1)) - db(power[:1].mean(dim=1))
    inside = (hz > 400) & (hz < 3_000)
    for rows, kept in ((telephone, inside), (~telephone, hz < 3_800)):
        assert float(lost[rows][:, kept].abs().max()) < 0.5
        assert float(lost[rows][:, hz > 6_000].max()) < -30
    assert float((lost[telephone][:1, inside] - theirs[:, inside]).abs().max()) < 2.0


def test_a_microphone_colours_each_clip_smoothly_and_all_of_its_frames_alike() -> None:
    power, counts = power_of(*[voice(0.5)] * 200)
    torch.manual_seed(0)
    gain = db(changed(power, counts, colour_db=3.0)[0]) - db(power)
    loud = power[0].amin(dim=0) > 1e-8
    by_clip = gain[:, 10, loud]
    torch.testing.assert_close(gain[:, 30, loud], by_clip, rtol=0, atol=0.01)
    ends = gain[:, 10, [0, 63]] if bool(loud[[0, 63]].all()) else by_clip[:, [0, -1]]
    assert 2.0 < float(ends.std(dim=0).mean()) < 4.0
    assert float(by_clip.diff(dim=1).abs().max()) < 3.0


def test_a_room_smears_power_over_what_follows() -> None:
    burst = torch.zeros(RATE)
    burst[2_000:2_400] = 0.3 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    power, counts = power_of(*[burst] * 30)
    torch.manual_seed(0)
    heard = changed(power, counts, reverb=1.0, reverb_s=(0.5, 0.5))[0].sum(dim=2)
    level = db(heard)
    assert torch.equal(heard[:, :10], power.sum(dim=2)[:, :10])  # nothing comes before its cause
    slope = (level[:, 30] - level[:, 50]) / 0.2
    torch.testing.assert_close(slope, torch.full_like(slope, 60 / 0.5), rtol=0.02, atol=0.5)
    direct = db(power.sum(dim=(1, 2))) - db(heard.sum(dim=1) - power.sum(dim=(1, 2)))
    assert 0.0 <= float(direct.min()) < 4
    assert 8 < float(direct.max()) < 13


def test_ends_are_cut_or_filled_with_silence() -> None:
    power, counts = power_of(*(voice(0.8) for _ in range(60)))
    torch.manual_seed(0)
    moved, lengths = changed(power, counts, silence=1.0, silence_s=0.1)
    before = int(counts[0])
    assert before - 20 <= int(lengths.min()) < before - 5
    assert before + 5 < int(lengths.max()) <= before + 20
    for row, length in enumerate(lengths.tolist()):
        assert not moved[row, length:].any()
        heard = moved[row, :length]
        kept = heard[heard.sum(dim=1) > 0]
        start = int(((power[row] - kept[0]).abs().sum(dim=1)).argmin())
        assert torch.equal(kept, power[row, start : start + len(kept)])
    tiny, left = changed(*power_of(voice(0.06)), silence=1.0, silence_s=0.1)
    assert int(left.min()) >= 1
    assert bool(tiny.isfinite().all())


def test_turning_a_clip_keeps_every_frame() -> None:
    power, counts = power_of(voice(1.0), voice(0.6, 1))
    torch.manual_seed(3)
    turned = changed(power, counts, time_shift=0.3)[0]
    for row, count in enumerate(counts.tolist()):
        shift = next(s for s in range(count) if torch.equal(turned[row, :count], power[row, :count].roll(s, dims=0)))
        assert min(shift, count - shift) <= 0.3 * count
        assert not turned[row, count:].any()
