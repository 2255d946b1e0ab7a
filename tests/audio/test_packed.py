from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.errors import BadInput

CLIPS = [
    ("first", np.array([0, 1, -1, 32767, -32768], dtype=np.int16)),
    ("second", np.arange(1000, dtype=np.int16)),
]


def test_clips_come_back_in_order_and_scaled_to_one(tmp_path: Path) -> None:
    write_packed(tmp_path / "packed", CLIPS)
    audio = PackedAudio.open(tmp_path / "packed")
    assert len(audio) == 2
    assert audio.utterance_ids == ["first", "second"]
    assert [audio.length(0), audio.length(1)] == [5, 1000]
    assert audio.index_of("second") == 1
    for i, (_, samples) in enumerate(CLIPS):
        waveform = audio.waveform(i)
        assert waveform.dtype == np.float32
        assert np.array_equal(waveform * 32768, samples)
    assert audio.waveform(0).min() == -1.0


def test_an_unknown_utterance_is_named(tmp_path: Path) -> None:
    write_packed(tmp_path, CLIPS)
    with pytest.raises(BadInput, match="third"):
        PackedAudio.open(tmp_path).index_of("third")


def test_packing_that_was_cut_off_leaves_nothing_to_open(tmp_path: Path) -> None:
    write_packed(tmp_path, CLIPS)

    def cut_off() -> Iterator[tuple[str, np.ndarray]]:
        yield CLIPS[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_packed(tmp_path, cut_off())
    with pytest.raises(BadInput, match="cut off"):
        PackedAudio.open(tmp_path)


def test_samples_that_do_not_fit_the_index_are_refused(tmp_path: Path) -> None:
    write_packed(tmp_path, CLIPS)
    with (tmp_path / "samples.i16").open("ab") as file:
        file.write(b"\0\0")
    with pytest.raises(BadInput, match="pack the corpus again"):
        PackedAudio.open(tmp_path)


def test_an_id_that_comes_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'first' comes twice"):
        write_packed(tmp_path, [CLIPS[0], CLIPS[0]])


def test_a_clip_without_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'empty'"):
        write_packed(tmp_path, [("empty", np.zeros(0, dtype=np.int16))])


def test_a_corpus_without_clips_opens(tmp_path: Path) -> None:
    write_packed(tmp_path, [])
    assert len(PackedAudio.open(tmp_path)) == 0
