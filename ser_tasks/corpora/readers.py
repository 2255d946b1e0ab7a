"""The readers by name, and which of them a folder's layout fits."""

from collections.abc import Callable
from pathlib import Path

from ser_tasks.corpora import crema_d, iemocap, ravdess
from ser_tasks.corpora.entry import DEMO_MARKER, Reading, audio_files
from ser_tasks.errors import BadInput

READERS: dict[str, Callable[[Path], Reading]] = {
    "crema_d": crema_d.read_crema_d,
    "ravdess": ravdess.read_ravdess,
    "iemocap": iemocap.read_iemocap,
}


def read_corpus(reader: str, root: Path) -> Reading:
    """Read a corpus folder's layout. Raises BadInput when it holds no audio or nothing that fits the layout."""
    if reader not in READERS:
        raise BadInput(f"corpora: there is no reader {reader!r}; there are: {', '.join(READERS)}")
    if not root.is_dir():
        raise BadInput(f"corpora: {root} is not a folder")
    reading = READERS[reader](root)
    if (root / DEMO_MARKER).is_file():
        reading.licence, reading.citation = "CC0 1.0, synthetic", "synthetic speech made by this project"
    if not reading.entries:
        first = next(iter(reading.rejected + reading.left_out), None)
        found = f"none of its files fits, the first is {first[0]} ({first[1]})" if first else "it holds no audio files"
        raise BadInput(f"corpora: {root} is no {reader} folder: {found}")
    return reading


def detect_reader(root: Path) -> str:
    """The reader whose layout fits most of a folder's first files. Raises BadInput when none fits."""
    stems = [(path, Path(path).stem) for path in audio_files(root)[:500]]
    fits = {
        "crema_d": sum(bool(crema_d.GRAMMAR.fullmatch(stem)) for _, stem in stems),
        "ravdess": sum(bool(ravdess.GRAMMAR.fullmatch(stem)) for _, stem in stems),
        "iemocap": sum(bool(iemocap.TURN.fullmatch(stem)) for _, stem in stems),
    }
    best = max(fits, key=lambda name: fits[name])
    if not fits[best]:
        raise BadInput(
            f"corpora: {root} holds {len(stems)} audio files, and none is named as in {', '.join(READERS)}: "
            "give the folder that holds AudioWAV/, Actor_NN/ or SessionN/"
        )
    return best
