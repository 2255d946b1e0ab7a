"""Random histories of a store, and which bytes must be there after them, told by other means than the collector's.

A history is a list of moves, each a name and numbers that pick among what there is, so that every list is a history.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

from ser_tasks.artifact import Ref, artifact_key, list_files
from ser_tasks.checkpoint_store import StoreCheckpoints
from ser_tasks.store import Store

KINDS = ("scan", "pack", "train_cnn", "report")
MOVES = (
    "build", "build", "build", "plan", "record", "forget_run", "point", "unpoint", "register", "unregister", "lease",
    "end_lease", "checkpoint", "begin", "finish", "hit", "use_hit", "days", "collect", "collect",
)  # fmt: skip
PATIENCE_DAYS = 4
"""A run uses what it found, and a publisher publishes, within so many days: the trash keeps things for longer."""
numbers = st.integers(0, 30)
histories = st.lists(st.tuples(st.sampled_from(MOVES), numbers, numbers), min_size=5, max_size=60)


@dataclass(frozen=True)
class Made:
    """An artifact as its maker remembers it."""

    ref: Ref
    files: dict[str, bytes]
    inputs: tuple["Made", ...]
    by: str


@dataclass
class History:
    """Plays moves on a store and remembers what is needed."""

    store: Store
    age: Callable[[int], None]
    gc: Callable[["History"], None]
    made: dict[str, Made] = field(default_factory=dict)
    records: dict[str, list[Made]] = field(default_factory=dict)
    pointers: dict[str, Made] = field(default_factory=dict)
    registered: list[Made] = field(default_factory=list)
    leases: dict[str, str] = field(default_factory=dict)
    begun: list[tuple[int, str, Path, tuple[Made, ...]]] = field(default_factory=list)
    hits: list[tuple[int, Made]] = field(default_factory=list)
    day: int = 0

    def play(self, moves: list[tuple[str, int, int]]) -> None:
        for name, a, b in moves:
            getattr(self, name)(a, b)

    def build(self, a: int, b: int) -> None:
        inputs = self._found(b)
        key = artifact_key(KINDS[a % 4], 1, {"a": a, "b": b}, {str(i): made.ref for i, made in enumerate(inputs)})
        self._publish(KINDS[a % 4], key, _folder(a, b), inputs, f"ser_study/run{b % 4}")

    def plan(self, a: int, b: int) -> None:
        """A plan names what it pinned in its file, not in its manifest."""
        pinned = self._found(a)
        folder = Path(tempfile.mkdtemp(prefix="ser-history-"))
        (folder / "plan.json").write_text(json.dumps({"pinned": [["raw", "x", str(made.ref)] for made in pinned]}))
        key = artifact_key("plan", 1, {}, {str(i): made.ref for i, made in enumerate(pinned)})
        self._publish("plan", key, folder, pinned, f"ser_study/run{b % 4}", named=False)

    def begin(self, a: int, b: int) -> None:
        """A publisher has put those of its blobs that it did not find; then others act."""
        inputs, folder = self._found(b), _folder(a, b)
        self.store.put_blobs(folder, list_files(folder))
        self.begun.append((self.day, artifact_key("scan", 1, {"late": [a, b]}, {}), folder, inputs))

    def finish(self, a: int, b: int) -> None:
        """The publisher puts its manifest, without looking at the blobs again."""
        if self.begun and self.day - self.begun[0][0] <= PATIENCE_DAYS:
            _, key, folder, inputs = self.begun.pop(0)
            self.store.put_blobs = lambda folder, files: 0  # type: ignore[method-assign]
            self._publish("scan", key, folder, inputs, "ser_study/late")
            del self.store.put_blobs
            if key in self.made:
                self._check_there(self.made[key])

    def hit(self, a: int, b: int) -> None:
        """A run looks a key up and finds it; it will use it later."""
        self.hits += [(self.day, made) for made in self._found(a)]

    def use_hit(self, a: int, b: int) -> None:
        for day, made in self.hits:
            if self.day - day <= PATIENCE_DAYS:
                self._check_there(made)
        self.hits = []

    def record(self, a: int, b: int) -> None:
        name = f"runs/ser_study/run{a % 4}.json"
        self.records[name] = [*self._found(a), *self._found(b)]
        body = {"steps": [{"step": made.ref.kind, "ref": str(made.ref)} for made in self.records[name]]}
        self.store.put(name, json.dumps(body).encode())

    def forget_run(self, a: int, b: int) -> None:
        name = f"runs/ser_study/run{a % 4}.json"
        self.records.pop(name, None)
        self.store.delete(name)

    def point(self, a: int, b: int) -> None:
        for made in self._found(a):
            self.pointers[f"refs/p{b % 2}.json"] = made
            self.store.put(f"refs/p{b % 2}.json", json.dumps({"scan": str(made.ref)}).encode())

    def unpoint(self, a: int, b: int) -> None:
        self.pointers.pop(f"refs/p{b % 2}.json", None)
        self.store.delete(f"refs/p{b % 2}.json")

    def register(self, a: int, b: int) -> None:
        self.registered += self._found(a)

    def unregister(self, a: int, b: int) -> None:
        self.registered = self.registered[1:]

    def lease(self, a: int, b: int) -> None:
        found = self._found(a)
        self._hold(found[0].ref.key if found else "0" * 64, f"ser_study/run{b % 4}")

    def end_lease(self, a: int, b: int) -> None:
        for key in list(self.leases)[:1]:
            del self.leases[key]
            self.store.delete(f"leases/{key}.json")

    def checkpoint(self, a: int, b: int) -> None:
        """A training that goes on, or was killed."""
        key = artifact_key("train", 1, {"training": a % 3}, {})
        if self.store.get(f"checkpoints/{key}/{b:04d}.json") is None:
            StoreCheckpoints(self.store, key).save(b, lambda folder: _write(folder / "weights", f"{a} {b}".encode()))
        if b % 2:
            self._hold(key, "ser_study/training")

    def days(self, a: int, b: int) -> None:
        self.pass_days((1, 3, 8, 35)[a % 4])

    def pass_days(self, days: int) -> None:
        self.day += days
        self.age(days)

    def collect(self, a: int, b: int) -> None:
        needed = self.needed()
        self.gc(self)
        for made in needed:
            self._check_there(made)

    def needed(self) -> list[Made]:
        """What somebody holds on to, and what that was made of."""
        held = [made for listed in self.records.values() for made in listed]
        held += [*self.pointers.values(), *self.registered]
        held += [made for made in self.made.values() if self._leased(made)]
        found: dict[str, Made] = {}
        while held:
            made = held.pop()
            if made.ref.key not in found:
                found[made.ref.key] = made
                held += made.inputs
        return list(found.values())

    def _leased(self, made: Made) -> bool:
        """A lease keeps what is there; it brings nothing back that was collected before."""
        held = made.by in self.leases.values() or made.ref.key in self.leases
        return held and self.store.get(f"artifacts/{made.ref.kind}/{made.ref.key}/manifest.json") is not None

    def _publish(
        self, kind: str, key: str, folder: Path, inputs: tuple[Made, ...], by: str, named: bool = True
    ) -> None:
        told = {str(i): str(made.ref) for i, made in enumerate(inputs)} if named else {}
        ref, won = self.store.publish(kind, key, folder, {"built_by": by, "inputs": told})
        if won:
            files = {path.name: path.read_bytes() for path in folder.iterdir()}
            self.made[key] = Made(ref, files, inputs, by)

    def _found(self, a: int) -> tuple[Made, ...]:
        """One of the artifacts, if it is still there; looking it up is what brings it back."""
        if not self.made:
            return ()
        made = list(self.made.values())[a % len(self.made)]
        return (made,) if self.store.manifest(made.ref.kind, made.ref.key) is not None else ()

    def _hold(self, key: str, owner: str) -> None:
        self.leases[key] = owner
        body = {"owner": owner, "token": "t", "heartbeat": datetime.now(UTC).isoformat()}
        self.store.put(f"leases/{key}.json", json.dumps(body).encode())

    def _check_there(self, made: Made) -> None:
        with tempfile.TemporaryDirectory() as folder:
            got = self.store.fetch(made.ref, Path(folder))
            assert {path.name: path.read_bytes() for path in got.iterdir()} == made.files


def _folder(a: int, b: int) -> Path:
    """Few different files, so that artifacts share blobs."""
    folder = Path(tempfile.mkdtemp(prefix="ser-history-"))
    for number in (a % 5, b % 7):
        _write(folder / f"f{number}", f"bytes {number}".encode())
    return folder


def _write(path: Path, body: bytes) -> None:
    path.write_bytes(body)
