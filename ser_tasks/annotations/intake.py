"""Take in what lies in `annotations/incoming/`: drop -> batch -> ledger -> version of the ratings.

Every drop becomes an artifact (kind `annotation_batch`: accepted.parquet, listed.csv) whose key is the SHA-256 of its
bytes, so a file that comes twice, or under another name, is the same one. All batches together give the ledger (kind
`annotation_ledger`) and the ratings (kind `ratings_version`); the pointer `refs/annotations.json` says which are
today's, and is moved last, by If-Match. So a run that is killed anywhere has changed nothing that counts, and the next
one finds what it had published. Uploads are read only. `refs/annotations-same.json` remembers files that are equal to
an earlier one, so that they are fetched once; it changes no rating.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks.annotations.agreement import agreement
from ser_tasks.annotations.drops import LARGEST_BYTES, read_drop, refuse_large
from ser_tasks.annotations.ledger import RATINGS, Drop, Standing, stand, summary
from ser_tasks.annotations.validation import ACCEPTED, check_rows
from ser_tasks.annotations.version import POINTER, Version, held
from ser_tasks.artifact import Ref, artifact_key, canonical_json
from ser_tasks.errors import BadInput, Busy
from ser_tasks.store import Store

INCOMING = "annotations/incoming/"
BATCH_VERSION = 2
"""Part of a batch's key. A file that is in the ledger is not read again, whatever this says."""
LEDGER_VERSION = 2
SAME = "annotations-same"
"""Pointer: {name: [etag, size]} of files equal to an earlier drop."""
TRIES = 8
NAMED = 3
"""So many files are named in a note; the log and the ledger have all."""
_NUMBERS = {"rating": pa.float64()}


@dataclass(frozen=True)
class Intake:
    """What an intake found.

    Attributes:
        before: The version that stood.
        now: The version that stands.
        new: The drops that were taken in.
        same: Files equal to an earlier one, seen for the first time, and that one's name.
        warnings: In words.
        counts: From `summary`; empty when nothing was ever dropped.
        listed: Rows of the new drops that are not accepted: file, row, reason.
    """

    before: Version
    now: Version
    new: tuple[Drop, ...]
    same: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    counts: Mapping[str, Any]
    listed: tuple[dict[str, str], ...] = ()

    def in_words(self) -> list[str]:
        """A few lines, however many files there are: for a note."""
        lines = [f"no new drop in {INCOMING}"]
        if self.new:
            accepted, listed = (sum(getattr(drop, name) for drop in self.new) for name in ("accepted", "listed"))
            lines = [
                f"{len(self.new)} new drop(s), {accepted} row(s) accepted, {listed} listed with reasons: "
                f"{_few([drop.name for drop in self.new])}"
            ]
        if self.same:
            known = _few([f"{name} as {other}" for name, other in self.same])
            lines.append(f"{len(self.same)} file(s) the same as earlier ones, which changes nothing: {known}")
        if self.counts:
            told = ", ".join(f"{self.counts[name]} {name}" for name in ("current", "older", "repeated"))
            lines.append(f"ratings, version {self.now.version}: {told}")
        if self.warnings:
            lines.append(f"{len(self.warnings)} warning(s): {_few(self.warnings)}")
        return lines

    def in_full(self, rows: int = 20) -> list[str]:
        """Lines for a log: also every file and warning, and the first rows that were listed, with their reasons."""
        lines = self.in_words()
        lines += [f"{drop.name}: {drop.accepted} row(s) accepted, {drop.listed} listed" for drop in self.new]
        lines += [f"  {row['file']}, {row['row']}: {row['reason']}" for row in self.listed[:rows]]
        if len(self.listed) > rows:
            lines.append(f"  and {len(self.listed) - rows} more: ser annotate status --json has them all")
        return lines + [f"warning: {text}" for text in self.warnings]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def take_in(store: Store, by: str) -> Intake:
    """Take in every drop that is not in the ledger, and move the pointer when anything differs.

    Args:
        store: The object store.
        by: Who asks, kept in the manifests.

    Raises:
        Busy: Other intakes moved the pointer each time; try again.
    """
    for _ in range(TRIES):
        before, etag = held(store)
        drops = read_ledger(store, before)
        new, same, warnings = _new_drops(store, drops, by)
        if not (drops or new):
            return Intake(before, before, (), (), (), {})
        listed = tuple(_listed_rows(store, new))
        drops = [*drops, *new]
        standing = stand(drops, {drop.sha256: read_batch(store, drop)[0] for drop in drops})
        ledger = _publish_ledger(store, drops, standing, by)
        now = _next(before, str(ledger), str(publish_ratings(store, standing.ratings, by)), len(standing.ratings))
        if now == before or store.move_pointer(POINTER, asdict(now), etag):
            return Intake(before, now, tuple(new), tuple(same), tuple(warnings), summary(drops, standing), listed)
    raise Busy(f"annotations: other intakes moved refs/{POINTER}.json {TRIES} times: try again")


