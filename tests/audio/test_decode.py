"""From bytes to samples and facts: what is refused, what is flagged, and that nothing else can happen."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ser_tasks.audio.decode import decode, read_audio, to_int16
from ser_tasks.audio.measure import NEARLY_SILENT_DB, measure
from ser_tasks.errors import BadInput

SPEECH = np.random.default_rng(3).normal(0, 0.05, 8000)


def encoded(samples: np.ndarray = SPEECH, rate: int = 16000, container: str = "WAV", **how: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, **how)
    return buffer.getvalue()


SEEDS = [
    encoded(),
    encoded(subtype="FLOAT"),
    encoded(subtype="PCM_24"),
    encoded(np.stack([SPEECH] * 6, axis=1)),
    encoded(container="FLAC"),
    encoded(container="OGG"),
    encoded(container="MP3"),
]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("rate", [8000, 16000, 48000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_width_rate_and_number_of_channels_works(subtype: str, rate: int, channels: int) -> None:
    tone = 0.25 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)
    body = encoded(np.stack([tone] * channels, axis=1), rate, subtype=subtype)
    facts, clip = measure(body, "x.wav"), decode(body)
    assert (facts.sample_rate_hz, facts.channels, facts.codec) == (rate, channels, f"WAV/{subtype}")
    assert facts.duration_s == clip.duration_s == 0.5
    assert facts.rms_db == pytest.approx(-15.05, abs=0.1)
    assert facts.peak == pytest.approx(0.25, abs=0.01)
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    assert clip.samples.dtype == np.float32
    assert clip.samples.shape == (8000,)
    assert np.abs(clip.samples - expected)[400:-400].max() < 0.01


def test_the_quick_path_gives_what_libsndfile_gives() -> None:
    stereo = np.random.default_rng(0).normal(0, 0.3, (5000, 2)).clip(-1, 1)
    for samples in (SPEECH, stereo):
        body = encoded(samples)
        frames = read_audio(body, "x").frames
        assert np.array_equal(frames, soundfile.read(io.BytesIO(body), dtype="int16", always_2d=True)[0])
        mono = soundfile.read(io.BytesIO(body), dtype="float32", always_2d=True)[0].mean(axis=1)
        assert np.allclose(decode(body).samples, mono, atol=1e-6)


def test_sixteen_bits_stay_the_same_sixteen_bits() -> None:
    samples = np.concatenate([np.arange(-32768, 32768, 7, dtype=np.int16), np.array([32767], dtype=np.int16)])
    assert np.array_equal(to_int16(decode(encoded(samples)).samples), samples)


def test_levels_do_not_depend_on_the_container() -> None:
    samples = np.round(32768 * SPEECH).astype(np.int16)
    wav, flac = measure(encoded(samples), "x.wav"), measure(encoded(samples, container="FLAC"), "x.flac")
    assert (wav.codec, flac.codec) == ("WAV/PCM_16", "FLAC/PCM_16")
    for name in ("peak", "rms_db", "dc_offset", "clipped_fraction", "silent_fraction", "duration_s"):
        assert getattr(wav, name) == pytest.approx(getattr(flac, name), abs=1e-6)


def test_levels_are_those_of_the_samples() -> None:
    samples = np.concatenate([np.zeros(4800), np.full(1600, 0.5), np.full(1600, 1.0)])
    facts = measure(encoded(samples, subtype="FLOAT"), "x.wav")
    assert facts.rms_db == pytest.approx(10 * np.log10((0.25 * 1600 + 1600) / 8000), abs=1e-6)
    assert facts.dc_offset == pytest.approx(0.3)
    assert (facts.peak, facts.clipped_fraction, facts.silent_fraction) == (1.0, 0.2, 0.6)


def test_the_threshold_of_nearly_silent_is_an_rms_of_thirty() -> None:
    assert pytest.approx(20 * np.log10(30 / 32768)) == NEARLY_SILENT_DB
    for level, flagged in ((29, True), (31, False)):
        facts = measure(encoded(np.tile(np.array([level, -level], dtype=np.int16), 4000)), "x.wav")
        assert ("nearly silent" in facts.issues) == flagged


def test_a_flac_cut_anywhere_is_refused() -> None:
    body = encoded(np.random.default_rng(0).normal(0, 0.1, 48000), container="FLAC")
    for share in (0.01, 0.3, 0.6, 0.9, 0.999):
        with pytest.raises(BadInput, match="is cut off"):
            measure(body[: int(len(body) * share)], "x.flac")


@pytest.mark.parametrize("container", ["OGG", "MP3"])
def test_a_lossy_file_cut_in_the_middle_is_refused(container: str) -> None:
    body = encoded(np.random.default_rng(0).normal(0, 0.1, 48000), container=container)
    assert measure(body, "x").duration_s == pytest.approx(3, abs=0.1)
    with pytest.raises(BadInput, match="is cut off"):
        measure(body[: len(body) // 2], "x")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("size", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"])
def test_a_stream_without_a_length_is_read_to_its_end_and_flagged(subtype: str, size: bytes) -> None:
    body = encoded(subtype=subtype)
    at = body.index(b"data") + 4
    facts = measure(body[:at] + size + body[at + 4 :], "x.wav")
    assert facts.duration_s == 0.5
    assert "written by a stream" in facts.issues[0]


def test_a_header_of_a_long_recording_costs_no_memory() -> None:
    body = bytearray(encoded(container="FLAC"))
    body[21] = body[21] & 0xF0 | 0x0F  # the upper bits of how many samples a FLAC says that it has
    with pytest.raises(BadInput, match="cut it into utterances"):
        measure(bytes(body), "x.flac")


def only_bad_input(body: bytes) -> None:
    try:
        facts, clip = measure(body, "x.wav"), decode(body, "x.wav")
    except BadInput as error:
        assert str(error).startswith("x.wav ")
        return
    assert np.isfinite(clip.samples).all()
    assert np.abs(clip.samples).max() <= 1
    assert 0 <= facts.peak <= 1
    assert -1 <= facts.dc_offset <= 1
    assert -120.1 <= facts.rms_db <= 0.1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
@example(b"RIFF")
@example(b"RIFF\0\0\0\0WAVEdata")
@example(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0")
@example(b"OggS")
@example(b"fLaC")
@example(b"\xff\xfb")
def test_random_bytes_are_refused_in_words(body: bytes) -> None:
    only_bad_input(body)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=6),
    st.one_of(st.none(), st.integers(0, 16044)),
)
def test_damaged_headers_are_refused_in_words_or_read(
    seed: bytes, changes: list[tuple[int, int]], end: int | None
) -> None:
    body = bytearray(seed)
    for place, value in changes:
        body[place] = value
    only_bad_input(bytes(body[:end]))
