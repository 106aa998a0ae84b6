"""How many connections and associations there may be at once: in all, and from one address."""

import threading

from dicom_node.access import TOO_MANY_ASSOCIATIONS, TOO_MANY_OF_ONE_PEER, Refusal

Client = tuple[str, int]
"""Address and port of the other end of a connection."""

WAITING_FOR_EACH_ASSOCIATION = 2
"""Connections that may wait without an association for each that may have one."""


class Limits:
    """Counts connections that have no association (yet, or any more), and associations.

    They are counted apart: who only connects takes no association away from others. Safe to use from several threads.
    """

    def __init__(self, in_all: int, per_peer: int) -> None:
        self._in_all, self._per_peer = in_all, per_peer
        self._waiting: set[Client] = set()
        self._associated: set[Client] = set()
        self._lock = threading.Lock()

    def connected(self, client: Client) -> bool:
        """Count a new connection; False where there are too many without an association: it is to be closed."""
        with self._lock:
            too_many = len(self._waiting) >= WAITING_FOR_EACH_ASSOCIATION * self._in_all
            if too_many or _of(client, self._waiting) >= self._per_peer:
                return False
            self._waiting.add(client)
            return True

    def associated(self, client: Client) -> Refusal | None:
        """Count an association that is about to be accepted, or return why it is not to be."""
        with self._lock:
            if len(self._associated) >= self._in_all:
                return TOO_MANY_ASSOCIATIONS
            if _of(client, self._associated) >= self._per_peer:
                return TOO_MANY_OF_ONE_PEER
            self._waiting.discard(client)
            self._associated.add(client)
            return None

    def ended(self, client: Client) -> None:
        """Count a connection no more. Safe to call twice."""
        with self._lock:
            self._waiting.discard(client)
            self._associated.discard(client)


def _of(client: Client, clients: set[Client]) -> int:
    return sum(address == client[0] for address, _ in clients)