def _next(before: Version, ledger: str, ratings: str, rows: int) -> Version:
    if not rows and not before.version:
        return Version(0, "", ledger)
    if before.ratings and Ref.parse(before.ratings).digest == Ref.parse(ratings).digest:
        return Version(before.version, before.ratings, ledger)
    return Version(before.version + 1, ratings, ledger)


def read_ledger(store: Store, version: Version) -> list[Drop]:
    """The drops of a version, in the order in which they were taken in."""
    if not version.ledger:
        return []
    folder = store.cached(Ref.parse(version.ledger))
    return [Drop(**item) for item in json.loads((folder / "ledger.json").read_text(encoding="utf-8"))]


def read_batch(store: Store, drop: Drop) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A drop's accepted rows, and its listed rows with reasons."""
    folder = store.cached(Ref.parse(drop.ref))
    listed = pd.read_csv(folder / "listed.csv", dtype=str, keep_default_na=False)
    return pq.read_table(folder / "accepted.parquet").to_pandas(), listed


def listed_rows(store: Store, version: Version) -> list[dict[str, str]]:
    """Rows of all drops that are not accepted, the newest drop's first: file, row, reason."""
    return list(_listed_rows(store, reversed(read_ledger(store, version))))


def _listed_rows(store: Store, drops: Iterable[Drop]) -> Iterator[dict[str, str]]:
    for drop in drops:
        if drop.listed:
            for row in read_batch(store, drop)[1].to_dict("records"):
                yield {"file": drop.name, "row": str(row["row"]), "reason": str(row["reason"])}


def read_standing(store: Store, version: Version) -> Standing:
    """What all drops of a version say."""
    drops = read_ledger(store, version)
    return stand(drops, {drop.sha256: read_batch(store, drop)[0] for drop in drops})


def read_ratings_version(store: Store, version: Version) -> pd.DataFrame:
    """The current ratings; columns `RATINGS`."""
    if not version.ratings:
        return pd.DataFrame(columns=RATINGS)
    frame: pd.DataFrame = pq.read_table(store.cached(Ref.parse(version.ratings)) / "ratings.parquet").to_pandas()
    return frame


def _new_drops(store: Store, drops: Sequence[Drop], by: str) -> tuple[list[Drop], list[tuple[str, str]], list[str]]:
    seen = {drop.sha256: drop.name for drop in drops}
    remembered = store.pointer(SAME)
    known: dict[str, Any] = remembered[0] if remembered else {}
    unchanged = {(drop.name, drop.etag, drop.size) for drop in drops}
    unchanged |= {(name, *told) for name, told in known.items()}
    known_now = dict(known)
    new: list[Drop] = []
    same: list[tuple[str, str]] = []
    warnings: list[str] = []
    for item in list(store.list(INCOMING)):
        name = item["key"].removeprefix(INCOMING)
        if PurePosixPath(name).name.startswith(".") or (name, item["etag"], item["size"]) in unchanged:
            continue
        if item["size"] > LARGEST_BYTES:  # it is not read: its name, ETag and size stand for its bytes
            body, named = b"", canonical_json([name, item["etag"], item["size"]])
        elif (got := store.get(item["key"])) is not None:
            body = named = got
        else:  # taken away by its owner since it was listed
            continue
        sha256 = hashlib.sha256(named).hexdigest()
        if sha256 in seen:
            same.append((name, seen[sha256]))
            known_now[name] = [item["etag"], item["size"]]
            continue
        ref, told = _publish_batch(store, name, item["size"], body, sha256, by)
        warnings += told
        drop = Drop(sha256, name, item["etag"], item["size"], str(ref), 0, 0)
        accepted, listed = read_batch(store, drop)
        new.append(Drop(sha256, name, item["etag"], item["size"], str(ref), len(accepted), len(listed)))
        seen[sha256] = name
    if known_now != known:
        store.move_pointer(
            SAME, known_now, remembered[1] if remembered else None
        )  # lost to another intake, it is done by the next one
    return new, same, warnings


