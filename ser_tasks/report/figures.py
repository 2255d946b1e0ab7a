"""How every figure looks, and how it is written: PNG, SVG and the data that it shows, equal bytes for equal data."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SYNTHETIC = "synthetic: made by speech synthesis, says nothing about people's speech"
"""Stands in every figure and table that a synthetic corpus is in."""

EMOTION_LOOKS = {
    "angry": ("#d55e00", "o"),
    "disgust": ("#009e73", "s"),
    "fear": ("#7b3fa0", "^"),
    "happy": ("#e0a800", "D"),
    "neutral": ("#6b7280", "v"),
    "sad": ("#0072b2", "P"),
    "calm": ("#56b4e9", "X"),
    "surprised": ("#cc79a7", "<"),
    "frustrated": ("#7a3b12", ">"),
    "excited": ("#8fbc3f", "p"),
    "other": ("#111827", "*"),
}
"""Colour (after Okabe and Ito's palette, told apart by most eyes) and marker of each canonical emotion."""

HIGH, LOW, PLAIN = "#d55e00", "#0072b2", "#334155"
"""Colours of the high group, of the low group, and of what has no group."""

WIDTH = 9.4
"""Of every figure, in inches: on the page all have letters of one size."""

MANY_POINTS = 2000
"""Above it the points of an SVG are drawn as one image, so that a browser can open it."""

_WARNING = "#a02c00"
_STYLE = {
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8",
    "grid.color": "#e2e8f0",
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar sign in a corpus's name is a dollar sign
    "svg.hashsalt": "ser",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Scene:
    """What the figures of the trait's corpus share: the trait's name, the corpus, whether it is synthetic, the seed."""

    trait: str
    corpus: str
    synthetic: bool
    seed: int


@dataclass(frozen=True)
class Picture:
    """A figure with what goes beside it.

    Attributes:
        name: Of its files.
        section: Of the page.
        title: One line.
        caption: What is drawn and how it was computed.
        alt: The same for who cannot see it: the main numbers in a sentence.
        figure: Drawn inside `style()`.
        data: What is drawn, one row a mark.
    """

    name: str
    section: str
    title: str
    caption: str
    alt: str
    figure: Figure
    data: pd.DataFrame


@contextmanager
def style() -> Iterator[None]:
    """Draw and write in one look, whatever the machine's matplotlibrc says."""
    with matplotlib.style.context(_STYLE, after_reset=True):
        yield


def file_name(*parts: str) -> str:
    """Parts joined to a name that is safe as a file and in a link."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(parts))


def remarks(notes: Iterable[str], synthetic: bool) -> list[str]:
    """What a reader must know of what is shown: that it is synthetic, then the notes, each once."""
    return list(dict.fromkeys([*([SYNTHETIC] if synthetic else []), *(note for note in notes if note)]))


def canvas(
    title: str, height: float, said: Sequence[str], rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """An empty figure with its title above and its remarks below.

    Args:
        title: Wrapped to the width.
        height: In inches, without the remarks.
        said: From `remarks`.
        rows: Of panels.
        columns: Of panels.
        options: Of `Figure.subplots`.

    Returns:
        The figure and its axes [rows, columns].
    """
    figure = Figure(figsize=(WIDTH, height + 0.25 * len(said)), layout="constrained")
    FigureCanvasAgg(figure)
    heading = textwrap.fill(title, int(WIDTH / 0.108))
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
    if said:
        lines = [textwrap.fill(sentence, int(WIDTH / 0.082)) for sentence in said]
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=9.5, color=_WARNING)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def write_pictures(pictures: Sequence[Picture], out: Path) -> None:
    """Write figures/<name>.png, figures/<name>.svg, data/<name>.csv and index.json, which lists them in order.

    Args:
        pictures: Drawn inside the same `style()` that this runs in.
        out: A folder.
    """
    (out / "figures").mkdir()
    (out / "data").mkdir()
    index = []
    for picture in pictures:
        png, svg, data = f"figures/{picture.name}.png", f"figures/{picture.name}.svg", f"data/{picture.name}.csv"
        # No dates and no version of the library in the files: only what is drawn decides the bytes.
        picture.figure.savefig(out / png, dpi=130, metadata={"Software": None})
        picture.figure.savefig(out / svg, dpi=130, metadata={"Date": None, "Creator": None})
        picture.data.to_csv(out / data, index=False, float_format="%.6g", lineterminator="\n")
        words = {key: getattr(picture, key) for key in ("name", "section", "title", "caption", "alt")}
        index.append(words | {"png": png, "svg": svg, "data": data})
    (out / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False), encoding="utf-8")


def dots(points: int) -> dict[str, Any]:
    """Options of `scatter` for so many points: their area, and one image in the SVG where they are many."""
    return {"s": float(np.clip(9000 / max(points, 1), 7, 34)), "linewidths": 0, "rasterized": points > MANY_POINTS}


def with_remarks(data: pd.DataFrame, note: str, synthetic: bool) -> pd.DataFrame:
    """A figure's data with what the reader must know in each row: columns `note` and `synthetic` (yes or no)."""
    return data.assign(note=note, synthetic="yes" if synthetic else "no")


def in_words(estimate: Mapping[str, float]) -> str:
    """A value with its interval: `0.55 (0.50 to 0.60)`."""
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"
