"""The same builds as the DAGs, on local folders: without a store, without a server."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_tasks.artifact import artifact_key
from ser_tasks.cache import hold, make_room
from ser_tasks.errors import BadInput
from ser_tasks.materialise import imported
from ser_tasks.steps import STEPS


def cache_folder() -> Path:
    """Where scans of local folders are kept: $SER_CACHE_DIR, or ~/.cache/ser. Safe to delete at any time."""
    return Path(os.environ.get("SER_CACHE_DIR") or Path.home() / ".cache" / "ser")


def run_build(
    name: str,
    inputs: Mapping[str, Path],
    params: Mapping[str, Any],
    target: Path,
    extras: Mapping[str, Any] | None = None,
) -> None:
    """Run a step's build into a folder that appears whole or not at all; an older one is replaced.

    What a step refuses is there all the same when BadInput is raised: its pages say why.
    `extras`: further keyword arguments of the build, such as where a training keeps its checkpoints.
    """
    step = STEPS[name]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        imported(step.build)(inputs, params, partial, **(extras or {}))
        if target.exists():
            shutil.rmtree(target)
        partial.chmod(0o755)  # mkdtemp makes folders that nobody else may read
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if step.refuse:
        imported(step.refuse)(target)


def scan_folder(root: Path, corpus: str, description: Mapping[str, Any], checksums: Path | None) -> Path:
    """The scan of a corpus folder or archive; one that is unchanged (names, sizes, times) costs one listing.

    Args:
        root: The corpus: a folder, a .zip or a .tar.
        corpus: Its name in the manifest.
        description: From `load_description`.
        checksums: A list of what every file must be, or None.

    Returns:
        The step's output folder, in the cache: not to be changed.
    """
    from ser_tasks.corpora.source import open_source

    params = {"corpus": corpus, "description": dict(description), "checksums": None}
    listing = open_source(root).listing()
    listed = checksums.read_text(encoding="utf-8", errors="replace") if checksums else None
    asked = {**params, "root": str(root.resolve()), "listing": listing, "listed": listed}
    folder = cache_folder() / "scans" / artifact_key("scan", STEPS["scan"].version, asked, {})
    while not (hold(folder) and (folder / "summary.json").is_file()):
        run_build("scan", {"raw": root} | ({"checksums": checksums} if checksums else {}), params, folder)
        make_room(cache_folder())
    return folder


def cached_build(name: str, inputs: Mapping[str, Path], params: Mapping[str, Any], made_of: Mapping[str, Any]) -> Path:
    """A step's output in the cache, built when it is not there.

    Args:
        name: Of the step.
        inputs: As its build takes them.
        params: The same.
        made_of: What stands for the inputs' content, as JSON values: the names of cache folders, digests, listings.

    Returns:
        The step's output folder, in the cache: not to be changed.
    """
    key = artifact_key(name, STEPS[name].version, {"params": dict(params), "made_of": dict(made_of)}, {})
    folder = cache_folder() / name / key
    if not folder.is_dir():
        run_build(name, inputs, params, folder)
    return folder


def described(reader: str, source: str, option: str = "--source_dir ") -> tuple[Path, str, dict[str, Any]]:
    """The corpus to read, its reader and that one's description; `auto` is told from the files' names.

    `option`: what the source was given as, for messages.

    Raises:
        BadInput: There is no such corpus, or no such description.
    """
    from ser_tasks.corpora.readers import detect_reader, load_description
    from ser_tasks.corpora.source import open_source

    root = local_corpus(source)
    if not root.exists():
        raise BadInput(f"{option}{source} does not exist")
    reader = detect_reader(open_source(root)) if reader == "auto" else reader
    return root, reader, load_description(reader)


def local_corpus(source: str) -> Path:
    """A corpus to read: a path as it is; `s3://bucket/prefix` copied once from the object store into the cache."""
    if not source.startswith("s3://"):
        return Path(source)
    from ser_tasks.store import Store

    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    return Store.from_env(bucket).local_copy(prefix.rstrip("/") + "/")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
