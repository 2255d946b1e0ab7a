"""Side files as people's programs write them."""

from pathlib import Path

import pytest

from ser_tasks.corpora.source import open_source
from ser_tasks.corpora.tables import Table, read_table


def table_of(tmp_path: Path, body: bytes, name: str = "t.csv") -> tuple[Table, list[str]]:
    (tmp_path / name).write_bytes(body)
    notes: list[str] = []
    table = read_table(open_source(tmp_path), name, notes)
    assert table is not None
    return table, notes


@pytest.mark.parametrize(
    "body",
    [
        b"Id,Sex\n1,f\n2,m\n",
        b"\xef\xbb\xbfId,Sex\r\n1,f\r\n2,m\r\n",
        b'"Id","Sex"\r"1","f"\r"2","m"',
        b"Id;Sex\n1;f\n\n2;m\n;\n",
        b"Id\tSex\n1\tf\n2\tm",
        "Id,Sex\n1,f\n2,m\n".encode("utf-16"),
        b"\n\n Id , Sex \n 1 , f \n2,m\n",
        b"Id,Sex\n1,f\n2,\0m\0\n",
    ],
    ids=["plain", "bom-crlf", "quotes-cr", "semicolons-blank-lines", "tabs", "utf-16", "spaces", "nul"],
)
def test_one_table_in_many_dresses(tmp_path: Path, body: bytes) -> None:
    table, notes = table_of(tmp_path, body)
    assert table.columns == ["Id", "Sex"]
    assert table.rows == [{"id": "1", "sex": "f"}, {"id": "2", "sex": "m"}]
    assert notes == []


def test_quotes_hold_delimiters_quotes_and_line_ends(tmp_path: Path) -> None:
    table, _ = table_of(tmp_path, b'id,text\n1,"He said ""no"", and\nleft"\n')
    assert table.rows == [{"id": "1", "text": 'He said "no", and\nleft'}]


def test_lines_of_mixed_encodings_are_read_one_by_one_and_said(tmp_path: Path) -> None:
    table, notes = table_of(tmp_path, "id,name\n1,Zoë\n".encode() + "2,Björn €\n".encode("cp1252"))
    assert [row["name"] for row in table.rows] == ["Zoë", "Björn €"]
    assert notes == ["t.csv: 1 line(s) are not UTF-8 and were read as Windows-1252, first line 3"]


def test_short_and_long_rows_cost_nothing_else(tmp_path: Path) -> None:
    table, notes = table_of(tmp_path, b"id,sex,age\n1\n2,f,30,extra\n3,m,40\n")
    assert table.rows[0] == {"id": "1"}
    assert table.rows[2] == {"id": "3", "sex": "m", "age": "40"}
    assert notes == ["t.csv: 1 row(s) have more cells than the header, which were dropped; first in row 3"]


def test_a_quote_that_never_closes_does_not_swallow_the_rows_after_it(tmp_path: Path) -> None:
    table, notes = table_of(tmp_path, b'id,text\n1,"open\n2,fine\n3,"fine too"\n')
    assert [row["text"] for row in table.rows] == ["open", "fine", "fine too"]
    assert "quotes that do not match" in notes[0]


def test_of_two_columns_with_one_name_the_first_counts(tmp_path: Path) -> None:
    table, _ = table_of(tmp_path, b"id,sex,Sex\n1,f,m\n")
    assert table.rows == [{"id": "1", "sex": "f"}]
    assert table.has("SEX") and not table.has("age")


def test_an_empty_table_and_an_absent_one(tmp_path: Path) -> None:
    table, notes = table_of(tmp_path, b" \n")
    assert (table.columns, table.rows, notes) == ([], [], ["t.csv is empty"])
    assert read_table(open_source(tmp_path), "absent.csv", notes) is None


def test_the_least_deep_file_of_that_name_is_the_one(tmp_path: Path) -> None:
    (tmp_path / "old" / "copy").mkdir(parents=True)
    (tmp_path / "old" / "copy" / "t.csv").write_text("a\nwrong\n")
    (tmp_path / "old" / "t.csv").write_text("a\nright\n")
    table = read_table(open_source(tmp_path), "t.csv", [])
    assert table is not None and table.rows == [{"a": "right"}]
