"""The files of a corpus, whether they lie in a folder or in archives: one listing, and bytes by name."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ser_tasks.corpora import archives
from ser_tasks.errors import BadInput


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a corpus.

    Attributes:
        path: Relative to the root, POSIX; a member of an archive as "speech.zip/Actor_01/x.wav".
        size: In bytes, unpacked.
        stamp: Changes when the content does: the inode's time of change, or a ZIP member's CRC-32.
    """

    path: str
    size: int
    stamp: str


class Source:
    """A listing of a corpus and the way to its bytes. Made by `open_source`.

    Attributes:
        root: The folder, or the archive.
        files: Every ordinary file, side files too, sorted by path; hidden ones (macOS `._*`) are not there.
        problems: What is not read and why: (path, reason), sorted; the path of a folder ends in "/".
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[SourceFile] = []
        self.problems: list[tuple[str, str]] = []
        self._members: dict[str, archives.Member] = {}
        if root.is_dir():
            self._add_folder()
        else:
            self._add_archive(root, "")
        self.files.sort(key=lambda file: file.path)
        self.problems.sort()
        self._paths = {file.path for file in self.files}

    def has(self, path: str) -> bool:
        return path in self._paths

    def find(self, name: str) -> str | None:
        """The least deep file that is called `name` (which may have folders), wherever the corpus lies in the root."""
        found = [path for path in self._paths if path == name or path.endswith(f"/{name}")]
        return min(found, key=lambda path: (path.count("/"), path), default=None)

    def read(self, path: str) -> bytes:
        """A file's bytes. Thread-safe.

        Raises:
            BadInput: It is not among the files, may not be read, or is damaged in its archive.
            OSError: The disk fails.
        """
        if path not in self._paths:
            raise BadInput(f"{path} is not in {self.root}")
        try:
            member = self._members.get(path)
            return member.read() if member else (self.root / path).read_bytes()
        except BadInput as error:
            raise BadInput(f"{path} {error}") from error
        except PermissionError as error:
            raise BadInput(f"{path} may not be read (permission denied): 'chmod u+r' it, or ask its owner") from error
        except FileNotFoundError as error:
            raise BadInput(f"{path} was there and is gone: leave the corpus alone while it is read") from error

    def listing(self) -> list[list[str | int]]:
        """[path, size, stamp] of every file and [path, -1, reason] of every problem: equal listings, equal content."""
        listed: list[list[str | int]] = [[file.path, file.size, file.stamp] for file in self.files]
        return listed + [[path, -1, reason] for path, reason in self.problems]

    def _add_folder(self) -> None:
        top = os.path.realpath(self.root)
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(f"{top}/{folder}") as found:
                    entries = list(found)
            except OSError as error:
                self._problem(folder or "./", f"is a folder that cannot be opened ({error.strerror}): 'chmod u+rx' it")
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = folder + entry.name
                if not archives.is_utf8(path):
                    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
                    self._problem(f"{shown}/" if entry.is_dir() else shown, "its name is not UTF-8: rename it")
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                else:
                    self._add_entry(entry, path, top)

    def _add_entry(self, entry: "os.DirEntry[str]", path: str, top: str) -> None:
        if entry.is_symlink():
            try:
                target = Path(os.path.realpath(entry.path, strict=True))
            except OSError as error:
                self._problem(
                    path, f"is a link that leads nowhere ({error.strerror}): remove it, or put the file there"
                )
                return
            if target.is_dir():
                self._problem(f"{path}/", "is a link to a folder, which is not followed: put the folder itself there")
                return
            if not target.is_relative_to(top):
                self._problem(path, "is a link out of the corpus, which is not followed: put the file itself there")
                return
        try:
            facts = entry.stat()
        except OSError as error:
            self._problem(path, f"cannot be looked at ({error.strerror})")
            return
        name = path.lower()
        if not stat.S_ISREG(facts.st_mode):
            self._problem(path, "is neither a file nor a folder (a pipe, socket or device): remove it")
        elif name.endswith(archives.SUFFIXES):
            self._add_archive(Path(entry.path), f"{path}/")
        elif name.endswith(archives.PACKED_AS_A_WHOLE):
            self._problem(path, archives.WAY_OUT)
        else:
            # The time of change, not of modification: it also moves when a file becomes readable.
            self.files.append(SourceFile(path, facts.st_size, str(facts.st_ctime_ns)))

    def _add_archive(self, archive: Path, prefix: str) -> None:
        try:
            for name, member in archives.members(archive):
                path = prefix + name
                if any(part.startswith(".") for part in PurePosixPath(name).parts if part != ".."):
                    continue
                if isinstance(member, str):
                    self._problem(path, member)
                elif name.lower().endswith((*archives.SUFFIXES, *archives.PACKED_AS_A_WHOLE)):
                    self._problem(path, "is an archive in an archive: unpack the outer one")
                elif path in self._members:
                    self._problem(path, "is named more than once in its archive: the first is read")
                else:
                    self._members[path] = member
                    self.files.append(SourceFile(path, member.size, member.stamp))
        except BadInput as error:
            self._problem(prefix.rstrip("/") or archive.name, str(error))
        except OSError as error:
            self._problem(prefix.rstrip("/") or archive.name, f"cannot be opened ({error.strerror}): 'chmod u+r' it")

    def _problem(self, path: str, reason: str) -> None:
        self.problems.append((path, reason))


def open_source(root: Path) -> Source:
    """List a corpus: a folder (archives in it are read in place), or a .zip or .tar.

    Raises:
        BadInput: There is no such folder or archive, or it may not be opened.
    """
    if root.is_file():
        name = root.name.lower()
        if name.endswith(archives.PACKED_AS_A_WHOLE):
            raise BadInput(f"{root} {archives.WAY_OUT}")
        if not name.endswith(archives.SUFFIXES):
            raise BadInput(f"{root} is neither a folder nor a .zip or .tar: name the corpus's folder")
    elif not root.is_dir():
        raise BadInput(f"{root} does not exist: name the corpus's folder, .zip or .tar")
    return Source(root)
