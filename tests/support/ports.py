"""TCP ports of the loopback interface for servers that tests start."""

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

_FIRST, _LAST = 12_000, 19_999
_HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port that nobody uses, and that this run of the tests returned to nobody before.

    Nobody else takes it before its server listens, or while that is started again: it lies below those that the
    system hands out to connections and to whoever binds port 0, and each of xdist's workers has a share of its own.
    """
    return next(_PORTS)


def share(worker: int, workers: int, first_handed_out: int) -> range:
    """Return the ports of one of so many workers: below the first that the system hands out, where there are enough."""
    last = first_handed_out - 1 if _FIRST + 1000 < first_handed_out <= _LAST else _LAST
    return range(_FIRST + worker, last + 1, workers)


def _free_ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first_handed_out = int(_HANDED_OUT.read_text().split()[0]) if _HANDED_OUT.exists() else _LAST + 1
    ports = list(share(worker, workers, first_handed_out))
    random.Random().shuffle(ports)  # another run on this machine has the same ones
    yield from filter(_is_free, ports)
    raise AssertionError("every port of this run was handed out")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_PORTS = _free_ports()
