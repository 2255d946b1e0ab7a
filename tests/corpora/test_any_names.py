"""Whatever the files are called and the side files hold, nothing crashes and nothing disappears."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from ser_tasks.corpora.described import CLIPS, read_described
from ser_tasks.corpora.description import read_description
from ser_tasks.corpora.source import open_source
from ser_tasks.corpora.tables import parse_table

LIKELY = st.sampled_from(
    [
        "1001_IEO_ANG_HI", "1001_IEO_XXX_XX", "1040_ITH_SAD_X", "03-01-05-02-01-01-12", "03-02-09-02-01-01-99",
        "Ses01F_impro01_M003", "Ses01F_impro01", "Ses01M_script01_1_FXX0", "03a01Fa", "03a01Za", "a-001", "aa-001",
    ]
)  # fmt: skip
CHARACTERS = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
NAMES = st.builds(
    lambda folder, stem, suffix: f"{folder}{stem}{suffix}",
    st.sampled_from(["", "a/", "AudioMP3/", "x.y/z/"]),
    LIKELY | st.text(CHARACTERS, min_size=1, max_size=20),
    st.sampled_from([".wav", ".WAV", ".flac", ".mp4", ".opus", ".txt", "", ".wav.zip"]),
)
SIDE_FILES = (
    "VideoDemographics.csv", "processedResults/tabulatedVotes.csv", "metadata.tsv",
    "S/dialog/EmoEvaluation/a.txt", "S/dialog/transcriptions/a.txt",
)  # fmt: skip
CELLS = st.sampled_from(
    [
        b"ActorID", b"Sex", b"path", b"speaker", b"emotion", b"fileName", b"A", b"numResponses", b"1001", b"a-001.wav",
        b"joy", b"1e999", b"nan", b"-3", b",", b"\t", b"\n", b"\r\n", b'"', b";", b"\xff", b"\0", b"\xef\xbb\xbf",
        b"[6.2901 - 8.2357]\tSes01F_impro01_M003\tneu\t[2.5000, 2.5000, 2.5000]", b"C-E2:\tNeutral;\t(",
        b"A-E1:\tval 3.1.2;",
    ]
)  # fmt: skip
BODIES = st.lists(CELLS, max_size=40).map(b"".join) | st.binary(max_size=200)


def made(folder: Path, bodies: dict[str, bytes]) -> None:
    for name, body in bodies.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        except OSError:  # names such as "..", or a file where a folder should be
            continue


@pytest.mark.parametrize("name", ["crema_d", "ravdess", "iemocap", "emodb", "example_tsv"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(NAMES, max_size=12), side=st.dictionaries(st.sampled_from(SIDE_FILES), BODIES))
@example(names=["a-001.wav"], side={"metadata.tsv": b'path\tspeaker\temotion\na-001.wav\tan"na\tjoy\n'})
def test_totals_add_up_whatever_the_names_and_side_files(name: str, names: list[str], side: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder), {**dict.fromkeys(names, b""), **side})
        source = open_source(Path(folder))
        reading = read_described(read_description(name), source)
    files = [file.path for file in source.files if file.path.lower().endswith(CLIPS)]
    listed = [entry.path for entry in reading.entries]
    listed += [path for path, _ in reading.rejected + reading.left_out]
    assert sorted(listed) == sorted(files)
    assert all(reason for _, reason in reading.rejected + reading.left_out)


@given(st.text(max_size=200) | st.text("ab,;\t\"'\n\r|", max_size=60))
def test_any_text_is_a_table(text: str) -> None:
    table = parse_table(text, "t.csv", [])
    assert all(set(row) <= {name.casefold() for name in table.columns} for row in table.rows)


@settings(max_examples=200, deadline=None)
@given(
    body=st.binary(max_size=600), suffix=st.sampled_from([".zip", ".tar"]), head=st.sampled_from([b"", b"PK\x05\x06"])
)
def test_any_bytes_are_an_archive_or_a_problem(body: bytes, suffix: str, head: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"a{suffix}").write_bytes(head + body)
        source = open_source(Path(folder))
        for file in source.files:
            assert file.size >= 0
    assert source.files or source.problems or suffix == ".tar" or head
