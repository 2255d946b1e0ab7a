"""What only CREMA-D (Cao et al. 2014) needs: how raters heard and saw each clip. The rest is crema_d.yaml."""

import json

from ser_tasks.corpora.source import Source
from ser_tasks.corpora.tables import Row, Table, read_table

LETTERS = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
MODALITIES = {"1": "voice", "2": "face", "3": "audio_visual"}
"""By the first digit of a row's index, the table's nameless first column."""


def votes(source: Source, file: str, notes: list[str]) -> Table | None:
    """Votes of each clip by what the raters got, from processedResults/tabulatedVotes.csv.

    Returns:
        Columns stem and votes: {"voice": {"counts": {"angry": 0, ...}, "responses": 11}, "face": ..., ...} as JSON.
        None when there is no such file.
    """
    table = read_table(source, file, notes)
    if table is None:
        return None
    missing = [name for name in ("", *LETTERS, "fileName", "numResponses") if not table.has(name)]
    if missing:
        notes.append(f"{table.path} has no column {', '.join(map(repr, missing))}: votes are left out")
        return Table(table.path, ["stem", "votes"], [])
    found: dict[str, dict[str, object]] = {}
    wrong = 0
    for row in table.rows:
        said = _counts(row)
        modality = MODALITIES.get(row.get("", "")[:1])
        heard = found.setdefault(row.get("filename", ""), {})
        if said is None or modality is None or modality in heard:
            wrong += 1
        else:
            heard[modality] = said
    if wrong:
        notes.append(f"{table.path}: {wrong} row(s) are no votes, or come again, and are left out")
    rows = [{"stem": stem, "votes": json.dumps(said, sort_keys=True)} for stem, said in found.items() if said]
    return Table(table.path, ["stem", "votes"], rows)


def _counts(row: Row) -> dict[str, object] | None:
    """None when a cell is no whole number; an empty cell is no vote."""
    try:
        numbers = {name: float(row.get(name.casefold(), "") or 0) for name in (*LETTERS, "numResponses")}
    except ValueError:
        return None
    if not all(number >= 0 and number.is_integer() for number in numbers.values()):
        return None
    return {
        "counts": {emotion: int(numbers[letter]) for letter, emotion in LETTERS.items()},
        "responses": int(numbers["numResponses"]),
    }
