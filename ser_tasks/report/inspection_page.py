"""The picture page of `ser inspect`: one HTML file with everything in it, equal bytes for equal corpora."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ser_tasks.report.conditions_table import CONDITIONS_NOTE, CONDITIONS_TITLE
from ser_tasks.report.figures import Picture, style
from ser_tasks.report.inspection_figures import Read, corpus_pictures
from ser_tasks.report.inspection_text import (
    beside_lines,
    condition_rows,
    emotion_rows,
    heading,
    leak_lines,
    number,
    overview,
    problem_names,
)


def write_inspection_page(report: Mapping[str, Any], manifest: pd.DataFrame, read: Read, out: Path) -> None:
    """Write the page; a file of that name is replaced.

    Args:
        report: Of `inspect_corpus`.
        manifest: That it was made from.
        read: Gives the bytes of a path of the manifest; a few clips are read for their spectrograms.
        out: An HTML file.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "capital": _capital}
    with style():
        pictures = [(picture, _source(picture)) for picture in corpus_pictures(report, manifest, read)]
    head, rows = emotion_rows(report)
    sides, facts = condition_rows(report)
    page = environment.get_template("inspection.html.j2").render(
        report=report,
        heading=heading(report),
        overview=overview(report),
        emotion_head=[(_capital(name), "n" if place else "") for place, name in enumerate(head)],
        emotion_rows=rows,
        conditions_title=CONDITIONS_TITLE,
        conditions_note=CONDITIONS_NOTE,
        conditions_head=[(name, "n" if place else "") for place, name in enumerate(sides)],
        conditions_rows=facts,
        beside=report.get("beside"),
        beside_lines=beside_lines(report),
        pictures=pictures,
        leak=report["format_leak"],
        leak_lines=leak_lines(report),
        names=problem_names,
    )
    out.write_text(page, encoding="utf-8")


def _capital(text: str) -> str:
    """The first letter, and no other: dB stays dB."""
    return text[:1].upper() + text[1:]


def _source(picture: Picture) -> str:
    """The figure as a data URI."""
    png = io.BytesIO()
    picture.figure.savefig(png, dpi=130, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
