"""The page of nights: drift of the data, agreement of the annotators and performance, one point a night."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

WIDTH, HEIGHT, EDGE = 720, 150, 34
SERIES = (
    ("uar", "UAR on the test speakers, by model and corpus"),
    ("alpha", "Agreement of the annotators: Krippendorff's alpha, by trait"),
    ("drift", "Largest drift from the accepted version (0 equal, 1 disjoint), by corpus"),
)


def render_nights(nights: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML without script: pictures as SVG, and a table with a row a night, the newest first.

    Args:
        nights: As `ser_tasks.nights` writes them, the oldest first.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = [{"title": title, **_picture(nights, key)} for key, title in SERIES]
    return environment.get_template("nights.html.j2").render(
        nights=list(reversed(nights)), pictures=pictures, width=WIDTH, height=HEIGHT, edge=EDGE
    )


def _picture(nights: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Lines of points, in pixels; a night without a value has none."""
    names = sorted({name for night in nights for name in night.get(key) or {}})
    lines = []
    for name in names:
        points = [
            (_x(i, len(nights)), _y(value), night["run"], value)
            for i, night in enumerate(nights)
            if (value := (night.get(key) or {}).get(name)) is not None
        ]
        if points:
            lines.append({"name": name, "points": points})
    return {"lines": lines, "ticks": [(value, _y(value)) for value in (0.0, 0.5, 1.0)]}


def _x(place: int, count: int) -> float:
    return round(EDGE + (WIDTH - 2 * EDGE) * (place / (count - 1) if count > 1 else 0.5), 1)


def _y(value: float) -> float:
    return round(HEIGHT - 12 - (HEIGHT - 24) * min(max(value, 0.0), 1.0), 1)
