"""Folders and archives: everything is listed or is a problem with a reason, and nothing is unpacked."""

import os
import shutil
import stat
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ser_tasks.corpora.source import Source, open_source
from ser_tasks.errors import BadInput

NOBODY = 65534


def paths(source: Source) -> list[str]:
    return [file.path for file in source.files]


def problem(source: Source) -> tuple[str, str]:
    assert len(source.problems) == 1, source.problems
    return source.problems[0]


def zipped(path: Path, **bodies: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in bodies.items():
            archive.writestr(name, body)
    return path


def patched(path: Path, old: bytes, new: bytes) -> None:
    body = path.read_bytes()
    assert old in body and len(old) == len(new)
    path.write_bytes(body.replace(old, new))


def patch_directory(path: Path, offset: int, value: bytes) -> None:
    """Change a field of the first entry of a ZIP's central directory, which is what a listing believes."""
    body = bytearray(path.read_bytes())
    start = body.index(b"PK\x01\x02") + offset
    body[start : start + len(value)] = value
    path.write_bytes(body)


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder of our own, seen as a user without rights: tests may run as root, who may read everything."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_is_listed_without_hidden_files_and_sorted(tmp_path: Path) -> None:
    for name in ("b/x.wav", "a/deep/er/y y.wav", "a/음성.wav", "._b.wav", ".git/z.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    source = open_source(tmp_path)
    assert paths(source) == ["a/deep/er/y y.wav", "a/음성.wav", "b/x.wav", "notes.txt"]
    assert source.problems == []
    assert [source.read(path) for path in paths(source)] == [path.encode() for path in paths(source)]
    assert source.has("b/x.wav") and not source.has("b/z.wav")
    with pytest.raises(BadInput, match=r"\.\./secret is not in"):
        source.read("../secret")


def test_equal_listings_mean_equal_content(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"one")
    zipped(tmp_path / "b.zip", **{"b.wav": b"one"})
    before = open_source(tmp_path).listing()
    assert before == open_source(tmp_path).listing()
    (tmp_path / "a.wav").write_bytes(b"two")
    os.utime(tmp_path / "a.wav", ns=(0, 0))  # a copy that keeps its old time
    zipped(tmp_path / "b.zip", **{"b.wav": b"two"})
    after = open_source(tmp_path).listing()
    assert [row[:2] for row in before] == [row[:2] for row in after]
    assert all(old[2] != new[2] for old, new in zip(before, after, strict=True))


def test_a_change_of_permission_or_of_a_problem_changes_the_listing(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"one")
    (tmp_path / "b.wav").symlink_to("nowhere")
    before = open_source(tmp_path).listing()
    (tmp_path / "a.wav").chmod(0o600)
    changed = open_source(tmp_path).listing()
    (tmp_path / "b.wav").unlink()
    assert before != changed != open_source(tmp_path).listing()


def test_listing_7442_files_takes_less_than_300_ms(tmp_path: Path) -> None:
    for number in range(7442):
        os.mknod(tmp_path / f"{number}.wav")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert len(open_source(tmp_path).listing()) == 7442
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("inside", [True, False])
def test_archives_are_read_in_place_from_several_threads(tmp_path: Path, suffix: str, inside: bool) -> None:
    bodies = {f"Actor_01/{number:03d} ü.wav": bytes([number]) * (number * 100) for number in range(200)}
    archive = tmp_path / f"speech{suffix}"
    if suffix == ".zip":
        zipped(archive, **bodies)
    else:
        with tarfile.open(archive, "w") as tar:
            for name, body in bodies.items():
                (tmp_path / "one").write_bytes(body)
                tar.add(tmp_path / "one", f"./{name}")
        (tmp_path / "one").unlink()
    source = open_source(tmp_path if inside else archive)
    prefix = f"speech{suffix}/" if inside else ""
    assert paths(source) == [prefix + name for name in bodies]
    assert [file.size for file in source.files] == [len(body) for body in bodies.values()]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, paths(source))) == list(bodies.values())
    assert [path.name for path in tmp_path.rglob("*")] == [archive.name]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.bz2", "a.7z"])
