"""From a description and the files of a corpus to what each clip is."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from ser_tasks.config import CANONICAL_EMOTIONS
from ser_tasks.corpora import crema_d, iemocap
from ser_tasks.corpora.description import Description
from ser_tasks.corpora.entry import AUDIO, UNREADABLE_AUDIO, Entry, Reading
from ser_tasks.corpora.joins import Fields, Join
from ser_tasks.corpora.source import Source
from ser_tasks.corpora.tables import Row, Table, read_table, some

MADE: dict[str, Callable[[Source, str, list[str]], Table | None]] = {
    "crema_d_votes": crema_d.votes,
    "iemocap_turns": iemocap.turns,
    "iemocap_words": iemocap.words,
}
"""Tables that code makes; else `read_table` does."""
CLIPS = (*AUDIO, *UNREADABLE_AUDIO)
NO_VALUE = {"", "na", "n/a", "nan", "null", "none", "unknown"}
"""Cells that say nothing, in lower case; not in transcripts, where they are words."""
SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "other": "other"}
"""How corpora without a map write it, in lower case."""
MAX_AGE = 150
NUMBERS = ("valence", "activation", "dominance")

Rows = Mapping[str, Row | None]


def read_described(about: Description, source: Source) -> Reading:
    """Read a corpus as its description says.

    Every audio file that the source lists is in the result: as an entry, or rejected or left out with a reason.
    """
    reading = Reading(about.licence, about.citation)
    reader = _Reader(about, source, reading)
    for file in source.files:
        if file.path.lower().endswith(CLIPS):
            reader.read(file.path)
    reader.finish()
    return reading


class _Refused(Exception):
    """Why a clip is rejected."""


class _Reader:
    """A description made ready to be asked about one file after the other."""

    def __init__(self, about: Description, source: Source, reading: Reading) -> None:
        self.about = about
        self.reading = reading
        self.pattern = re.compile(about.names.pattern) if about.names else None
        self.unknown: dict[str, Counter[str]] = {}
        self.joins: dict[str, Join] = {}
        for name, spec in about.tables.items():
            table = (MADE[spec.code] if spec.code else read_table)(source, spec.file, reading.notes)
            wanted: dict[str, str] = {
                column: given.source.partition(".")[2]
                for column, given in about.columns.items()
                if given.source.startswith(f"{name}.")
            }
            self.joins[name] = Join(spec, table, wanted, reading.notes)

    def read(self, path: str) -> None:
        """Put one file into the reading."""
        fields, issues = self._fields(path)
        rows = {name: join.row(fields) for name, join in self.joins.items()}
        for rule in self.about.leave_out:
            if all(re.fullmatch(pattern, _look(field, fields, rows) or "") for field, pattern in rule.where.items()):
                self.reading.left_out.append((path, rule.why))
                return
        try:
            self._refuse(path, fields, rows)
            self.reading.entries.append(self._entry(path, fields, rows, issues))
        except _Refused as reason:
            self.reading.rejected.append((path, str(reason)))

    def _fields(self, path: str) -> tuple[dict[str, str | None], list[str]]:
        """What a file's name says, and what there is to be said of the name."""
        path = unicodedata.normalize("NFC", path)
        folder, _, name = path.rpartition("/")
        where = PurePosixPath(name)
        stem, issues = where.stem, []
        for spelling in self.about.spellings:
            if match := re.fullmatch(spelling.wrong, stem):
                stem = match.expand(spelling.right)
                issues.append(spelling.issue)
        fields: dict[str, str | None] = {
            "path": path, "folder": folder.rpartition("/")[2], "name": name, "stem": stem, "suffix": where.suffix,
        }  # fmt: skip
        match = self.pattern.fullmatch(stem) if self.pattern else None
        return fields | (match.groupdict() if match else {}), issues

    def _refuse(self, path: str, fields: Fields, rows: Rows) -> None:
        if path.lower().endswith(UNREADABLE_AUDIO):
            raise _Refused(
                f"{fields['suffix']} is not decoded here: convert it to WAV or FLAC, with ffmpeg for example"
            )
        names = self.about.names
        if names and self.pattern and not self.pattern.fullmatch(fields["stem"] or ""):
            raise _Refused(f"the name is not {names.grammar}, such as {names.example}")
        for name, join in self.joins.items():
            if join.spec.required and not join.works:
                raise _Refused(f"there is no readable {join.spec.file}, which says what the clips are")
            if join.spec.required and rows[name] is None:
                raise _Refused(f"nothing in {join.spec.file} speaks of this clip")

    def _entry(self, path: str, fields: Fields, rows: Rows, issues: list[str]) -> Entry:
        raw = {name: _look(column.source, fields, rows) for name, column in self.about.columns.items()}
        emotion = self._emotion(raw["emotion"])
        values = {name: self._value(name, text) for name, text in raw.items() if name != "emotion"}
        if values["speaker_id"] is None:
            raise _Refused(f"there is no speaker: {self.about.columns['speaker_id'].source} is empty")
        issues = [*issues, self.about.known_issues.get(fields["stem"] or "", ""), values.pop("known_issue", None) or ""]
        return Entry(
            path=path,
            emotion=emotion,
            emotion_raw=(raw["emotion"] or "").strip(),
            known_issue="; ".join(filter(None, issues)) or None,
            **values | {"utterance_id": values.get("utterance_id") or fields["stem"]},
        )

    def _emotion(self, text: str | None) -> str:
        column = self.about.columns["emotion"]
        code = (text or "").strip()
        if column.map is None and code.lower() in CANONICAL_EMOTIONS:
            return code.lower()
        emotion = (column.map or {}).get(code)
        if emotion is None:
            known = ", ".join(column.map or CANONICAL_EMOTIONS)
            said = f"unknown emotion code {code!r}" if code else f"there is no emotion: {column.source} is empty"
            raise _Refused(f"{said}; known are: {known}")
        return emotion

    def _value(self, name: str, text: str | None) -> Any:
        """A manifest column's value; None, counted, for what the map or the column's type does not know."""
        text = (text or "").strip()
        known = self.about.columns[name].map  # type: ignore[index]
        if known is not None and text in known:
            return _typed(name, known[text] or "")
        if text.lower() in NO_VALUE and not (text and name in ("transcript", "speaker_id", "utterance_id")):
            return None
        value = None if known is not None else _typed(name, text)
        if value is None:
            self.unknown.setdefault(name, Counter())[text] += 1
        return value

    def finish(self) -> None:
        """Say once what concerns the corpus as a whole."""
        notes = self.reading.notes
        for join in self.joins.values():
            notes += join.notes()
        for name, texts in self.unknown.items():
            notes.append(f"{name} is not known for {texts.total()} clip(s): what is {some(map(repr, texts))}?")
        speakers = dict.fromkeys(entry.speaker_id for entry in self.reading.entries)
        if self.about.speakers and (others := [name for name in speakers if name not in self.about.speakers]):
            notes.append(f"{len(others)} speaker(s) are not on the corpus's list: {some(others)}")


def _look(field: str, fields: Fields, rows: Rows) -> str | None:
    """The text of a field of the file, or of <table>.<column>."""
    if field in fields:
        return fields[field]
    table, _, column = field.partition(".")
    return (rows.get(table) or {}).get(column.casefold())


def _typed(name: str, text: str) -> Any:
    """Text as the type of its manifest column; None when it is no such thing."""
    if name == "sex":
        return SEXES.get(text.lower())
    if name != "age" and name not in NUMBERS:
        return text or None
    try:
        number = float(text)
    except ValueError:
        return None
    if name == "age":
        return int(number) if 0 <= number <= MAX_AGE else None
    return number if math.isfinite(number) else None
