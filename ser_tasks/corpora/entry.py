"""What a reader of a corpus gives: what the layout says of each clip, before any audio is decoded."""

from dataclasses import dataclass, field
from pathlib import Path

from ser_tasks.audio.decode import SUFFIXES

DEMO_MARKER = "demo.json"
"""Lies in a synthetic demo corpus, written last: one without it is unfinished."""


@dataclass(frozen=True)
class Entry:
    """One clip as its corpus describes it. `path` is relative to the corpus folder; None: the corpus does not say."""

    utterance_id: str
    path: str
    speaker_id: str
    emotion: str
    emotion_raw: str
    sex: str | None = None
    age: int | None = None
    intensity: str | None = None
    sentence_id: str | None = None
    transcript: str | None = None
    session: str | None = None
    dialog: str | None = None
    valence: float | None = None
    activation: float | None = None
    dominance: float | None = None
    votes: str | None = None
    known_issue: str | None = None


@dataclass
class Reading:
    """Every file that was found is in exactly one of `entries`, `rejected` (path, reason) or `left_out` (path, why)."""

    licence: str
    citation: str
    entries: list[Entry] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def audio_files(root: Path) -> list[str]:
    """Audio files under a folder by suffix, relative and sorted; hidden files (macOS `._*`) are not audio."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
