"""Side files of a corpus: text in whatever encoding, and CSV or TSV tables as people's programs write them.

Nothing in a side file stops a corpus: what cannot be read is said in a note, and costs its columns.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ser_tasks.corpora.source import Source
from ser_tasks.errors import BadInput

DELIMITERS = (",", ";", "\t", "|")

Row = dict[str, str]
"""Column name in lower case -> cell, without the spaces around it."""


@dataclass(frozen=True)
class Table:
    """A side file.

    Attributes:
        path: As its source names it, for notes.
        columns: Names of the columns as the file spells them.
    """

    path: str
    columns: list[str]
    rows: list[Row]

    def has(self, column: str) -> bool:
        return column.casefold() in {name.casefold() for name in self.columns}


def decode_text(body: bytes, path: str, notes: list[str]) -> str:
    """Text of a side file: UTF-8 or UTF-16 with a byte order mark, else line by line UTF-8 and, where it is not,
    Windows-1252. What was guessed is added to `notes`."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace")
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        lines = [_decode_line(line) for line in body.splitlines(keepends=True)]
    guessed = [number for number, (_, sure) in enumerate(lines, start=1) if not sure]
    notes.append(f"{path}: {len(guessed)} line(s) are not UTF-8 and were read as Windows-1252, first line {guessed[0]}")
    return "".join(text for text, _ in lines)


def _decode_line(line: bytes) -> tuple[str, bool]:
    try:
        return line.decode("utf-8"), True
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace"), False


def read_text(source: Source, path: str, notes: list[str]) -> str:
    """A side file as text; empty, with a note, when it cannot be read."""
    try:
        return decode_text(source.read(path), path, notes)
    except (BadInput, OSError) as error:
        notes.append(f"{path} cannot be read: {str(error).removeprefix(f'{path} ')}")
        return ""


def read_table(source: Source, name: str, notes: list[str]) -> Table | None:
    """Read a CSV or TSV side file: any of four delimiters, BOM, CRLF, quotes, rows that are too short or too long.

    Args:
        source: The corpus.
        name: Path of the file, from the folder in which the corpus lies: the least deep file so called is read.
        notes: Gets a sentence for everything that a person should know.

    Returns:
        None when there is no such file; a table without columns when it is empty.
    """
    path = source.find(name)
    if path is None:
        return None
    return parse_table(read_text(source, path, notes), path, notes)


def parse_table(text: str, path: str, notes: list[str]) -> Table:
    """The table that a text holds; its delimiter is the most frequent one of its first line."""
    lines = list(io.StringIO(text.replace("\0", ""), newline=""))  # unlike splitlines: no breaks at U+2028 and its kin
    lines = lines[next((i for i, line in enumerate(lines) if line.strip()), len(lines)) :]
    if not lines:
        notes.append(f"{path} is empty")
        return Table(path, [], [])
    delimiter = max(DELIMITERS, key=lines[0].count)
    try:
        cells = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        notes.append(f"{path} has quotes that do not match ({error}): read as if it had none")
        cells = [[cell.strip().strip('"') for cell in line.rstrip("\r\n").split(delimiter)] for line in lines]
    header, *rest = ([cell.strip() for cell in row] for row in cells)
    rows = [row for row in rest if any(row)]
    if long := [number for number, row in enumerate(rows, start=2) if len(row) > len(header)]:
        notes.append(
            f"{path}: {len(long)} row(s) have more cells than the header, which were dropped; first in row {long[0]}"
        )
    # From right to left: of two columns with one name the first counts, as in the header.
    keys = [name.casefold() for name in header]
    table = [dict(reversed(list(zip(keys, row, strict=False)))) for row in rows]
    return Table(path, header, table)


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few of many names, for a note."""
    listed = list(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def matching(source: Source, folder: str, suffix: str) -> Iterator[str]:
    """Paths of the files that lie right in a folder so called (which may have folders above it), sorted."""
    for file in source.files:
        parent, _, name = file.path.rpartition("/")
        if f"/{parent}".endswith(f"/{folder}") and name.lower().endswith(suffix):
            yield file.path
