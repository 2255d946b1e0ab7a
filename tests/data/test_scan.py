"""Scanning real and broken files: nothing stops a corpus, nothing disappears."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tasks.config import Validation
from ser_tasks.corpora.readers import detect_reader, read_corpus
from ser_tasks.data.manifest import read_manifest, scan, write_manifest
from ser_tasks.data.suites import load_suite
from ser_tasks.data.validation import refuse_critical, tables_to_validate, validate
from ser_tasks.errors import BadInput

TONE = (0.1 * np.sin(np.arange(16000) / 20)).astype(np.float32)


def crema_d(root: Path, *names: str) -> Path:
    (root / "AudioWAV").mkdir(parents=True)
    for i, name in enumerate(names):
        soundfile.write(root / "AudioWAV" / f"{name}.wav", TONE * (1 - i / 100), 16000)
    return root


def test_every_file_found_is_a_row_or_is_rejected_with_a_reason(tmp_path: Path) -> None:
    root = crema_d(tmp_path / "c", "1001_IEO_ANG_LO", "1002_DFA_SAD_XX", "not_a_name", "1003_DFA_SAD_X")
    audio = root / "AudioWAV"
    (audio / "1004_DFA_SAD_XX.wav").write_bytes(b"")
    (audio / "1005_DFA_SAD_XX.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (audio / "1006_DFA_SAD_XX.wav").write_text("this is text")
    soundfile.write(audio / "1007_DFA_SAD_XX.wav", np.full(100, np.nan), 16000, subtype="FLOAT")
    shutil.copy(audio / "1001_IEO_ANG_LO.wav", audio / "1001_IEO_FEA_LO.wav")
    result = scan("c", read_corpus("crema_d", root), root)
    reasons = dict(zip(result.rejected["path"], result.rejected["reason"], strict=True))
    assert len(result.manifest) + len(reasons) == 9
    assert "is empty" in reasons["AudioWAV/1004_DFA_SAD_XX.wav"]
    assert "Git LFS stub" in reasons["AudioWAV/1005_DFA_SAD_XX.wav"]
    assert "cannot be decoded" in reasons["AudioWAV/1006_DFA_SAD_XX.wav"]
    assert "NaN" in reasons["AudioWAV/1007_DFA_SAD_XX.wav"]
    assert "not CREMA-D's" in reasons["AudioWAV/not_a_name.wav"]
    issues = dict(zip(result.manifest["utterance_id"], result.manifest["known_issue"], strict=True))
    assert "other label, as 1001_IEO_FEA_LO" in issues["1001_IEO_ANG_LO"]
    assert "old misspelling" in issues["1003_DFA_SAD_XX"]
    write_manifest(result.manifest, tmp_path / "m.parquet")
    assert list(read_manifest(tmp_path / "m.parquet")["utterance_id"]) == list(result.manifest["utterance_id"])


def test_the_real_ravdess_is_whole(ravdess: Path) -> None:
    assert detect_reader(ravdess) == "ravdess"
    result = scan("ravdess", read_corpus("ravdess", ravdess), ravdess)
    manifest = result.manifest
    assert (len(manifest), manifest["speaker_id"].nunique(), len(result.rejected)) == (1440, 24, 0)
    assert manifest["emotion"].value_counts()["neutral"] == 96
    assert set(manifest[manifest["speaker_id"] == "01"]["sex"]) == {"male"}
    issues = manifest["known_issue"].fillna("")
    assert issues.str.contains("2 channels").sum() == 2
    duplicates = manifest.loc[issues.str.contains("same audio"), "utterance_id"]
    assert set(duplicates) == {"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"}
    tables = tables_to_validate(manifest, result.rejected, sorted(manifest["emotion"].unique()))
    outcome = validate(tables, load_suite("corpus", Validation()))
    assert outcome["success"]
    assert any(item["severity"] == "warning" and not item["success"] for item in outcome["expectations"])


def test_a_critical_expectation_names_the_rule_and_the_row(tmp_path: Path) -> None:
    root = crema_d(tmp_path / "c", "1001_IEO_ANG_LO", "1002_DFA_SAD_XX")
    result = scan("c", read_corpus("crema_d", root), root)
    outcome = validate(
        tables_to_validate(result.manifest, result.rejected, ["angry"]), load_suite("corpus", Validation())
    )
    assert not outcome["success"]
    with pytest.raises(BadInput, match=r"enough speakers .*speakers=2.*enough clips .*emotion=angry"):
        refuse_critical(outcome, "c")


def test_iemocap_takes_the_speaker_from_the_last_token(tmp_path: Path) -> None:
    turns = tmp_path / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    evaluation = tmp_path / "Session1" / "dialog" / "EmoEvaluation"
    turns.mkdir(parents=True)
    evaluation.mkdir(parents=True)
    soundfile.write(turns / "Ses01F_impro01_M003.wav", TONE, 16000)
    soundfile.write(turns / "Ses01F_impro01_F000.wav", TONE, 16000)
    (evaluation / "._Ses01F_impro01.txt").write_bytes(b"\xff\x00")
    (evaluation / "Ses01F_impro01.txt").write_text(
        "[6.2901 - 8.2357]\tSes01F_impro01_M003\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n"
    )
    reading = read_corpus("iemocap", tmp_path)
    assert [entry.speaker_id for entry in reading.entries] == ["Ses01M"]
    assert reading.entries[0].sex == "male"
    assert reading.entries[0].valence == 2.5
    assert reading.rejected[0][1] == "no line in dialog/EmoEvaluation speaks of this turn"


def test_a_folder_that_is_no_corpus_says_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds 0 audio files"):
        detect_reader(tmp_path)
    soundfile.write(tmp_path / "x.wav", TONE, 16000)
    with pytest.raises(BadInput, match=r"is no ravdess folder.*x\.wav"):
        read_corpus("ravdess", tmp_path)