def test_an_archive_that_cannot_be_read_in_place_says_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert problem(open_source(tmp_path)) == (
        name,
        "is an archive that cannot be read in place: unpack it, or pack it again as .zip or .tar",
    )
    with pytest.raises(BadInput, match="unpack it"):
        open_source(tmp_path / name)


def test_what_is_no_corpus_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        open_source(tmp_path / "absent")
    (tmp_path / "a.wav").write_bytes(b"x")
    with pytest.raises(BadInput, match="neither a folder nor"):
        open_source(tmp_path / "a.wav")


def test_a_link_inside_the_corpus_is_a_file_and_others_are_problems(tmp_path: Path) -> None:
    (tmp_path / "outside.wav").write_bytes(b"secret")
    root = tmp_path / "corpus"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "a.wav").write_bytes(b"a")
    (root / "inside.wav").symlink_to("folder/a.wav")
    (root / "out.wav").symlink_to("../outside.wav")
    (root / "broken.wav").symlink_to("nowhere.wav")
    (root / "loop.wav").symlink_to("loop.wav")
    (root / "again").symlink_to("folder")
    (root / "folder" / "up").symlink_to("..")
    source = open_source(root)
    assert paths(source) == ["folder/a.wav", "inside.wav"]
    assert source.read("inside.wav") == b"a"
    reasons = dict(source.problems)
    assert "link out of the corpus" in reasons["out.wav"]
    assert "leads nowhere" in reasons["broken.wav"] and "leads nowhere" in reasons["loop.wav"]
    assert "link to a folder" in reasons["again/"] and "link to a folder" in reasons["folder/up/"]
    assert len(reasons) == 5


def test_a_corpus_behind_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").write_bytes(b"a")
    (tmp_path / "real" / "b.wav").symlink_to("a.wav")
    (tmp_path / "link").symlink_to("real")
    assert paths(open_source(tmp_path / "link")) == ["a.wav", "b.wav"]


def test_a_pipe_is_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    assert "neither a file nor a folder" in problem(open_source(tmp_path))[1]


def test_a_name_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.wav")).write_bytes(b"x")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff")).mkdir()
    reason = "its name is not UTF-8: rename it"
    assert open_source(tmp_path).problems == [("\\xff/", reason), ("caf\\xe9.wav", reason)]


def test_what_may_not_be_read_is_a_problem_and_does_not_stop_the_rest() -> None:
    with as_nobody() as folder:
        for name in ("locked/a.wav", "open/b.wav", "open/c.wav"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"x")
        (folder / "locked").chmod(0)
        (folder / "open" / "b.wav").chmod(0)
        (folder / "speech.zip").write_bytes(b"")
        (folder / "speech.zip").chmod(0)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        source = open_source(folder)
        assert paths(source) == ["open/b.wav", "open/c.wav"]
        reasons = dict(source.problems)
        assert "cannot be opened (Permission denied)" in reasons["locked/"]
        assert "cannot be opened (Permission denied)" in reasons["speech.zip"]
        with pytest.raises(BadInput, match=r"open/b.wav may not be read \(permission denied\)"):
            source.read("open/b.wav")
        assert source.read("open/c.wav") == b"x"


@pytest.mark.parametrize("name", ["../evil.wav", "/etc/evil.wav", "a/../../evil.wav", "..\\evil.wav", "C:\\evil.wav"])
def test_a_member_that_leads_out_is_a_problem(tmp_path: Path, name: str) -> None:
    zipped(tmp_path / "a.zip", **{name: b"x", "good.wav": b"y"})
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    source = open_source(tmp_path)
    assert paths(source) == ["a.zip/good.wav"]
    assert [reason for _, reason in source.problems] == [
        "its name in the archive leads out of the corpus: pack the archive again"
    ] * 2


