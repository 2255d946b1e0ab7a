"""The corpora that are described, and which of them a folder's names fit."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ser_tasks.corpora.described import CLIPS, read_described
from ser_tasks.corpora.description import check_description, known_names, read_description
from ser_tasks.corpora.entry import DEMO_MARKER, Reading
from ser_tasks.corpora.source import Source
from ser_tasks.errors import BadInput

LOOKED_AT = 500
"""So many files, spread over a corpus, tell what it is."""


def load_description(name: str) -> dict[str, Any]:
    """A corpus's description, checked, as JSON values: it goes into artifacts' keys.

    Args:
        name: Of a file in include/corpora (or $SER_CORPORA), or a path that ends in .yaml.

    Returns:
        The fields of `ser_tasks.corpora.description.Description`, among them name, title, licence, commercial_use,
        citation, language, and speakers (official roster: speaker to sex or None).

    Raises:
        BadInput: There is none of that name, or it has faults, each named with its place.
    """
    return read_description(name).model_dump(mode="json", by_alias=True)


def read_corpus(description: Mapping[str, Any], source: Source) -> Reading:
    """Read a corpus as its description says, before any audio is decoded.

    Args:
        description: From `load_description`.
        source: From `open_source`.

    Returns:
        Every audio file that the source lists: as an entry, or rejected or left out with a reason. What it could not
        list is in `source.problems`.

    Raises:
        BadInput: Nothing in the source fits the description.
    """
    about = check_description(description, str(description.get("name", "description")))
    reading = read_described(about, source)
    if _is_demo(source):
        reading.licence, reading.citation = "CC0 1.0, synthetic", "synthetic speech made by this project"
    if not reading.entries:
        first = next(iter(source.problems + reading.rejected + reading.left_out), None)
        found = f"none of its files fits, the first is {first[0]} ({first[1]})" if first else "it holds no audio files"
        raise BadInput(f"corpora: {source.root} is no {about.name} folder: {found}")
    return reading


def detect_reader(source: Source) -> str:
    """Name of the description whose file names fit most of a corpus.

    Raises:
        BadInput: None fits, or two fit equally well.
    """
    clips = [file.path for file in source.files if file.path.lower().endswith(CLIPS)]
    stems = [PurePosixPath(path).stem for path in clips[:: max(1, len(clips) // LOOKED_AT)]]
    fits = {}
    for name in known_names():
        about = read_description(name)
        if about.names:
            pattern = re.compile(about.names.pattern)
            fits[name] = sum(pattern.fullmatch(stem) is not None for stem in stems)
    most = max(fits.values(), default=0)
    best = [name for name, fit in fits.items() if fit == most]
    if not most:
        first = f", such as {clips[0]}," if clips else ""
        raise BadInput(
            f"corpora: {source.root} holds {len(clips)} audio files{first} and none is named as in {', '.join(fits)}: "
            "name the description (--reader), or write one: include/corpora/example_tsv.yaml shows how"
        )
    if len(best) > 1:
        raise BadInput(
            f"corpora: the names in {source.root} fit {' and '.join(best)} equally well: name one of them (--reader)"
        )
    return best[0]


def _is_demo(source: Source) -> bool:
    """Whether the marker of this project's own synthetic corpora lies there, and is one."""
    path = source.find(DEMO_MARKER)
    try:
        marker = json.loads(source.read(path)) if path else None
    except (BadInput, ValueError):
        return False
    return isinstance(marker, dict) and str(marker.get("corpus", "")).startswith("demo_")
