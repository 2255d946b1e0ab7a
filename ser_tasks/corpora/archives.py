"""What an archive holds and where in it each member lies, so that it is read in place and never unpacked to disk."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ser_tasks.errors import BadInput

SUFFIXES = (".zip", ".tar")
PACKED_AS_A_WHOLE = (
    ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar",
)  # fmt: skip
WAY_OUT = "is an archive that cannot be read in place: unpack it, or pack it again as .zip or .tar"
MAX_BYTES = 256 << 20
"""A member that unpacks to more is no utterance: 23 minutes of 48 kHz stereo PCM16."""
MAX_RATIO = 200
"""Unpacked to packed bytes that no sound reaches."""
MIN_BOMB_BYTES = 16 << 20
"""The ratio is looked at from here on: a clip of digital silence has one of 700, and hurts nobody."""

_LOCAL_HEADER = 30  # bytes of a ZIP member's own header, before its name


@dataclass(frozen=True)
class Member:
    """Where a member's bytes lie. `crc` is None in a TAR, whose members are stored as they are."""

    archive: Path
    offset: int
    packed: int
    size: int
    stamp: str
    deflated: bool = False
    crc: int | None = None

    def read(self) -> bytes:
        """The member's bytes, never more than it declares. Thread-safe. Raises BadInput when they are damaged."""
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            if self.crc is not None:
                header = file.read(_LOCAL_HEADER)
                if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
                    raise BadInput("is damaged in its archive: copy the archive again")
                file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
            body = file.read(self.packed)
        if self.deflated:
            try:
                body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, self.size + 1)
            except zlib.error as error:
                raise BadInput("is damaged in its archive: copy the archive again") from error
        if len(body) != self.size or (self.crc is not None and zlib.crc32(body) != self.crc):
            raise BadInput(f"is not the {self.size} bytes that its archive promises: copy the archive again")
        return body


def members(archive: Path) -> Iterator[tuple[str, Member | str]]:
    """What an archive holds: each member's name, and where it lies or why it is not read.

    Raises:
        BadInput: It is no archive, or damaged where the list of its members is.
    """
    named = _zip_members if archive.suffix.lower() == ".zip" else _tar_members
    try:
        for name, member in named(archive):
            parts = PurePosixPath(name.replace("\\", "/")).parts
            path = "/".join(parts)
            if ".." in parts or path.startswith("/") or path[1:3] == ":/" or not parts:
                yield path.lstrip("/"), "its name in the archive leads out of the corpus: pack the archive again"
            elif not is_utf8(name):
                shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                yield shown, "its name in the archive is not UTF-8: pack the archive again"
            elif isinstance(member, Member) and (reason := _too_large(member)):
                yield path, reason
            else:
                yield path, member
    except OSError:
        raise
    except Exception as error:  # the standard library's parsers raise a dozen kinds of error on damaged bytes
        raise BadInput(f"is a damaged archive ({error}): copy it again") from error


def is_utf8(name: str) -> bool:
    """Whether a name that the system gave is text: Python marks other bytes by lone surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _too_large(member: Member) -> str | None:
    if max(member.size, member.packed) > MAX_BYTES:
        return f"unpacks to {member.size >> 20} MiB, more than {MAX_BYTES >> 20}: cut it into utterances"
    if member.size > MIN_BOMB_BYTES and member.size > MAX_RATIO * max(member.packed, 1):
        return (
            f"unpacks to {member.size // max(member.packed, 1)} times its size: an archive bomb, or nothing but silence"
        )
    return None


def _zip_members(path: Path) -> Iterator[tuple[str, Member | str]]:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            yield _zip_name(info), _zip_member(path, size, info)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """zipfile takes names without the UTF-8 flag for cp437, but many programs write UTF-8 without it."""
    if info.flag_bits & 0x800:
        return info.orig_filename
    return info.orig_filename.encode("cp437").decode("utf-8", "surrogateescape")


def _zip_member(path: Path, path_size: int, info: zipfile.ZipInfo) -> Member | str:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link in an archive, which is not followed: pack the file itself"
    if info.flag_bits & 1:
        return "is encrypted: pack the archive again without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by another method than deflate: pack the archive again with the usual one"
    if not 0 <= info.header_offset < path_size:
        return "is said to lie outside of its archive: copy the archive again"
    return Member(
        archive=path,
        offset=info.header_offset,
        packed=info.compress_size,
        size=info.file_size,
        stamp=f"{info.CRC:08x}",
        deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        crc=info.CRC,
    )


def _tar_members(path: Path) -> Iterator[tuple[str, Member | str]]:
    changed = path.stat().st_ctime_ns
    with tarfile.open(path, "r:") as archive:
        last = -1
        for info in archive:
            if info.offset <= last or info.size < 0:  # a size below zero would send the reader round in circles
                raise BadInput(f"the header of {info.name!r} is wrong")
            last = info.offset
            if info.isdir():
                continue
            if info.issym() or info.islnk():
                yield info.name, "is a link in an archive, which is not followed: pack the file itself"
            elif not info.isreg() or info.issparse():
                yield info.name, "is no ordinary file in its archive: pack the file itself"
            else:
                yield info.name, Member(path, info.offset_data, info.size, info.size, f"{changed}:{info.offset_data}")
