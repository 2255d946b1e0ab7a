"""The page of nights: drift of the data, agreement of the annotators and performance, one point a night."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

WIDTH, HEIGHT, EDGE = 720, 150, 34
SERIES = (
    ("uar", "UAR on the test speakers, by model and corpus"),
    ("auc", "AUC of the trait's direction"),
    ("alpha", "Agreement of the annotators: Krippendorff's alpha, by trait"),
    ("drift", "Largest drift from the accepted version (0 equal, 1 disjoint), by corpus"),
)
JUDGED = ("uar",)
"""What another evaluation, clips or labels of gate and test, makes incomparable: its lines break there."""


def render_nights(
    nights: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]] = (), all_listed: int = 0
) -> str:
    """The page as HTML without script: pictures as SVG, and a table with a row a night, the newest first.

    Args:
        nights: As `ser_tasks.nights` writes them, the oldest first.
        listed: Rows that were dropped and not accepted: file, row, reason.
        all_listed: How many there are of these; listed.csv beside the page has them.
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
        nights=list(reversed(nights)), pictures=pictures, width=WIDTH, height=HEIGHT, edge=EDGE,
        listed=listed, all_listed=all_listed,
    )  # fmt: skip


def _picture(nights: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Lines of points, in pixels, one line a configuration and value; a night without a value has no point."""
    values = [night.get(key) or {} for night in nights]
    shown = [value for held in values for value in held.values() if value is not None]
    low = min([0.0, *(math.floor(2 * value) / 2 for value in shown)])  # alpha may lie below 0
    several = len({night["config"] for night, held in zip(nights, values, strict=True) if held}) > 1
    lines = []
    for config, name in sorted(
        {(night["config"], name) for night, held in zip(nights, values, strict=True) for name in held}
    ):
        points = [
            {"x": _x(i, len(nights)), "y": _y(held[name], low), "run": night["run"], "value": held[name],
             "judged": night.get("evaluation", "") if key in JUDGED else ""}
            for i, (night, held) in enumerate(zip(nights, values, strict=True))
            if night["config"] == config and held.get(name) is not None
        ]  # fmt: skip
        if points:
            parts = [list(part) for _, part in groupby(points, key=lambda point: point["judged"])]
            lines.append({"name": f"{config}: {name}" if several else name, "parts": parts})
    ticks = [low + step / 2 for step in range(round(2 * (1 - low)) + 1)]
    return {"lines": lines, "ticks": [(value, _y(value, low)) for value in ticks]}


def _x(place: int, count: int) -> float:
    return round(EDGE + (WIDTH - 2 * EDGE) * (place / (count - 1) if count > 1 else 0.5), 1)


def _y(value: float, low: float) -> float:
    return round(HEIGHT - 12 - (HEIGHT - 24) * (min(value, 1.0) - low) / (1 - low), 1)
