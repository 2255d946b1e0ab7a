"""Every kind of bad file in one corpus: nothing stops, nothing vanishes, and each reason says what to do."""

import io
import re
import struct

import numpy as np
import pytest
import soundfile

from ser_tasks.corpora.readers import load_description, read_corpus
from ser_tasks.corpora.source import Source, open_source
from ser_tasks.data.manifest import Scan, scan

RATE = 16000


def speech(seed: int, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, int(seconds * rate))


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, subtype=subtype, format=container)
    return buffer.getvalue()


def changed(body: bytes, at: int, new: bytes) -> bytes:
    return body[:at] + new + body[at + len(new) :]


def with_nan(value: float) -> bytes:
    return wav(np.append(speech(1), value), subtype="FLOAT")


REJECTED = {
    "empty": (b"", "is empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 72862\n", "Git LFS stub.*git lfs pull"),
    "truncated": (wav(speech(2))[:9000], "cut off.*promises 16,000 bytes of samples, and 8,956 are there"),
    "header alone": (wav(speech(2))[:44], "cut off"),
    "half a header": (wav(speech(2))[:30], "cannot be decoded"),
    "truncated flac": (wav(speech(3), container="FLAC")[:6000], "cut off"),
    "text": (b"Sorry, you are not allowed to download this.", "it is a text, beginning 'Sorry, you"),
    "noise": (bytes(range(128, 256)) * 9, "cannot be decoded"),
    "codec": (changed(wav(speech(4)), 20, b"\x61\x01"), "codec tag 0x0161.*export it as PCM"),
    "nan": (with_nan(np.nan), "NaN or infinite"),
    "infinite": (with_nan(np.inf), "NaN or infinite"),
    "no samples": (wav(speech(5, 0)), "no samples"),
    "20 ms": (wav(speech(6, 0.02)), "lasts 20 ms"),
    "301 s": (wav(np.zeros(301 * RATE)), "lasts 301 s.*cut it into utterances"),
    "rate": (changed(wav(speech(7)), 24, struct.pack("<I", 7)), "sample rate of 7 Hz"),
}
FLAGGED = {
    "stream 0": (changed(wav(speech(8)), 40, b"\0\0\0\0"), "written by a stream"),
    "stream ff": (changed(wav(speech(9)), 40, b"\xff\xff\xff\xff"), "written by a stream"),
    "promises less": (changed(wav(speech(10)), 40, struct.pack("<I", 8000)), "8,000 bytes behind the samples"),
    "stereo": (wav(speech(11).reshape(-1, 2)), "2 channels, averaged to mono"),
    "6 channels": (wav(speech(12, 1.2).reshape(-1, 6)), "6 channels, averaged to mono"),
    "silence": (wav(np.zeros(8000)), "no sound"),
    "quiet": (wav(speech(13) / 100), "nearly silent"),
    "clipped": (wav(np.clip(speech(14) * 30, -1, 1)), "clipped: .* % of its samples"),
    "offset": (wav(speech(15) + 0.3), "DC offset of 30 % of full scale"),
    "8 kHz": (wav(speech(16, rate=8000), 8000), "8000 Hz: nothing above 4 kHz"),
}
FINE = {
    "8 bit": wav(speech(17), subtype="PCM_U8"),
    "24 bit": wav(speech(18), subtype="PCM_24"),
    "32 bit": wav(speech(19), subtype="PCM_32"),
    "float": wav(speech(20), subtype="FLOAT"),
    "192 kHz": wav(speech(21, rate=192000), 192000),
    "flac": wav(speech(22), container="FLAC"),
}
ALL = {name: body for name, (body, _) in (REJECTED | FLAGGED).items()} | FINE
NAMES = {name: f"{1001 + i}_DFA_ANG_XX" for i, name in enumerate(ALL)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    root = tmp_path_factory.mktemp("corpus")
    audio = root / "AudioWAV"
    audio.mkdir()
    for name, body in ALL.items():
        (audio / f"{NAMES[name]}.wav").write_bytes(body)
    for seconds, rate, channels, name in ((1800, RATE, 1, "1090_DFA_ANG_XX"), (1800, 192000, 6, "1091_DFA_ANG_XX")):
        size = seconds * rate * channels * 2
        with (audio / f"{name}.wav").open("wb") as file:
            head = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
            file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<I", 16) + head + b"data")
            file.write(struct.pack("<I", size))
            file.truncate(44 + size)  # a sparse file: half an hour without a disk full of zeros
    (audio / "not a name.wav").write_bytes(ALL["float"])
    (audio / "1080_DFA_ANG_XX.wav").symlink_to("/etc/hostname")
    (audio / "1089_DFA_ANG_XX.wav").write_bytes(ALL["float"])
    found = open_source(root)
    (audio / "1089_DFA_ANG_XX.wav").unlink()
    return found


@pytest.fixture(scope="module")
def result(source: Source) -> Scan:
    return scan("bad", read_corpus(load_description("crema_d"), source), source)


def reason(result: Scan, stem: str) -> str:
    rows = result.rejected[result.rejected["path"] == f"AudioWAV/{stem}.wav"]
    assert len(rows) == 1, f"{stem} is {len(rows)} times among the rejected"
    return str(rows["reason"].iloc[0])


@pytest.mark.parametrize("name", REJECTED)
def test_what_cannot_be_used_is_rejected_with_its_reason(name: str, result: Scan) -> None:
    assert re.search(REJECTED[name][1], reason(result, NAMES[name]))
    assert NAMES[name] not in set(result.manifest["utterance_id"])


@pytest.mark.parametrize("name", FLAGGED)
def test_what_can_be_used_is_flagged_and_kept(name: str, result: Scan) -> None:
    rows = result.manifest[result.manifest["utterance_id"] == NAMES[name]]
    assert rows["known_issue"].str.contains(FLAGGED[name][1]).tolist() == [True]


@pytest.mark.parametrize("name", FINE)
def test_other_widths_and_rates_are_fine(name: str, result: Scan) -> None:
    rows = result.manifest[result.manifest["utterance_id"] == NAMES[name]]
    assert rows["known_issue"].isna().tolist() == [True]
    assert rows["duration_s"].tolist() == [0.5]


def test_half_an_hour_is_refused_before_it_is_decoded(result: Scan) -> None:
    assert "lasts 1,800 s" in reason(result, "1090_DFA_ANG_XX")
    assert "4,147 MB" in reason(result, "1091_DFA_ANG_XX")


def test_a_file_that_went_away_meanwhile_is_listed(result: Scan) -> None:
    assert "gone" in reason(result, "1089_DFA_ANG_XX")


def test_what_the_source_could_not_open_is_listed_too(result: Scan) -> None:
    assert "link" in reason(result, "1080_DFA_ANG_XX")


def test_every_audio_file_is_in_one_list_and_totals_add_up(source: Source, result: Scan) -> None:
    listed = [*result.manifest["path"], *result.rejected["path"], *result.left_out["path"]]
    assert sorted(listed) == sorted([file.path for file in source.files] + [path for path, _ in source.problems])
    assert len(listed) == len(set(listed)) == len(ALL) + 5


def test_every_reason_is_a_sentence_with_a_way_out(result: Scan) -> None:
    for row in result.rejected[result.rejected["path"] != "AudioWAV/not a name.wav"].itertuples():
        assert not row.reason.startswith("AudioWAV/"), row
        assert ":" in row.reason, row
        assert "Error" not in row.reason.split(":")[0], row
