"""What the files of a corpus should be: a list of names, SHA-256 and sizes, such as its publisher gives."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_tasks.errors import BadInput

_SHOWN = 12  # digits of a SHA-256 that a message shows


@dataclass(frozen=True)
class Checksums:
    """SHA-256 and size by file name. A name fits every path that ends with it, from a `/` on."""

    listed: Mapping[str, tuple[str, int]]
    names: Mapping[str, str]  # by SHA-256

    def verify(self, path: str, sha256: str, size: int) -> str | None:
        """Compare a file with the list.

        Returns:
            None, or what to note of a file that is not listed under its name.

        Raises:
            BadInput: The file is listed, and differs.
        """
        name = next((ending for ending in _endings(path) if ending in self.listed), None)
        if name is None:
            same = self.names.get(sha256)
            return f"in the checksum list as {same}" if same else "not in the checksum list"
        listed_sha256, listed_size = self.listed[name]
        if (sha256, size) == (listed_sha256, listed_size):
            return None
        raise BadInput(
            f"{path} is not the file of the checksum list: SHA-256 {sha256[:_SHOWN]}... and {size:,} bytes, listed "
            f"{listed_sha256[:_SHOWN]}... and {listed_size:,} bytes: it was changed or damaged, copy it again"
        )

    def missing(self, paths: Iterable[str], hashes: Iterable[str]) -> list[str]:
        """Names in the list of which there is neither a file nor, under another name, the content; sorted."""
        found = {ending for path in paths for ending in _endings(path)}
        content = set(hashes)
        return sorted(name for name, (sha256, _) in self.listed.items() if name not in found and sha256 not in content)


def _endings(path: str) -> Iterator[str]:
    """`a/b/c`, `b/c`, `c`."""
    parts = path.split("/")
    return ("/".join(parts[i:]) for i in range(len(parts)))


def load_checksums(path: Path) -> Checksums:
    """Read a list from a file. Raises BadInput: see `parse_checksums`."""
    try:
        return parse_checksums(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInput(
            f"checksums: {path} cannot be read: {error.strerror}: give a CSV of file, sha256, bytes"
        ) from error


def parse_checksums(body: bytes, name: str) -> Checksums:
    """Read a list with the columns file, sha256 and bytes, separated by commas, semicolons or tabs.

    Args:
        body: CSV, with or without a byte order mark, in UTF-8 or Latin-1.
        name: What to call it in errors.

    Raises:
        BadInput: A column is missing, or a line gives no SHA-256 or size; the message names it.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = [column.strip().lower() for column in next(rows, [])]
    absent = [column for column in ("file", "sha256", "bytes") if column not in header]
    if absent:
        raise BadInput(
            f"checksums: {name} has no column {', '.join(absent)}; it has: {', '.join(header) or 'nothing'}: "
            "give a CSV of file, sha256, bytes"
        )
    listed = {}
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        file, sha256, size = row.get("file", ""), row.get("sha256", "").lower(), row.get("bytes", "")
        if not file or not re.fullmatch(r"[0-9a-f]{64}", sha256) or not re.fullmatch(r"[0-9]{1,18}", size):
            raise BadInput(
                f"checksums: {name}, line {rows.line_num}: {separator.join(cells)[:80]!r} is no file name, SHA-256 "
                "(64 hexadecimal digits) and size in bytes"
            )
        listed[file.replace("\\", "/").removeprefix("./")] = (sha256, int(size))
    return Checksums(listed, {sha256: file for file, (sha256, _) in listed.items()})
