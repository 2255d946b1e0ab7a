"""What people drop: long CSV, JSON Lines, Label Studio's JSON export -> one row a rating, as it is written there.

Nothing is judged here, only read: a row that cannot be read keeps its place and says why in `fault`.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from ser_tasks.annotations.labelstudio import is_export, other_export, rows_of_export
from ser_tasks.errors import BadInput

GIVEN = ("utterance_id", "annotator_id", "trait", "rating", "scale", "created_at", "source")
"""What a row says. The last three may be absent."""
COLUMNS = ["row", *GIVEN, "fault", "left_out"]
LARGEST_BYTES = 64 * 2**20
SEPARATORS = ",;\t"


def read_drop(name: str, body: bytes) -> pd.DataFrame:
    """Read a drop.

    Args:
        name: Of the file; its ending tells the format (.csv, .tsv, .jsonl, .ndjson, .json).
        body: Its bytes.

    Returns:
        Columns `COLUMNS`, all text, empty where there is nothing: `row` names the place in the file, `fault` why the
        row cannot be read, `left_out` why it is fine and no rating (a cancelled annotation).

    Raises:
        BadInput: The file as a whole cannot be read; says why and the way out.
    """
    refuse_large(len(body))
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    ending = PurePosixPath(name).suffix.lower()
    if ending in (".csv", ".tsv"):
        rows = _csv_rows(text)
    elif ending in (".jsonl", ".ndjson"):
        rows = _json_lines(text)
    elif ending == ".json":
        rows = _json_rows(text)
    else:
        raise BadInput(f"ends in {ending or 'nothing'}: take .csv, .tsv, .jsonl or .json (Label Studio's JSON export)")
    table = pd.DataFrame([{**dict.fromkeys(COLUMNS, ""), **row} for row in rows], columns=COLUMNS, dtype="str")
    return table.fillna("")


def refuse_large(size: int) -> None:
    """Raises BadInput for a file of more bytes than are read at once."""
    if size > LARGEST_BYTES:
        raise BadInput(f"has {size / 1e6:,.0f} MB, more than {LARGEST_BYTES / 1e6:.0f}: cut it into several files")


def _csv_rows(text: str) -> Iterator[dict[str, str]]:
    head = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=head.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [name.strip() for name in next(lines, [])]
        if missing := [name for name in GIVEN[:4] if name not in header]:
            raise BadInput(f"lacks the column(s) {', '.join(missing)}; it needs {', '.join(GIVEN[:4])}")
        if twice := sorted({name for name in header if name in GIVEN and header.count(name) > 1}):
            raise BadInput(f"has the column(s) {', '.join(twice)} twice")
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            row = {"row": f"line {lines.line_num}"}
            row |= {name: cell.strip() for name, cell in zip(header, cells, strict=False) if name in GIVEN}
            if len(cells) != len(header):
                row["fault"] = f"has {len(cells)} cells where the header has {len(header)}"
            yield row
    except csv.Error as error:
        raise BadInput(f"is no CSV: {error} (line {lines.line_num})") from error


def _json_lines(text: str) -> Iterator[dict[str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield _object(json.loads(line), f"line {number}")
        except (ValueError, RecursionError) as error:
            yield {"row": f"line {number}", "fault": f"is no JSON: {error}"}


def _json_rows(text: str) -> Iterator[dict[str, str]]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"is no JSON: {error}") from error
    if not isinstance(tree, list):
        raise BadInput("is no list: export from Label Studio as 'JSON', or write one JSON object a line into a .jsonl")
    if is_export(tree):
        return rows_of_export(tree)
    if what := other_export(tree):
        raise BadInput(f"is {what}: export from Label Studio as 'JSON' (1.0 or newer), not as anything else")
    return (_object(item, f"item {number}") for number, item in enumerate(tree, start=1))


def _object(item: Any, place: str) -> dict[str, str]:
    if not isinstance(item, dict):
        return {"row": place, "fault": f"is no object with {', '.join(GIVEN[:4])}"}
    row = {name: "" if item.get(name) is None else item[name] for name in GIVEN}
    odd = [name for name, value in row.items() if isinstance(value, (dict, list, bool))]
    fault = f"{', '.join(odd)} is neither text nor number" if odd else ""
    return {"row": place, "fault": fault, **{name: "" if name in odd else str(row[name]).strip() for name in row}}