def test_a_member_that_unpacks_to_a_bomb_is_a_problem_and_a_short_silence_is_none(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", **{"bomb.wav": bytes(20 << 20), "silence.wav": bytes(200_000)})
    source = open_source(tmp_path)
    assert paths(source) == ["a.zip/silence.wav"]
    assert "archive bomb" in problem(source)[1]


def test_a_member_that_declares_too_much_is_a_problem(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("huge.wav")
    huge.size = 1 << 34
    (tmp_path / "a.tar").write_bytes(huge.tobuf() + bytes(512))
    source = open_source(tmp_path)
    reasons = dict(source.problems)
    assert "unpacks to 16384 MiB, more than 256" in reasons["a.tar/huge.wav"]
    assert "damaged archive" in reasons["a.tar"]


def test_a_member_that_lies_about_its_size_is_never_read_beyond_it(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", **{"a.wav": bytes(20 << 20)})
    patch_directory(tmp_path / "a.zip", 24, (1000).to_bytes(4, "little"))
    source = open_source(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=r"a.zip/a.wav is not the 1000 bytes that its archive promises"):
            source.read("a.zip/a.wav")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_damaged_member_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.wav", b"sound")
    patched(tmp_path / "a.zip", b"sound", b"noise")
    with pytest.raises(BadInput, match="copy the archive again"):
        open_source(tmp_path).read("a.zip/a.wav")


def test_encrypted_linked_and_foreign_members_are_problems(tmp_path: Path) -> None:
    zipped(tmp_path / "secret.zip", **{"a.wav": b"x"})
    patch_directory(tmp_path / "secret.zip", 8, b"\x01\x00")
    link = zipfile.ZipInfo("b.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("c.wav", b"x")
    with tarfile.open(tmp_path / "links.tar", "w") as tar:
        for name, kind in (("d.wav", tarfile.SYMTYPE), ("e.wav", tarfile.LNKTYPE), ("f.wav", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
    zipped(tmp_path / "nested.zip", **{"inner.zip": b"x"})
    source = open_source(tmp_path)
    assert paths(source) == []
    reasons = dict(source.problems)
    assert "encrypted" in reasons["secret.zip/a.wav"]
    assert "is a link in an archive" in reasons["links.zip/b.wav"]
    assert "another method" in reasons["lzma.zip/c.wav"]
    assert "is a link in an archive" in reasons["links.tar/d.wav"] and "is a link" in reasons["links.tar/e.wav"]
    assert "no ordinary file" in reasons["links.tar/f.wav"]
    assert "archive in an archive" in reasons["nested.zip/inner.zip"]


def test_names_in_archives_are_utf8_whatever_the_flag_says_or_a_problem(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", **{"xxxx.wav": b"1", "yyyy.wav": b"2"})
    patched(tmp_path / "a.zip", b"xxxx.wav", "öö.wav".encode())
    patched(tmp_path / "a.zip", b"yyyy.wav", b"\xff\xfe\xfd\xfc.wav")
    source = open_source(tmp_path)
    assert paths(source) == ["a.zip/öö.wav"]
    assert problem(source) == (
        "a.zip/\\xff\\xfe\\xfd\\xfc.wav",
        "its name in the archive is not UTF-8: pack the archive again",
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_in_an_archive_is_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.wav", b"first")
        archive.writestr("a.wav", b"second")
    source = open_source(tmp_path)
    assert source.read("a.zip/a.wav") == b"first"
    assert "more than once" in problem(source)[1]


def test_a_damaged_archive_does_not_hide_what_came_before(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(5000))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "x", "a.wav")
        tar.add(tmp_path / "x", "b.wav")
    with (tmp_path / "a.tar").open("r+b") as file:
        file.truncate(9000)
    (tmp_path / "b.zip").write_bytes(b"PK this is no zip")
    source = open_source(tmp_path)
    assert paths(source) == ["a.tar/a.wav", "a.tar/b.wav", "x"]
    assert {path: "damaged archive" in reason for path, reason in source.problems} == {"a.tar": True, "b.zip": True}
    assert source.read("a.tar/a.wav") == bytes(5000)
    with pytest.raises(BadInput, match="promises"):
        source.read("a.tar/b.wav")


def test_a_tar_whose_header_leads_back_ends(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.wav")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")  # a size of -1024
    header[148:156] = b"        "
    header[148:156] = f"{sum(header[:512]):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(header + bytes(2048))
    assert "damaged archive" in dict(open_source(tmp_path).problems)["a.tar"]
