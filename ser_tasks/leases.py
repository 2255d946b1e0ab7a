"""Leases: of several runs, one at a time works on a key."""

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from ser_tasks.errors import Busy
from ser_tasks.objects import Objects

LEASE_EXPIRES_S = 90
"""A lease without a heartbeat for this long may be taken over."""
HEARTBEAT_S = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """Who works on a key: `token` is another for every try, `heartbeat` is when it was last renewed."""

    owner: str
    token: str
    heartbeat: datetime

    @classmethod
    def parse(cls, body: bytes) -> "Lease":
        """From what an object under `leases/` holds."""
        told = json.loads(body)
        return cls(told["owner"], told["token"], datetime.fromisoformat(told["heartbeat"]))

    @property
    def age_s(self) -> float:
        """Seconds since the heartbeat."""
        return (datetime.now(UTC) - self.heartbeat).total_seconds()

    @property
    def is_alive(self) -> bool:
        """Whether others have to wait for it."""
        return self.age_s < LEASE_EXPIRES_S


class Leases:
    """Leases on keys, kept as objects under `leases/`."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._lost: dict[str, str] = {}

    @contextmanager
    def hold(self, key: str, owner: str) -> Iterator[None]:
        """Hold `leases/<key>.json` with a heartbeat while the body runs.

        When the store is out of reach for longer than a lease lives, another owner may take it over: the heartbeat goes
        on trying, and `check` says so as soon as the store does.

        Raises:
            Busy: Another owner's lease is alive.
        """
        name = f"leases/{key}.json"
        token = uuid.uuid4().hex  # two tries of one task are two owners

        def body() -> bytes:
            return json.dumps({"owner": owner, "token": token, "heartbeat": datetime.now(UTC).isoformat()}).encode()

        if not self.objects.put(name, body(), IfNoneMatch="*"):
            held = self.objects.get_with_etag(name)
            if held is not None:
                lease = Lease.parse(held[0])
                if lease.is_alive:
                    raise Busy(f"store: {lease.owner} is building {key} (heartbeat {lease.age_s:.0f} s ago)")
                if not self.objects.put(name, body(), IfMatch=held[1]):
                    raise Busy(f"store: another run took over the lease on {key}")
            elif not self.objects.put(name, body(), IfNoneMatch="*"):
                raise Busy(f"store: another run took the lease on {key}")
        self._lost.pop(key, None)
        done = threading.Event()

        def renew() -> bool:
            held = self.objects.get_with_etag(name)
            found = Lease.parse(held[0]) if held else None
            if held is None or found is None or found.token != token:
                winner = found.owner if found else "nobody"
                self._lost[key] = f"store: the lease on {key} was lost to {winner} while the store was out of reach"
                return False
            self.objects.put(name, body(), IfMatch=held[1])
            return True

        def beat() -> None:
            held = True
            while held and not done.wait(HEARTBEAT_S):
                try:
                    held = renew()
                except Exception as error:  # whatever the store answers, a heartbeat that ends cannot begin again
                    _log.warning("the lease on %s was not renewed: %s: trying again", key, error)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            try:
                mine = self.of(key)
                if mine is not None and mine.token == token:
                    self.objects.delete(name)
            except Exception as error:  # what the body came to counts; the lease expires by itself
                _log.warning("the lease on %s was not given back: %s", key, error)

    def of(self, key: str) -> Lease | None:
        """The lease on a key, alive or not; None: nobody has one."""
        body = self.objects.get(f"leases/{key}.json")
        return Lease.parse(body) if body is not None else None

    def check(self, key: str) -> None:
        """Look whether the lease on a key, where this process held one, is still its own. Raises Busy when it is not.

        Long work asks between its parts, so that two do not go on with the same.
        """
        if key in self._lost:
            raise Busy(self._lost[key])
