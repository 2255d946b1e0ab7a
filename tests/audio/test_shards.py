"""Packing: what comes out of the shards is what a model would have decoded from the files."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile

from ser_tasks.audio.decode import decode, to_int16
from ser_tasks.audio.shards import FINGERPRINTS, Clip, read_shards, shard_name, unpack, write_shards
from ser_tasks.errors import BadInput

SPEAKERS = ["a/b", "..", "fingerprints", "Zoë 李", "1001", "a%2Fb"]


def bodies() -> dict[str, bytes]:
    made = {}
    for i, name in enumerate(["x.wav", "y.flac", "48k.wav", "stereo.wav", "z.wav", "short.wav"]):
        rate = 48000 if name == "48k.wav" else 16000
        shape = (rate // 2, 2) if name == "stereo.wav" else (1700 if name == "short.wav" else rate // 2,)
        buffer = io.BytesIO()
        samples = np.random.default_rng(i).normal(0, 0.1, shape)
        soundfile.write(buffer, samples, rate, format="FLAC" if name.endswith("flac") else "WAV")
        made[name] = buffer.getvalue()
    return made


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    files = bodies()
    clips = [Clip(f"u{i}", speaker, name) for i, (speaker, name) in enumerate(zip(SPEAKERS, files, strict=True))]
    write_shards([*clips, Clip("u9", "1001", "x.wav")], files.__getitem__, tmp_path)
    return tmp_path


def test_shards_give_back_every_sample(packed: Path) -> None:
    files = bodies()
    expected = {f"u{i}": to_int16(decode(body, name).samples) for i, (name, body) in enumerate(files.items())}
    expected["u9"] = expected["u0"]
    found = dict(read_shards(packed))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_any_speaker_has_a_shard_of_its_own_inside_the_folder(packed: Path) -> None:
    assert len({shard_name(speaker) for speaker in SPEAKERS}) == len(SPEAKERS)
    files = {path.name for path in packed.rglob("*") if path.is_file()}
    assert files == {shard_name(speaker) for speaker in SPEAKERS} | {FINGERPRINTS}
    for i, speaker in enumerate(SPEAKERS):
        assert next(iter(read_shards(packed, [speaker])))[0] == f"u{i}"


def test_unpacked_audio_is_that_of_the_speakers_asked_for(packed: Path, tmp_path: Path) -> None:
    audio = unpack(packed, tmp_path / "unpacked", ["1001", "a/b"])
    assert audio.utterance_ids == ["u4", "u9", "u0"]
    assert unpack(packed, tmp_path / "all").length(0) > 0
    with pytest.raises(BadInput, match="no shard of speaker nobody"):
        unpack(packed, tmp_path / "none", ["nobody"])


def test_fingerprints_lie_apart_from_the_shards(packed: Path) -> None:
    prints = pd.read_parquet(packed / FINGERPRINTS)
    assert sorted(prints["utterance_id"]) == ["u0", "u1", "u2", "u3", "u4", "u5", "u9"]
    assert set(prints["fingerprint"].map(len)) == {128}
    by_id = prints.set_index("utterance_id")["fingerprint"]
    assert by_id["u0"] == by_id["u9"]
    assert pq.read_schema(packed / FINGERPRINTS).field("trimmed_s").type == "float"


def test_packing_twice_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    files = bodies()
    clips = [Clip(f"u{i}", speaker, name) for i, (speaker, name) in enumerate(zip(SPEAKERS, files, strict=True))]
    write_shards(reversed([*clips, Clip("u9", "1001", "x.wav")]), files.__getitem__, again)
    assert all(path.read_bytes() == (packed / path.name).read_bytes() for path in again.iterdir())
