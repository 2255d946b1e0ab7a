"""CREMA-D (Cao et al. 2014): `AudioWAV/<actor>_<sentence>_<emotion>_<level>.wav` and tables of actors and votes."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ser_tasks.corpora.entry import Entry, Reading, audio_files

SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
LETTERS = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": None, "X": None}
GRAMMAR = re.compile(rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(EMOTIONS)})_(LO|MD|HI|XX?)")
KNOWN = {
    "1076_MTI_SAD_XX": "has no sound",
    "1076_MTI_NEU_XX": "faulty in the form that raters heard: votes suspect",
    "1064_TIE_SAD_XX": "faulty in the form that raters heard: votes suspect",
    "1064_IEO_DIS_MD": "faulty in the form that raters heard: votes suspect",
}


def read_crema_d(root: Path) -> Reading:
    """A missing table of actors or votes costs its columns, not the corpus."""
    reading = Reading("ODbL 1.0 + DbCL 1.0", "Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244")
    actors = {row["ActorID"]: row for row in _table(root / "VideoDemographics.csv")}
    votes = _voice_votes(root / "processedResults" / "tabulatedVotes.csv")
    for path in audio_files(root):
        stem = Path(path).stem
        match = GRAMMAR.fullmatch(stem)
        if not match:
            reading.rejected.append((path, "the name is not CREMA-D's <actor>_<sentence>_<emotion>_<level>"))
            continue
        actor, sentence, emotion, level = match.groups()
        issue = KNOWN.get(stem)
        if level == "X":  # an old misspelling of _XX with the same content, still in copies in the wild
            stem, issue = f"{stem}X", "named ..._X.wav, an old misspelling of ..._XX.wav"
        actor_row = actors.get(actor, {})
        reading.entries.append(
            Entry(
                utterance_id=stem,
                path=path,
                speaker_id=actor,
                emotion=EMOTIONS[emotion],
                emotion_raw=emotion,
                sex=actor_row["Sex"].lower() if actor_row.get("Sex") else None,
                age=int(actor_row["Age"]) if actor_row.get("Age") else None,
                intensity=LEVELS[level],
                sentence_id=sentence,
                transcript=SENTENCES[sentence],
                votes=json.dumps(votes[stem], sort_keys=True) if stem in votes else None,
                known_issue=issue,
            )
        )
    return reading


def _table(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)


def _voice_votes(path: Path) -> dict[str, dict[str, int]]:
    """Votes of raters who heard the voice alone: rows of the table whose index begins with 1."""
    votes: dict[str, Counter[str]] = {}
    for row in _table(path):
        index = next(iter(row.values()))
        if index.startswith("1"):
            counts = votes.setdefault(row["fileName"], Counter())
            counts.update({name: int(float(row[letter] or 0)) for letter, name in LETTERS.items()})
    return {name: dict(counts) for name, counts in votes.items()}
