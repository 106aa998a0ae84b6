"""What the node adds to the audit trail: queries, transfers, those whom it turns away, its own start and stop."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import structlog
from pynetdicom.events import Event

from db import audit
from db.engine import Session
from regionmir.core import audit_events
from regionmir.core.audit_events import Asked, Endpoint, Transfer
from regionmir.core.audit_message import Action
from regionmir.core.errors import DatabaseUnavailable, origin
from regionmir.core.records import Caller, InstanceHeader
from regionmir.query import dicom_audit

if TYPE_CHECKING:
    from dicom_node.node import Node
    from dicom_node.sub_operations import Shipment

log = structlog.get_logger(__name__)

REPEATED_AFTER_S: Final = 60.0
"""A refusal of the same address for the same reason is recorded again after this time: a scanner fills no table."""

_MOST_KNOWN = 10_000


@dataclass(slots=True)
class Refusals:
    """Which refusals were recorded lately."""

    clock: Callable[[], float] = time.monotonic
    _last: dict[tuple[str, str], float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def is_new(self, address: str, why: str) -> bool:
        """Return whether this is to be recorded, and note that it was."""
        now = self.clock()
        with self._lock:
            if len(self._last) >= _MOST_KNOWN:
                self._last.clear()
            last = self._last.get((address, why))
            if last is not None and now - last < REPEATED_AFTER_S:
                return False
            self._last[address, why] = now
            return True


@dataclass(frozen=True, slots=True)
class Received:
    """An instance that came."""

    patient_id: str
    study_instance_uid: str
    sop_class_uid: str


def us(node: "Node") -> Endpoint:
    """Return the node as a side of a transfer."""
    return Endpoint(node.settings.ae_title)


def query(session: Session, node: "Node", event: Event, caller: Caller) -> None:
    """Record a C-FIND of an identified caller in the transaction that answers it."""
    request: Any = event.request
    identifier = request.Identifier.getvalue() if request.Identifier else b""
    asked = Asked(str(request.AffectedSOPClassUID), identifier, str(event.context.transfer_syntax))
    dicom_audit.record_query(session, caller, us(node), asked)


def transfer_to(node: "Node", caller: Caller, destination: str, host: str = "") -> Transfer:
    """Return the way of instances that `caller` has sent to `destination`: itself, or the one of a C-MOVE."""
    asker = dicom_audit.endpoint_of(caller)
    return Transfer(us(node), asker if destination == caller.ae_title else Endpoint(destination, host), asker)


def sent(sending: "Shipment", transfer: Transfer, arrived: Collection[str], why: str) -> None:
    """Record what became of a C-GET or C-MOVE; `arrived` are UIDs as sent. Where that fails, the log says so."""
    taken = [one for uid, one in sending.stored.items() if uid in arrived]
    lost = [one for uid, one in sending.stored.items() if uid not in arrived]
    copies = bool(sending.copies)
    try:
        with sending.node.database.session() as session:
            dicom_audit.record_transferred(session, transfer, taken, anonymized=copies)
            dicom_audit.record_transferred(session, transfer, lost, anonymized=copies, why=why or "not sent")
    except Exception as error:  # that it began is recorded
        log.error("transfer not audited", error=type(error).__name__, at=origin(error))


def note_received(event: Event, header: InstanceHeader, *, held: bool) -> None:
    """Remember that this association brought an instance; `held`: we had it already."""
    brought: list[tuple[Received, bool]] = event.assoc.__dict__.setdefault("brought", [])
    brought.append((Received(header.patient_id, header.study_instance_uid, header.sop_class_uid), held))


def received(node: "Node", assoc: Any) -> None:
    """Record what an association has brought, when it has ended. Where that fails, the log says so."""
    brought: list[tuple[Received, bool]] = assoc.__dict__.pop("brought", [])
    if not brought or not isinstance(assoc.caller, Caller):
        return
    caller = dicom_audit.endpoint_of(assoc.caller)
    transfer = Transfer(caller, us(node), caller)
    try:
        with node.database.session() as session:
            for held, action in ((False, Action.CREATE), (True, Action.READ)):
                instances = [one for one, had in brought if had is held]
                dicom_audit.record_transferred(session, transfer, instances, action=action)
    except Exception as error:
        log.error("reception not audited", error=type(error).__name__, at=origin(error))


def node_refused(node: "Node", ae_title: str, address: str, why: str) -> None:
    """Record that somebody was turned away before an association; the log says so where that fails."""
    if not node.refusals.is_new(address, why):
        return
    alert = audit_events.security_alert(audit_events.NODE_AUTHENTICATION, us(node), ae_title or address, why)
    try:
        with node.database.session() as session:
            audit.record(session, "node refused", actor=ae_title, address=address, detail={"why": why}, message=alert)
    except Exception as error:
        log.error("refusal not audited", error=type(error).__name__, at=origin(error))


def activity(node: "Node", *, started: bool) -> None:
    """Record that the node starts to serve, or stops; that it stops need not succeed: the database may be gone."""
    message = audit_events.application_activity(us(node), started=started)
    kind = "node started" if started else "node stopped"
    try:
        with node.database.session() as session:
            audit.record(session, kind, actor=node.settings.ae_title, address="", detail={}, message=message)
    except DatabaseUnavailable as error:
        if started:
            raise
        log.warning("stop not audited", why=str(error))
