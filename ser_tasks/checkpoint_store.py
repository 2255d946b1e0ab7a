"""Where checkpoints of a training are kept: in the object store under the training's key, or in a folder.

Either way the newest two stay, each visible whole or not at all, and verified byte for byte before it is given out.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ser_tasks.artifact import list_files
from ser_tasks.errors import Damaged
from ser_tasks.store import Store

KEPT = 2
_log = logging.getLogger(__name__)


class StoreCheckpoints:
    """Files as blobs, made visible by `checkpoints/<key>/<epoch>.json`, which is put last.

    One process at a time writes here: whoever holds the lease on the key. A checkpoint's blobs are its training's own
    (see `save_checkpoint`), so they are deleted with the last checkpoint that names them.

    Args:
        store: The object store.
        key: Of the training's artifact.
        scratch: Local folder to write to and to fetch into; None: the system's.
    """

    def __init__(self, store: Store, key: str, scratch: Path | None = None) -> None:
        self.store = store
        self.key = key
        self.place = f"checkpoints/{key}"
        self.scratch = scratch

    def save(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Upload what `write` writes, make it visible, delete all but the newest two.

        Raises:
            Busy: Another run has taken over the lease on the key: it is the one that writes here now.
        """
        self.store.leases.check(self.key)
        with tempfile.TemporaryDirectory(prefix="ser-checkpoint-", dir=self.scratch) as folder:
            write(Path(folder))
            files = list_files(Path(folder))
            self.store.put_blobs(Path(folder), files)
        body = json.dumps({"epoch": epoch, "files": files}, indent=1).encode()
        # Lost only to a run that was here before, with the same bits or with damaged ones, which loading has deleted.
        if self.store.put(self._name(epoch), body, IfNoneMatch="*"):
            self.store.count_added(len(body))
        self._delete(self._names()[:-KEPT])

    def newest_first(self) -> Iterator[Path]:
        """Fetch checkpoints, the newest first; a damaged one is said and deleted, so that it can be saved anew."""
        for name in reversed(self._names()):
            with tempfile.TemporaryDirectory(prefix="ser-checkpoint-", dir=self.scratch) as folder:
                try:
                    self.store.get_blobs(self._files(name), Path(folder), name)
                except Damaged as error:
                    _log.warning("%s: going back to the checkpoint before it", error)
                    self._delete([name])
                    continue
                yield Path(folder)

    def clear(self) -> None:
        """Delete every checkpoint: the model is published."""
        self._delete(self._names())

    def _name(self, epoch: int) -> str:
        return f"{self.place}/{epoch:04d}.json"

    def _names(self) -> list[str]:
        return [item["key"] for item in self.store.list(f"{self.place}/")]

    def _files(self, name: str) -> list[dict[str, Any]]:
        try:
            return list(json.loads(self.store.get(name) or b"")["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"store: {name} is no list of files") from error

    def _blobs(self, name: str) -> set[str]:
        try:
            return {file["sha256"] for file in self._files(name)}
        except Damaged:
            return set()

    def _delete(self, names: list[str]) -> None:
        """Manifests first: what is visible is whole at every moment."""
        blobs = {blob for name in names for blob in self._blobs(name)}
        for name in names:
            self.store.delete(name)
        for blob in blobs - {blob for name in self._names() for blob in self._blobs(name)}:
            self.store.delete(f"blobs/sha256/{blob}")


class FolderCheckpoints:
    """Folders `epoch-<n>`: written under another name, then renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)

    def save(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Write `epoch-<n>`, delete all but the newest two."""
        final = self.folder / f"epoch-{epoch:04d}"
        partial = self.folder / f"{final.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        files = list_files(partial)
        (partial / "files.json").write_text(json.dumps(files), encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in self._folders()[:-KEPT]:
            shutil.rmtree(old)

    def newest_first(self) -> Iterator[Path]:
        """Whole folders, the newest first; a damaged one is said and passed over."""
        for path in reversed(self._folders()):
            if fault := _fault(path):
                _log.warning("%s: %s: going back to the checkpoint before it", path, fault)
            else:
                yield path

    def clear(self) -> None:
        """Delete every checkpoint."""
        for path in self._folders():
            shutil.rmtree(path)

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-[0-9][0-9][0-9][0-9]"))


def _fault(folder: Path) -> str:
    """What is wrong with a checkpoint's folder; empty when nothing is."""
    try:
        wanted = json.loads((folder / "files.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "files.json is missing or damaged"
    found = {file["name"]: file for file in list_files(folder)}
    bad = [file["name"] for file in wanted if found.get(file["name"]) != file]
    return f"{', '.join(bad)} is missing or damaged" if bad else ""
