"""Tables joined to clips by what a file is called, or by what its name says."""

import unicodedata
from collections.abc import Mapping, Sequence

from ser_tasks.corpora.description import SideTable
from ser_tasks.corpora.tables import Row, Table, some

Fields = Mapping[str, str | None]
"""What is known of a file by its name: path, folder, name, stem, suffix and the groups of the pattern."""


class Join:
    """One side table, found by its key, and what was asked of it.

    Args:
        spec: Its place in the description.
        table: None when there is no such file.
        columns: What is wanted of it: manifest column -> column of the table.
        notes: Gets what the table lacks.
    """

    def __init__(self, spec: SideTable, table: Table | None, columns: Mapping[str, str], notes: list[str]) -> None:
        self.spec = spec
        self._rows: dict[str, Row] = {}
        self._folder = ""
        self._used: set[str] = set()
        self._absent: dict[str, None] = {}
        self._place = spec.file
        self.works = table is not None and table.has(spec.key)
        lost = ", ".join(columns) or "nothing"
        if table is None:
            notes.append(f"there is no {spec.file}: without it there is no {lost}")
        elif not self.works:
            notes.append(f"{table.path} has no column {spec.key!r}: without it there is no {lost}")
        else:
            self._place = table.path
            self._folder = table.path.removesuffix(spec.file.rpartition("/")[2])
            notes += [
                f"{table.path} has no column {theirs!r}: without it there is no {ours}"
                for ours, theirs in columns.items()
                if not table.has(theirs)
            ]
            self._index(table.rows, notes)

    def _index(self, rows: Sequence[Row], notes: list[str]) -> None:
        again = []
        for row in rows:
            key = _key(row.get(self.spec.key.casefold(), ""))
            if key in self._rows:
                again.append(key)
            elif key:
                self._rows[key] = row
        if again:
            notes.append(f"{self._place}: {len(again)} key(s) come again, their first row counts: {some(again)}")

    def row(self, fields: Fields) -> Row | None:
        """The row that speaks of a file."""
        value = fields.get(self.spec.by)
        if value is None or not self.works:
            return None
        # A path is written as seen from the table's own folder, or from the root.
        for key in (_key(value.removeprefix(self._folder)), _key(value)):
            if key in self._rows:
                self._used.add(key)
                return self._rows[key]
        self._absent[value] = None
        return None

    def notes(self) -> list[str]:
        """After all files were asked for: keys without a row, rows without a file."""
        said = []
        if self._absent and not self.spec.required:
            said.append(f"{self._place} has no row for {len(self._absent)} {self.spec.by}(s): {some(self._absent)}")
        if self.spec.required and (left := [key for key in self._rows if key not in self._used]):
            said.append(f"{self._place} has {len(left)} row(s) for which there is no file: {some(left)}")
        return said


def _key(value: str) -> str:
    return unicodedata.normalize("NFC", value.strip().replace("\\", "/").removeprefix("./"))
