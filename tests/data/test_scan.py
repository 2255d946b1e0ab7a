"""From a corpus to its manifest: duplicates, checksums, and the real corpora."""

import csv
import hashlib
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_tasks.audio.measure import Facts
from ser_tasks.builds.scan import build
from ser_tasks.corpora.entry import Entry, Reading
from ser_tasks.corpora.readers import detect_reader, load_description, read_corpus
from ser_tasks.corpora.source import open_source
from ser_tasks.data.checksums import Checksums, load_checksums, parse_checksums
from ser_tasks.data.manifest import SCHEMA, Scan, assemble, read_manifest, scan, write_manifest
from ser_tasks.errors import BadInput
from tests.conftest import SHARED_CORPORA

TONE = (0.1 * np.sin(np.arange(16000) / 20)).astype(np.float32)


def crema_d(root: Path, *names: str) -> Path:
    (root / "AudioWAV").mkdir(parents=True)
    for i, name in enumerate(names):
        soundfile.write(root / "AudioWAV" / f"{name}.wav", TONE * (1 - i / 100), 16000)
    return root


def scanned(root: Path, checksums: Checksums | None = None) -> Scan:
    source = open_source(root)
    return scan("c", read_corpus(load_description("crema_d"), source), source, checksums)


def issues(result: Scan) -> dict[str, str]:
    return dict(zip(result.manifest["utterance_id"], result.manifest["known_issue"].fillna(""), strict=True))


def fact(sha256: str = "0" * 64, **more: float) -> Facts:
    known = {"duration_s": 1.0, "peak": 0.5, "rms_db": -20.0, "dc_offset": 0.0, "clipped_fraction": 0.0}
    return Facts(sha256, 32044, 16000, 1, "WAV/PCM_16", silent_fraction=0.0, issues=(), **(known | more))


def test_a_manifest_is_read_as_it_was_scanned(tmp_path: Path) -> None:
    result = scanned(crema_d(tmp_path / "c", "1002_DFA_SAD_XX", "1001_IEO_ANG_LO"))
    assert list(result.manifest.columns) == SCHEMA.names
    assert list(result.manifest["utterance_id"]) == ["1001_IEO_ANG_LO", "1002_DFA_SAD_XX"]
    write_manifest(result.manifest, tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "m.parquet"), result.manifest)
    (tmp_path / "no.parquet").write_text("x")
    with pytest.raises(BadInput, match="is no manifest"):
        read_manifest(tmp_path / "no.parquet")


def test_a_manifest_of_an_earlier_version_is_read_without_what_it_did_not_measure(tmp_path: Path) -> None:
    new = ["noise_db", "bandwidth_hz", "digital_silence_fraction"]
    manifest = scanned(crema_d(tmp_path / "c", "1002_DFA_SAD_XX", "1001_IEO_ANG_LO")).manifest
    assert manifest[new].notna().all(axis=None)
    manifest.drop(columns=new).to_parquet(tmp_path / "old.parquet")
    found = read_manifest(tmp_path / "old.parquet")
    assert list(found.columns) == SCHEMA.names and found[new].isna().all(axis=None)
    pd.testing.assert_frame_equal(found.drop(columns=new), manifest.drop(columns=new))


def test_the_same_bytes_under_two_names_say_so(tmp_path: Path) -> None:
    root = crema_d(tmp_path / "c", "1001_IEO_ANG_LO", "1002_DFA_SAD_XX", "1003_DFA_SAD_XX")
    audio = root / "AudioWAV"
    shutil.copy(audio / "1001_IEO_ANG_LO.wav", audio / "1001_IEO_FEA_LO.wav")
    shutil.copy(audio / "1002_DFA_SAD_XX.wav", audio / "1002_IEO_SAD_LO.wav")
    found = issues(scanned(root))
    assert found["1001_IEO_ANG_LO"] == "same audio, other label, as 1001_IEO_FEA_LO"
    assert found["1001_IEO_FEA_LO"] == "same audio, other label, as 1001_IEO_ANG_LO"
    assert found["1002_DFA_SAD_XX"] == "same audio as 1002_IEO_SAD_LO"
    assert found["1003_DFA_SAD_XX"] == ""


def test_many_copies_do_not_name_each_other_without_end() -> None:
    entries = [Entry(f"u{i:03}", f"{i}.wav", "s", "angry", "A") for i in range(500)]
    frame = assemble("c", Reading("", "", entries), {entry.path: fact() for entry in entries})
    assert frame["known_issue"][0] == "same audio as u001, u002, u003 and 496 more"
    assert frame["known_issue"][499] == "same audio as u000, u001, u002 and 496 more"