def _publish_batch(store: Store, name: str, size: int, body: bytes, sha256: str, by: str) -> tuple[Ref, list[str]]:
    key = artifact_key("annotation_batch", BATCH_VERSION, {"sha256": sha256}, {})
    if found := store.manifest("annotation_batch", key):
        return Ref("annotation_batch", key, found["digest"]), []
    try:
        refuse_large(size)
        accepted, listed, warnings = check_rows(read_drop(name, body))
    except BadInput as error:
        accepted = pd.DataFrame(columns=ACCEPTED)
        listed, warnings = pd.DataFrame({"row": ["whole file"], "reason": [str(error)]}), [f"{name} {error}"]
    with tempfile.TemporaryDirectory() as folder:
        _write(accepted, ACCEPTED, Path(folder, "accepted.parquet"))
        listed.to_csv(Path(folder, "listed.csv"), index=False)
        about = {"built_by": by, "params": {"sha256": sha256, "name": name}, "inputs": {}}
        ref, _ = store.publish("annotation_batch", key, Path(folder), about)
    return ref, warnings


def _publish_ledger(store: Store, drops: Sequence[Drop], standing: Standing, by: str) -> Ref:
    inputs = {drop.sha256: Ref.parse(drop.ref) for drop in drops}
    asked = {"drops": [asdict(drop) for drop in drops]}
    key = artifact_key("annotation_ledger", LEDGER_VERSION, asked, inputs)
    if found := store.manifest("annotation_ledger", key):
        return Ref("annotation_ledger", key, found["digest"])
    listed = [read_batch(store, drop)[1].assign(file=drop.name) for drop in drops]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write(standing.history, list(standing.history.columns), folder / "history.parquet")
        pd.concat(listed, ignore_index=True)[["file", "row", "reason"]].to_csv(folder / "listed.csv", index=False)
        for name, value in (
            ("ledger", [asdict(drop) for drop in drops]),
            ("agreement", agreement(standing.ratings)),
            ("summary", summary(drops, standing)),
        ):
            (folder / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
        about = {"built_by": by, "params": {}, "inputs": {k: str(v) for k, v in inputs.items()}}
        return store.publish("annotation_ledger", key, folder, about)[0]


def publish_ratings(store: Store, ratings: pd.DataFrame, by: str) -> Ref:
    """Publish ratings, columns `RATINGS`, as a version that equal rows find again."""
    # By rows, not by bytes: another version of the Parquet library makes no new version of the ratings.
    asked = {"rows": hashlib.sha256(ratings.to_csv(index=False).encode()).hexdigest()}
    key = artifact_key("ratings_version", LEDGER_VERSION, asked, {})
    if found := store.manifest("ratings_version", key):
        return Ref("ratings_version", key, found["digest"])
    with tempfile.TemporaryDirectory() as folder:
        _write(ratings, RATINGS, Path(folder, "ratings.parquet"))
        return store.publish("ratings_version", key, Path(folder), {"built_by": by, "params": asked, "inputs": {}})[0]


def _write(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Parquet with fixed types, so that equal tables are equal bytes, empty ones too."""
    schema = pa.schema([(name, _NUMBERS.get(name, pa.string())) for name in columns])
    pq.write_table(pa.Table.from_pandas(frame[list(columns)], schema, preserve_index=False), path, compression="zstd")
