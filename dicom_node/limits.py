"""How many connections and associations there may be at once: in all, and from one address."""

from dicom_node.access import TOO_MANY_ASSOCIATIONS, TOO_MANY_OF_ONE_PEER, Refusal
from dicom_node.sharing import Client, Full, Places

WAITING_FOR_EACH_ASSOCIATION = 2
"""Connections that may wait without an association for each that may have one."""

_REFUSALS = {Full.IN_ALL: TOO_MANY_ASSOCIATIONS, Full.OF_PEER: TOO_MANY_OF_ONE_PEER}


class Limits:
    """Counts connections that have no association (yet, or any more), and associations.

    They are counted apart: who only connects takes no association away from others. Safe to use from several threads,
    and from all processes that inherit it, whose connections count together.
    """

    def __init__(self, in_all: int, per_peer: int) -> None:
        self._waiting = Places(WAITING_FOR_EACH_ASSOCIATION * in_all, per_peer)
        self._associated = Places(in_all, per_peer)

    def connected(self, client: Client) -> bool:
        """Count a new connection; False where there are too many without an association: it is to be closed."""
        return self._waiting.take(client) is None

    def associated(self, client: Client) -> Refusal | None:
        """Count an association that is about to be accepted, or return why it is not to be."""
        full = self._associated.take(client)
        if full is not None:
            return _REFUSALS[full]
        self._waiting.give_back(client)
        return None

    def ended(self, client: Client) -> None:
        """Count a connection no more. Safe to call twice."""
        self._waiting.give_back(client)
        self._associated.give_back(client)