def test_a_manifest_of_a_hundred_thousand_takes_seconds() -> None:
    entries = [Entry(f"u{i}", f"{i}.wav", "s", "angry", "A") for i in range(100_000)]
    facts = {entry.path: fact(f"{i // 2:064}") for i, entry in enumerate(entries)}
    begin = time.perf_counter()
    frame = assemble("c", Reading("", "", entries), facts)
    assert time.perf_counter() - begin < 10
    assert frame["known_issue"].notna().all()


def test_what_is_known_and_measured_is_said_once() -> None:
    entry = Entry("u", "u.wav", "s", "sad", "SAD", known_issue="nearly silent, says its corpus")
    facts = {"u.wav": Facts("0" * 64, 1, 16000, 1, "c", 1, 0, -90, 0, 0, 1, ("nearly silent", "8000 Hz"))}
    frame = assemble("c", Reading("", "", [entry]), facts)
    assert frame["known_issue"][0] == "nearly silent, says its corpus; 8000 Hz"


def test_files_that_differ_from_the_checksum_list_are_rejected_and_absent_ones_listed(tmp_path: Path) -> None:
    names = ["1001_IEO_ANG_LO", "1002_DFA_SAD_XX", "1003_DFA_SAD_XX", "1040_ITH_SAD_X", "1005_DFA_SAD_XX"]
    root = crema_d(tmp_path / "c", *names)
    known = {name: (root / "AudioWAV" / f"{name}.wav").read_bytes() for name in names}
    sums = {name: (hashlib.sha256(body).hexdigest(), len(body)) for name, body in known.items()}
    sums["1002_DFA_SAD_XX"] = ("ab" * 32, 777)
    sums["1040_ITH_SAD_XX"] = sums.pop("1040_ITH_SAD_X")
    sums["1099_DFA_SAD_XX"] = ("cd" * 32, 1)
    del sums["1005_DFA_SAD_XX"]
    rows = [f"{name}.wav;{sha256.upper()};{size}\r\n" for name, (sha256, size) in sums.items()]
    (tmp_path / "sums.csv").write_bytes(b"\xef\xbb\xbfFile;SHA256;Bytes\r\n" + "".join(rows).encode() + b"\r\n")
    result = scanned(root, load_checksums(tmp_path / "sums.csv"))
    reasons = dict(zip(result.rejected["path"], result.rejected["reason"], strict=True))
    assert list(reasons) == ["AudioWAV/1002_DFA_SAD_XX.wav"]
    for part in (hashlib.sha256(known["1002_DFA_SAD_XX"]).hexdigest()[:12], "32,044", "abababababab", "777", "copy it"):
        assert part in reasons["AudioWAV/1002_DFA_SAD_XX.wav"]
    assert list(result.missing["path"]) == ["1099_DFA_SAD_XX.wav"]
    found = issues(result)
    assert found["1001_IEO_ANG_LO"] == ""
    assert found["1005_DFA_SAD_XX"] == "not in the checksum list"
    assert "in the checksum list as 1040_ITH_SAD_XX.wav" in found["1040_ITH_SAD_XX"]


