"""Free ports on loopback."""

import socket
from collections.abc import Mapping

GRPC_OFFSET = 10_000  # every SeaweedFS server also listens this far above its port
HIGHEST = 55_000  # leaves room for the offset


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as probe:
        # Without this option a port that was closed a minute ago would look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(preferred: Mapping[str, int], remembered: Mapping[str, int]) -> dict[str, int]:
    """Choose a free port for every name: the remembered one, else the preferred one, else the next free one above.

    Names that begin with `s3` are SeaweedFS servers: their port and the one `GRPC_OFFSET` above must both be free.
    """
    chosen: dict[str, int] = {}
    taken: set[int] = set()
    for name, first in preferred.items():
        for port in (remembered.get(name, first), *range(first, HIGHEST)):
            needed = {port, port + GRPC_OFFSET} if name.startswith("s3") else {port}
            if not needed & taken and all(map(is_free, needed)):
                chosen[name] = port
                taken |= needed
                break
        else:
            raise RuntimeError(f"no free port for {name} between {first} and {HIGHEST} on 127.0.0.1")
    return chosen
