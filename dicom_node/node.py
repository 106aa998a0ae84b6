"""The node as one value: what the handlers use, put together once per process."""

import ipaddress
from dataclasses import dataclass, field

from pynetdicom.events import Event

from db.engine import Database
from dicom_node import access
from dicom_node.audit_trail import Refusals
from dicom_node.errors import NotAuthorized
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import Caller
from regionmir.core.settings import Settings
from regionmir.query.limits import FailedAnchors
from regionmir.queue import IndexQueue
from regionmir.storage import FileStore


@dataclass(frozen=True, slots=True)
class Node:
    """Everything a handler may use. `queue.wake()` never blocks and never raises here (see `dicom_node.wakeups`)."""

    settings: Settings
    database: Database
    store: FileStore
    queue: IndexQueue
    pseudonymizer: Pseudonymizer
    failed_anchors: FailedAnchors = field(default_factory=FailedAnchors)
    refusals: Refusals = field(default_factory=Refusals)

    @property
    def bound_to_loopback(self) -> bool:
        """Return whether only this machine can reach the node."""
        return is_loopback(self.settings.dicom_host)

    def caller_of(self, event: Event) -> Caller:
        """Return who asks, by the peers' rows when the association was opened (or as soon as the database answered).

        Raises `DatabaseUnavailable`, or `NotAuthorized` where the database came back and knows no such caller.
        """
        assoc = event.assoc
        known = getattr(assoc, "caller", None)
        if known is None:
            certificate = getattr(assoc, "certificate", None)
            known = access.resolve(self, assoc.requestor.ae_title, assoc.requestor.address, certificate)
            assoc.caller = known  # type: ignore[attr-defined]
        if isinstance(known, access.Refusal):
            raise NotAuthorized(known.why)
        assert isinstance(known, Caller)
        return known


def is_loopback(host: str) -> bool:
    """Return whether `host` (a name or an address) is this machine's loopback and nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
