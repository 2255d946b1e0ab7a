"""IEMOCAP (Busso et al. 2008): `SessionN/dialog/EmoEvaluation/*.txt`, `SessionN/sentences/wav/<dialog>/<turn>.wav`."""

import re
from pathlib import Path

from ser_tasks.corpora.entry import Entry, Reading, audio_files

LINE = re.compile(r"\[(\d+\.\d+) - (\d+\.\d+)\]\t(\S+)\t(\w{3})\t\[(\d\.\d+), (\d\.\d+), (\d\.\d+)\]")
TURN = re.compile(r"(Ses0[1-5])[FM]_\w+_([FM])\w+")
EMOTIONS = {
    "ang": "angry", "hap": "happy", "sad": "sad", "neu": "neutral", "exc": "excited", "fru": "frustrated",
    "fea": "fear", "sur": "surprised", "dis": "disgust", "oth": "other", "xxx": "other",
}  # fmt: skip


def read_iemocap(root: Path) -> Reading:
    """The speaker of a turn is its session and the letter of the *last* token: `Ses01F_impro01_M003` is Ses01M."""
    reading = Reading(
        "IEMOCAP licence, on request; not to be redistributed", "Busso et al. 2008, doi 10.1007/s10579-008-9076-6"
    )
    labels = _labels(root)
    words = _transcripts(root)
    for path in audio_files(root):
        turn = Path(path).stem
        if "/sentences/wav/" not in f"/{path}":
            reading.left_out.append((path, "whole dialog"))
            continue
        match = TURN.fullmatch(turn)
        if not match:
            reading.rejected.append((path, "the name is not an IEMOCAP turn such as Ses01F_impro01_M003"))
            continue
        if turn not in labels:
            reading.rejected.append((path, "no line in dialog/EmoEvaluation speaks of this turn"))
            continue
        code, valence, activation, dominance = labels[turn]
        if code not in EMOTIONS:
            reading.rejected.append((path, f"unknown emotion code {code!r}"))
            continue
        session, letter = match.groups()
        reading.entries.append(
            Entry(
                utterance_id=turn,
                path=path,
                speaker_id=session + letter,
                emotion=EMOTIONS[code],
                emotion_raw=code,
                sex="female" if letter == "F" else "male",
                transcript=words.get(turn),
                session=session,
                dialog=turn.rsplit("_", 1)[0],
                valence=valence,
                activation=activation,
                dominance=dominance,
                known_issue="no majority among the raters" if code == "xxx" else None,
            )
        )
    return reading


def _labels(root: Path) -> dict[str, tuple[str, float, float, float]]:
    labels = {}
    for path in sorted(root.glob("Session*/dialog/EmoEvaluation/*.txt")):
        if path.name.startswith("._"):
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := LINE.match(line):
                _, _, turn, code, valence, activation, dominance = match.groups()
                labels[turn] = (code, float(valence), float(activation), float(dominance))
    return labels


def _transcripts(root: Path) -> dict[str, str]:
    """Lines `Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.`; a missing folder costs the column."""
    words = {}
    for path in sorted(root.glob("Session*/dialog/transcriptions/*.txt")):
        if path.name.startswith("._"):
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            head, colon, text = line.partition("]: ")
            if colon and head.startswith("Ses"):
                words[head.split(" ")[0]] = text.strip()
    return words