def test_a_listed_name_fits_a_path_that_ends_with_it() -> None:
    sums = parse_checksums(f"file,sha256,bytes\na/x.wav,{'0' * 64},5\n".encode(), "sums.csv")
    assert sums.verify("speech.zip/a/x.wav", "0" * 64, 5) is None
    assert sums.verify("b/x.wav", "1" * 64, 5) == "not in the checksum list"
    assert sums.verify("aa/x.wav", "1" * 64, 5) == "not in the checksum list"
    with pytest.raises(BadInput, match="5 bytes"):
        sums.verify("a/x.wav", "0" * 64, 6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no column file, sha256, bytes; it has: nothing"),
        (b"file,md5\nx,1\n", "no column sha256, bytes; it has: file, md5"),
        (b"file,sha256,bytes\nx.wav,123,4\n", "line 2: 'x.wav,123,4' is no file name"),
        (b"file,sha256,bytes\nx.wav," + b"0" * 64 + b",-4\n", "line 2"),
        (b"file,sha256,bytes\nx.wav\n", "line 2"),
        (b"\xff\xfe\x00file", "no column"),
    ],
)
def test_a_checksum_list_with_faults_says_where(body: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_checksums(body, "sums.csv")


def test_the_step_writes_its_lists_and_a_summary(tmp_path: Path) -> None:
    root = crema_d(tmp_path / "c", "1001_IEO_ANG_LO", "not_a_name")
    body = (root / "AudioWAV" / "1001_IEO_ANG_LO.wav").read_bytes()
    row = f"1001_IEO_ANG_LO.wav,{hashlib.sha256(body).hexdigest()},{len(body)}\nother.wav,{'0' * 64},1\n"
    (root / "sums.csv").write_text(f"file,sha256,bytes\n{row}")
    (tmp_path / "out").mkdir()
    params = {"corpus": "c", "description": load_description("crema_d"), "checksums": "sums.csv"}
    build({"raw": root}, params, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "manifest.parquet", "rejected.csv", "left_out.csv", "missing.csv", "summary.json",
    }  # fmt: skip
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["utterances"], summary["rejected"], summary["missing"]) == (1, 1, 1)
    assert summary["reader"] == "crema_d"
    assert summary["commercial_use"] is not None
    assert any("VideoDemographics" in note for note in summary["notes"])


def test_the_real_ravdess_is_whole(ravdess: Path) -> None:
    source = open_source(ravdess)
    assert detect_reader(source) == "ravdess"
    result = scan("ravdess", read_corpus(load_description("ravdess"), source), source)
    manifest = result.manifest
    assert (len(manifest), manifest["speaker_id"].nunique(), len(result.rejected)) == (1440, 24, 0)
    assert manifest["emotion"].value_counts()["neutral"] == 96
    assert set(manifest[manifest["speaker_id"] == "01"]["sex"]) == {"male"}
    known = manifest["known_issue"].fillna("")
    assert manifest.loc[known.str.contains("2 channels, averaged"), "channels"].tolist() == [2, 2]
    silent = manifest[known.str.contains("nearly silent")]  # nine by its own count, ten are measured
    assert len(silent) == 10
    assert set(silent["speaker_id"]) == {"09", "20"}
    duplicates = set(manifest.loc[known.str.contains("same audio"), "utterance_id"])
    assert duplicates == {"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"}
    assert manifest["codec"].unique().tolist() == ["FLAC/PCM_16"]
    assert set(manifest["sample_rate_hz"]) == {16000, 48000}


def test_crema_d_is_known_by_its_official_list(tmp_path: Path) -> None:
    official = SHARED_CORPORA / "crema_d"
    if not official.is_dir():
        pytest.skip(f"{official} is absent (set SER_TEST_CORPORA)")
    audio = tmp_path / "AudioWAV"
    shutil.copytree(official, tmp_path, dirs_exist_ok=True)
    audio.mkdir()
    with (official / "crema_d_official.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    for row in listed:
        (audio / row["file"]).touch()
    reading = read_corpus(load_description("crema_d"), open_source(tmp_path))
    unknown = {name: float("nan") for name in ("peak", "rms_db", "dc_offset", "clipped_fraction", "silent_fraction")}
    facts = {
        f"AudioWAV/{row['file']}": Facts(
            row["sha256"], int(row["bytes"]), 16000, 1, "WAV/PCM_16", (int(row["bytes"]) - 44) / 32000,
            issues=(), **unknown,
        )
        for row in listed
    }  # fmt: skip
    manifest = assemble("crema_d", reading, facts)
    assert (len(manifest), manifest["speaker_id"].nunique()) == (7442, 91)
    assert manifest["duration_s"].sum() / 3600 == pytest.approx(5.257, abs=0.001)
    known = manifest.set_index("utterance_id")["known_issue"].fillna("")
    assert "no sound" in known["1076_MTI_SAD_XX"]
    conflicts = known[known.str.contains("other label")]
    pairs = ("1006_TIE_HAP_XX 1006_TIE_NEU_XX", "1013_WSI_DIS_XX 1013_WSI_SAD_XX", "1017_IWW_ANG_XX 1017_IWW_FEA_XX")
    assert sorted(conflicts.index) == " ".join(pairs).split()
    assert conflicts["1006_TIE_HAP_XX"].endswith("same audio, other label, as 1006_TIE_NEU_XX")
    sums = load_checksums(official / "crema_d_official.csv")
    assert sums.missing([f"AudioWAV/{row['file']}" for row in listed[:-2]], []) == [row["file"] for row in listed[-2:]]
