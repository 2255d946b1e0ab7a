import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tasks.corpora.demo import (
    CREMA_D_SENTENCES,
    IEMOCAP_SENTENCES,
    RAVDESS_STATEMENTS,
    make_demo_corpora,
)
from ser_tasks.corpora.entry import DEMO_MARKER
from ser_tasks.corpora.readers import detect_reader, load_description, read_corpus
from ser_tasks.corpora.source import open_source
from ser_tasks.corpora.synthesis import PHONEMES, SAMPLE_RATE_HZ, Array, Style, Voice, synthesise
from ser_tasks.errors import BadInput

MAN = Voice(f0_hz=110, formant_scale=1.0)
PHRASE = CREMA_D_SENTENCES["WSI"].split()


def make_small(target: Path, seed: int = 0) -> dict[str, Path]:
    return make_demo_corpora(target, seed, crema_d_actors=2, ravdess_actors=2, iemocap_sessions=1)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_small(tmp_path_factory.mktemp("demo"))


def speak(phonemes: Sequence[str], voice: Voice = MAN, style: Style | None = None) -> Array:
    return synthesise(phonemes, voice, style or Style(), np.random.default_rng(5))


def pitch_hz(samples: Array) -> float:
    """The strongest period between 60 and 400 Hz in the middle 100 ms."""
    middle = samples[len(samples) // 2 - 800 : len(samples) // 2 + 800]
    correlation = np.correlate(middle, middle, mode="full")[len(middle) - 1 :]
    shortest, longest = SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 60
    return SAMPLE_RATE_HZ / float(shortest + np.argmax(correlation[shortest:longest]))


def test_readers_of_the_true_layouts_take_every_clip(corpora: dict[str, Path]) -> None:
    sources = [open_source(corpora[f"demo_{name}"]) for name in ("crema_d", "ravdess", "iemocap")]
    assert [detect_reader(source) for source in sources] == ["crema_d", "ravdess", "iemocap"]
    readings = [read_corpus(load_description(detect_reader(source)), source) for source in sources]
    crema_d, ravdess, iemocap = readings
    for reading, clips, speakers in ((crema_d, 72, 2), (ravdess, 60, 2), (iemocap, 48, 2)):
        assert (reading.rejected, reading.left_out, reading.notes) == ([], [], [])
        assert reading.licence == "CC0 1.0, synthetic"
        assert len(reading.entries) == clips
        assert len({entry.speaker_id for entry in reading.entries}) == speakers
        assert {entry.sex for entry in reading.entries} == {"male", "female"}
    assert all(entry.age and entry.votes for entry in crema_d.entries)
    assert {entry.emotion for entry in ravdess.entries} >= {"calm", "surprised"}
    assert all(entry.transcript and entry.valence and entry.raters for entry in iemocap.entries)
    for entry in crema_d.entries + iemocap.entries:
        for said in json.loads(entry.votes or "").values():
            assert sum(said["counts"].values()) == said["responses"] > 0


def test_only_the_sentence_ieo_has_levels(corpora: dict[str, Path]) -> None:
    for path in (corpora["demo_crema_d"] / "AudioWAV").iterdir():
        _, sentence, emotion, level = path.stem.split("_")
        assert (level == "XX") == (sentence != "IEO" or emotion == "NEU")


@pytest.mark.parametrize(
    ("name", "rate_hz", "shortest_s", "longest_s"),
    [("demo_crema_d", 16000, 1.0, 5.5), ("demo_ravdess", 48000, 2.3, 5.5), ("demo_iemocap", 16000, 0.9, 4.0)],
)
def test_clips_have_the_corpus_rate_and_plausible_lengths(
    corpora: dict[str, Path], name: str, rate_hz: int, shortest_s: float, longest_s: float
) -> None:
    for path in corpora[name].rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (rate_hz, 1, "PCM_16")
        assert shortest_s < info.duration < longest_s


def test_every_corpus_says_that_it_is_synthetic(corpora: dict[str, Path]) -> None:
    for folder in corpora.values():
        text = (folder / "README.txt").read_text(encoding="utf-8")
        assert "Synthetic speech" in text and "CC0" in text


def test_same_seed_same_bytes_and_another_seed_other_bytes(corpora: dict[str, Path], tmp_path: Path) -> None:
    again, other = make_small(tmp_path / "again"), make_small(tmp_path / "other", seed=1)
    for name, folder in corpora.items():
        assert digests(folder) == digests(again[name])
        wavs = {path: digest for path, digest in digests(other[name]).items() if path.endswith(".wav")}
        assert not set(wavs.values()) & set(digests(folder).values())


def test_a_smaller_corpus_is_a_subset_of_a_larger_one(corpora: dict[str, Path], tmp_path: Path) -> None:
    tiny = make_demo_corpora(tmp_path, crema_d_actors=1, ravdess_actors=1, iemocap_sessions=1)
    for name, folder in tiny.items():
        clips = {path: digest for path, digest in digests(folder).items() if path.endswith(".wav")}
        assert clips and clips.items() <= digests(corpora[name]).items()


def test_a_complete_corpus_is_left_be_and_a_half_made_one_is_made_again(tmp_path: Path) -> None:
    folder = make_small(tmp_path)["demo_ravdess"]
    whole = digests(folder)
    victim = next(folder.rglob("*.wav"))
    victim.write_bytes(b"touched")
    make_small(tmp_path)
    assert victim.read_bytes() == b"touched"
    (folder / DEMO_MARKER).unlink()
    make_small(tmp_path)
    assert digests(folder) == whole


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    mine = tmp_path / "demo_crema_d" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work", encoding="utf-8")
    with pytest.raises(BadInput, match=r"demo_crema_d.*move it away"):
        make_small(tmp_path)
    assert mine.is_file()


def test_three_annotators_rate_every_turn_and_disagree(corpora: dict[str, Path]) -> None:
    folder = corpora["demo_iemocap"]
    with (folder / "annotations" / "rudeness.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["utterance_id", "annotator_id", "trait", "rating", "scale", "created_at", "source"]
    ratings: dict[str, list[int]] = {}
    for row in rows:
        ratings.setdefault(row["utterance_id"], []).append(int(row["rating"]))
    assert set(ratings) == {path.stem for path in folder.rglob("*.wav")}
    table = np.array(list(ratings.values()))
    assert table.shape == (48, 3) and table.min() >= 1 and table.max() <= 5
    assert np.mean(np.ptp(table, axis=1) > 0) > 0.3
    agreement = np.corrcoef(table.T)[np.triu_indices(3, k=1)]
    assert np.all((agreement > 0.3) & (agreement < 0.97))


def test_anger_is_louder_than_sadness(corpora: dict[str, Path]) -> None:
    def level_db(code: str) -> float:
        paths = (corpora["demo_crema_d"] / "AudioWAV").glob(f"*_{code}_*.wav")
        return float(np.mean([10 * np.log10(np.mean(soundfile.read(path)[0] ** 2)) for path in paths]))

    assert level_db("ANG") > level_db("NEU") + 3 > level_db("SAD") + 5


def test_sentences_hold_known_phonemes_only() -> None:
    strings = [*CREMA_D_SENTENCES.values(), *RAVDESS_STATEMENTS, *IEMOCAP_SENTENCES.values()]
    assert {symbol.rstrip("1") for string in strings for symbol in string.split()} <= set(PHONEMES)


def test_pitch_follows_the_style() -> None:
    plain, octave = speak(["AA"] * 8), speak(["AA"] * 8, style=Style(pitch_st=12))
    assert pitch_hz(plain) == pytest.approx(110, rel=0.15)
    assert pitch_hz(octave) == pytest.approx(2 * pitch_hz(plain), rel=0.05)


@pytest.mark.parametrize(("vowel", "scale"), [("AA", 1.0), ("IY", 1.0), ("UW", 1.0), ("AE", 1.16)])
def test_vowels_resonate_at_their_second_formant(vowel: str, scale: float) -> None:
    # A pitch of 60 Hz samples the envelope finely; the tract's tilt is taken off by looking near the formant only.
    voice = Voice(f0_hz=60, formant_scale=scale, tilt_hz=6000)
    samples = speak([vowel] * 8, voice, Style(log_range=-9, final_st=1.5))
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    wanted = PHONEMES[vowel][0].f2 * scale
    near = (hz > 0.8 * wanted) & (hz < 1.25 * wanted)
    assert hz[near][np.argmax(spectrum[near])] == pytest.approx(wanted, rel=0.08)


def test_level_and_rate_follow_the_style() -> None:
    plain = speak(PHRASE)
    louder, faster = speak(PHRASE, style=Style(level_db=6)), speak(PHRASE, style=Style(log_rate=0.3))
    assert np.sqrt(np.mean(louder**2) / np.mean(plain**2)) == pytest.approx(10 ** (6 / 20))
    assert len(faster) / len(plain) == pytest.approx(np.exp(-0.3), rel=0.08)


def test_styles_add_and_scale() -> None:
    assert Style(pitch_st=2) * 0.5 + Style(level_db=3) == Style(pitch_st=1, level_db=3)
