"""Corpora without sound: readers look at names and side files only."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ser_tasks.corpora.source import Source, open_source


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Source]:
    """Makes a corpus folder: `corpus("a.wav", **{"t.csv": "id,sex"})`, empty files and files with text or bytes."""

    def make(*names: str, **bodies: str | bytes) -> Source:
        files: Mapping[str, str | bytes] = {**dict.fromkeys(names, b""), **bodies}
        for name, body in files.items():
            path = tmp_path / "corpus" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body.encode() if isinstance(body, str) else body)
        return open_source(tmp_path / "corpus")

    return make
