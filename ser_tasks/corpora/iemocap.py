"""What only IEMOCAP (Busso et al. 2008) needs: labels and words in text files of its own. The rest is iemocap.yaml."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ser_tasks.corpora.source import Source
from ser_tasks.corpora.tables import Row, Table, matching, read_text, some

CATEGORIES = {
    "neutral": "neutral", "neutral state": "neutral", "anger": "angry", "sadness": "sad", "happiness": "happy",
    "excited": "excited", "frustration": "frustrated", "fear": "fear", "surprise": "surprised", "disgust": "disgust",
    "other": "other",
}  # fmt: skip
"""How evaluators' lines write the emotions, in lower case."""
MARKS = {"val": "valence", "act": "activation", "dom": "dominance"}

_TURN = re.compile(r"(Ses\d\d)[FM]_\w+_([FM])\w+")
_NUMBER = r"(\d+(?:\.\d+)?)"
# [6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]
_LABEL = re.compile(rf"\[{_NUMBER} - {_NUMBER}\]\s+(\S+)\s+(\w+)\s+\[{_NUMBER},\s*{_NUMBER},\s*{_NUMBER}\]\s*")
# C-E2:<TAB>Neutral;<TAB>(comment)   A-E3:<TAB>val 3; act 2; dom  2;<TAB>()
_RATER = re.compile(r"([CA]-\w+):\s*([^(]*)(.*)")
_MARK = re.compile(r"(val|act|dom)\s+(\d+(?:\.\d+)?)")
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
_WORDS = re.compile(r"(Ses\w+)\s+\[[\d. -]+\]:?\s*(.*)")


def turns(source: Source, folder: str, notes: list[str]) -> Table | None:
    """One row a turn, from SessionN/dialog/EmoEvaluation/*.txt.

    The speaker is the session and the letter of the *last* token: Ses01F_impro01_M003 was said by Ses01M.

    Returns:
        Columns stem, speaker, emotion (the corpus's code), valence, activation, dominance (1 to 5), issue, and as JSON
        `raters` (each rater's line in the file's order, self-reports C-F1 and A-F1 too) and `votes` ({"evaluators":
        {"counts", "responses"}}: the evaluators' categories as canonical emotions; who names two gives two responses).
        None when there is no such folder.
    """
    paths = list(matching(source, folder, ".txt"))
    rows: list[Row] = []
    odd: list[str] = []
    unknown: Counter[str] = Counter()
    for path in paths:
        label: re.Match[str] | None = None
        lines: list[dict[str, Any]] = []
        for line in [*read_text(source, path, notes).splitlines(), "[end]"]:
            if line.startswith("["):
                if label:
                    rows.append(_turn(label, lines, unknown))
                label, lines = _LABEL.fullmatch(line), []
                if line != "[end]" and not (label and _TURN.fullmatch(label[3])):
                    odd.append(f"{path}: {line[:60]}")
                    label = None
            elif rater := _RATER.fullmatch(line):
                lines.append(_rater(rater))
    if odd:
        notes.append(f"{folder}: {len(odd)} line(s) are not understood: {some(odd)}")
    if unknown:
        notes.append(f"{folder}: evaluators' categories that count as other: {some(unknown)}")
    columns = ["stem", "speaker", "emotion", *MARKS.values(), "votes", "raters", "issue"]
    return Table(folder, columns, rows) if paths else None


def words(source: Source, folder: str, notes: list[str]) -> Table | None:
    """What was said in each turn, from SessionN/dialog/transcriptions/*.txt.

    Returns:
        Columns stem and transcript. None when there is no such folder.
    """
    paths = list(matching(source, folder, ".txt"))
    lines = [line for path in paths for line in read_text(source, path, notes).splitlines()]
    said = [match.groups() for line in lines if (match := _WORDS.fullmatch(line))]
    rows = [{"stem": turn, "transcript": text.strip()} for turn, text in said]
    return Table(folder, ["stem", "transcript"], rows) if paths else None


def _turn(label: re.Match[str], lines: Sequence[dict[str, Any]], unknown: Counter[str]) -> Row:
    _, _, turn, code, *marks = label.groups()
    session, letter = _TURN.fullmatch(turn).groups()  # type: ignore[union-attr]
    named = [name for line in lines if line["rater"].startswith("C-E") for name in line["emotions"]]
    unknown.update(name for name in named if name.lower() not in CATEGORIES)
    counts = Counter(CATEGORIES.get(name.lower(), "other") for name in named)
    votes = {"evaluators": {"counts": dict(counts), "responses": len(named)}}
    return {
        "stem": turn,
        "speaker": session + letter,
        "emotion": code,
        **dict(zip(MARKS.values(), marks, strict=True)),
        "votes": json.dumps(votes, sort_keys=True) if named else "",
        "raters": json.dumps(lines) if lines else "",
        "issue": "no majority among the raters" if code == "xxx" else "",
    }


def _rater(line: re.Match[str]) -> dict[str, Any]:
    """{"rater": "C-E2", "emotions": ["Neutral"], ...} or {"rater": "A-E3", "valence": 3.0, ...}, and a comment."""
    rater, body, comment = line.groups()
    said: dict[str, Any] = {"rater": rater}
    if rater.startswith("C"):
        said["emotions"] = [name.strip() for name in body.split(";") if name.strip()]
    else:
        said |= {MARKS[mark]: float(number) for mark, number in _MARK.findall(body)}
    return said | {"comment": comment.strip().removeprefix("(").removesuffix(")").strip()}
