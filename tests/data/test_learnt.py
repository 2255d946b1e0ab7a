"""A model's folder says what it learnt from, and a clip of that is known again under any name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr

from ser_tasks.audio.decode import Samples, decode
from ser_tasks.audio.packed import PackedAudio
from ser_tasks.audio.shards import FINGERPRINTS, Clip, unpack, write_shards
from ser_tasks.data.learnt import about_seen, in_words, learnt_from, read_learnt, seen, sketch, write_learnt
from ser_tasks.errors import BadInput

ACTORS = ("Actor_01", "Actor_02", "Actor_03")


@pytest.fixture(scope="module")
def speech(ravdess: Path) -> dict[str, list[Samples]]:
    """Four clips of each of three real actors."""
    return {actor: [decode(path).samples for path in sorted((ravdess / actor).glob("*.flac"))[:4]] for actor in ACTORS}


def packed(folder: Path, speakers: dict[str, list[Samples]]) -> tuple[list[Clip], PackedAudio, Path]:
    """Clips, named by speaker and number, as the step `pack` has them."""
    folder.mkdir()
    clips = [Clip(f"{name}-{i}", name, f"{name}-{i}.wav") for name, each in speakers.items() for i in range(len(each))]
    for clip, samples in zip(clips, (samples for each in speakers.values() for samples in each), strict=True):
        soundfile.write(folder / clip.path, samples, 16000)
    shards = folder / "pack"
    shards.mkdir()
    write_shards(clips, lambda path: (folder / path).read_bytes(), shards)
    return clips, unpack(shards, folder / "packed"), shards


def sketched(folder: Path, corpus: str, speakers: dict[str, list[Samples]], role: str = "test") -> pd.DataFrame:
    clips, audio, shards = packed(folder, speakers)
    names = {"utterance_id": [clip.utterance_id for clip in clips], "speaker_id": [clip.speaker_id for clip in clips]}
    return sketch(pd.DataFrame(names).assign(corpus=corpus, role=role), audio, shards)


@pytest.fixture
def model(speech: dict[str, list[Samples]], tmp_path: Path) -> Path:
    """The folder of a model that trained on one actor and was selected on another."""
    train = sketched(tmp_path / "train", "ravdess", {"01": speech["Actor_01"]}, "train")
    dev = sketched(tmp_path / "dev", "ravdess", {"02": speech["Actor_02"]}, "dev")
    write_learnt(tmp_path / "model", learnt_from(pd.concat([train, dev], ignore_index=True)))
    return tmp_path / "model"


def test_the_folder_names_corpora_roles_speakers_and_clips(model: Path) -> None:
    said = json.loads((model / "learnt.json").read_text())
    assert said["corpora"] == {
        "ravdess": {"train": {"speakers": ["01"], "clips": 4}, "dev": {"speakers": ["02"], "clips": 4}}
    }
    learnt = read_learnt(model)
    assert learnt is not None and in_words(learnt) == ["ravdess: 2 speaker(s) (1 train, 1 dev), 8 clips"]
    assert (len(learnt.sketches), len(learnt.of_roles(["dev"]).sketches)) == (8, 4)
    assert list(learnt.of_roles(["dev"]).corpora["ravdess"]) == ["dev"]


def test_a_model_of_an_older_version_is_told_from_one_whose_folder_is_not_whole(model: Path, tmp_path: Path) -> None:
    assert read_learnt(tmp_path) is None
    (model / "learnt.parquet").unlink()
    with pytest.raises(BadInput, match="copy the whole folder again"):
        read_learnt(model)


def test_a_clip_takes_little_room(model: Path) -> None:
    from ser_tasks.audio.fingerprint import BITS, ENDS

    learnt = read_learnt(model)
    assert learnt is not None
    assert len(learnt.sketches["content"][0]) == 8 and len(learnt.sketches["fingerprint"][0]) == len(ENDS) * BITS // 8


def telephone(clip: Samples) -> Samples:
    return np.asarray(0.5 * soxr.resample(soxr.resample(clip, 16000, 8000), 8000, 16000), dtype=np.float32)


def trimmed(clip: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(clip) > 0.02 * np.abs(clip).max())
    return clip[loud[0] // 2 : (loud[-1] + len(clip)) // 2]


@pytest.mark.parametrize("change", [lambda clip: clip, telephone, trimmed], ids=["renamed", "resampled", "trimmed"])
def test_a_copy_is_known_again_under_another_corpus_and_speaker_and_the_voice_with_it(
    model: Path, speech: dict[str, list[Samples]], tmp_path: Path, change: Callable[[Samples], Samples]
) -> None:
    learnt = read_learnt(model)
    assert learnt is not None
    # one copied clip; another recording of the same voice, which is not among the learnt ones; and a stranger
    new_words = speech["Actor_01"][1][::-1].copy()
    clips = sketched(
        tmp_path / "other", "mine", {"anna": [change(speech["Actor_01"][0]), new_words], "bob": speech["Actor_03"][:2]}
    )
    assert list(seen(learnt, clips)) == ["clip", "speaker", "", ""]


def test_a_speaker_of_that_corpus_and_name_is_seen_whatever_they_say(
    model: Path, speech: dict[str, list[Samples]], tmp_path: Path
) -> None:
    learnt = read_learnt(model)
    assert learnt is not None
    clips = sketched(tmp_path / "a", "ravdess", {"01": speech["Actor_03"][:1], "09": speech["Actor_03"][1:2]})
    assert list(seen(learnt, clips)) == ["speaker", ""]
    assert list(seen(learnt, clips.assign(corpus="other"))) == ["", ""], "equal names of two corpora are two people"
    assert list(seen(learnt.of_roles(["dev"]), clips)) == ["", ""]


def test_clips_without_sound_are_no_copies_and_without_fingerprints_equal_samples_still_are(
    speech: dict[str, list[Samples]], tmp_path: Path
) -> None:
    silence = np.zeros(16000, dtype=np.float32)
    mine = {"01": [silence, speech["Actor_01"][0]]}
    learnt = learnt_from(sketched(tmp_path / "l", "a", mine, "train"))
    assert list(seen(learnt, sketched(tmp_path / "s", "b", {"x": [silence]}))) == [""]
    clips, audio, shards = packed(tmp_path / "old", {"x": [speech["Actor_01"][0], telephone(speech["Actor_01"][0])]})
    (shards / FINGERPRINTS).unlink()
    rows = pd.DataFrame({"utterance_id": [clip.utterance_id for clip in clips], "speaker_id": ["x", "y"]})
    assert list(seen(learnt, sketch(rows.assign(corpus="b", role="test"), audio, shards))) == ["clip", ""]


def test_a_model_that_started_from_another_has_learnt_what_that_one_had(
    model: Path, speech: dict[str, list[Samples]], tmp_path: Path
) -> None:
    again = {"01": speech["Actor_01"], "03": speech["Actor_03"]}
    after = learnt_from(sketched(tmp_path / "n", "ravdess", again, "train"), read_learnt(model))
    train, dev = after.corpora["ravdess"]["train"], after.corpora["ravdess"]["dev"]
    assert (train.speakers, train.clips, dev.speakers, dev.clips) == (("01", "03"), 8, ("02",), 4)


def test_what_is_said_of_a_result_tells_what_was_left_out_from_what_counts() -> None:
    rows = pd.DataFrame({"speaker_id": ["a", "a", "b", "c"], "seen": ["clip", "speaker", "clip", ""]})
    left = about_seen(rows, rows["seen"] == "", True)
    assert (left["clips"], left["speakers"], left["by"]) == (3, ["a", "b"], {"speaker": 1, "clip": 2})
    assert not left["included"] and left["known"]
    assert left["sentence"] == (
        "Left out of the test, since the model has learnt from them: 3 clip(s) of 2 speaker(s) (a, b), 2 of them these "
        "recordings."
    )
    counted = about_seen(rows, pd.Series(True, index=rows.index), True)
    assert counted["included"]
    assert counted["sentence"].startswith("Not an estimate for new speakers: of 4 clips tested, the model has learnt")
    none = about_seen(rows.assign(seen=""), pd.Series(True, index=rows.index), True)
    assert (none["clips"], none["sentence"]) == (
        0, "The model has learnt from none of these clips, and from none of their speakers."
    )  # fmt: skip
    unknown = about_seen(rows.assign(seen=""), pd.Series(True, index=rows.index), False)
    assert not unknown["known"] and "It is not known whom this model has learnt from" in unknown["sentence"]
