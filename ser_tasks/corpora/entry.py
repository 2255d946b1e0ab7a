"""What a reader of a corpus gives: what the layout says of each clip, before any audio is decoded."""

from dataclasses import dataclass, field

from ser_tasks.audio.decode import SUFFIXES

DEMO_MARKER = "demo.json"
"""Lies in a synthetic demo corpus, written last: one without it is unfinished."""

AUDIO = (*SUFFIXES, ".aif", ".aiff", ".au")
"""Files with these suffixes are clips; libsndfile reads AIFF and AU too."""
UNREADABLE_AUDIO = (".aac", ".amr", ".caf", ".m4a", ".mp4", ".opus", ".webm", ".wma")
"""Sound that the decoder does not take: named as rejected, so that no clip of such a corpus vanishes."""


@dataclass(frozen=True)
class Entry:
    """One clip as its corpus describes it. None: the corpus does not say.

    Attributes:
        path: As its source names it.
        emotion: Canonical; `emotion_raw` is the corpus's own code.
        age: In years.
        valence: On the corpus's own scale (IEMOCAP 1 to 5), as activation and dominance are.
        votes: JSON by what raters got, e.g. {"voice": {"counts": {"angry": 3}, "responses": 3}, "face": ...}.
        raters: JSON, what each rater said.
    """

    utterance_id: str
    path: str
    speaker_id: str
    emotion: str
    emotion_raw: str
    sex: str | None = None
    age: int | None = None
    race: str | None = None
    ethnicity: str | None = None
    intensity: str | None = None
    sentence_id: str | None = None
    transcript: str | None = None
    session: str | None = None
    dialog: str | None = None
    valence: float | None = None
    activation: float | None = None
    dominance: float | None = None
    votes: str | None = None
    raters: str | None = None
    known_issue: str | None = None


@dataclass
class Reading:
    """Every audio file that was found is in exactly one of `entries`, `rejected` and `left_out` (path, reason).

    `notes` are sentences about the corpus as a whole: side files that are missing, rows without a file.
    """

    licence: str
    citation: str
    entries: list[Entry] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
