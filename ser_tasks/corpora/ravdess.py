"""RAVDESS (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391): `Actor_NN/MM-VV-EE-II-SS-RR-AA.wav`."""

import re
from pathlib import Path

from ser_tasks.corpora.entry import Entry, Reading, audio_files

GRAMMAR = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)")
EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fear", "07": "disgust", "08": "surprised",
}  # fmt: skip
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}


def read_ravdess(root: Path) -> Reading:
    """Audio-only speech; song and video files are left out and counted."""
    reading = Reading("CC BY-NC-SA 4.0", "Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391")
    for path in audio_files(root):
        stem = Path(path).stem
        match = GRAMMAR.fullmatch(stem)
        if not match:
            reading.rejected.append((path, "the name is not RAVDESS's MM-VV-EE-II-SS-RR-AA"))
            continue
        modality, channel, emotion, intensity, statement, _, actor = match.groups()
        if modality != "03" or channel != "01":
            reading.left_out.append((path, "song" if channel == "02" else "video"))
            continue
        reading.entries.append(
            Entry(
                utterance_id=stem,
                path=path,
                speaker_id=actor,
                emotion=EMOTIONS[emotion],
                emotion_raw=emotion,
                sex="male" if int(actor) % 2 else "female",
                intensity="strong" if intensity == "02" else "normal",
                sentence_id=statement,
                transcript=STATEMENTS[statement],
            )
        )
    return reading
