"""C-GET and C-MOVE: what is wanted, who may have it, and the C-STORE sub-operations that send it.

An instance goes byte for byte as it is stored where the receiver takes its transfer syntax, else losslessly converted
to one that it takes. Where caller or destination is pseudonymous, its de-identified copy goes in its place.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from pydicom.dataset import Dataset
from pynetdicom.events import Event

from db import peers
from db.retrieve import copy_identities, find_instances
from dicom_node import audit_trail
from dicom_node.boxes import BOXES_CLASS, wanted_boxes
from dicom_node.identifier import called_ae
from dicom_node.retrieve_identifier import read_wanted
from dicom_node.retrieve_service import Response
from dicom_node.status import (
    CANCEL,
    DESTINATION_UNKNOWN,
    PENDING,
    SUB_OPERATIONS_FAILED,
    SUB_OPERATIONS_WARNING,
    TOO_MANY_INSTANCES,
    failure,
)
from dicom_node.sub_operations import NOT_FOR_COPIES, Shipment, shipment
from regionmir.archive.errors import NotAuthorized
from regionmir.archive.on_demand import fetch_missing
from regionmir.archive.status import SUCCESS
from regionmir.core.audit_events import Transfer
from regionmir.core.errors import InvalidIdentifier, PeerRefused, PeerUnavailable
from regionmir.core.records import Caller, Disclosure, lower
from regionmir.query import dicom_audit, trail
from regionmir.scu.peer import PeerAddress, Timeouts, address_of
from regionmir.scu.sending import MoveOriginator, accepted_syntaxes, message_ids
from regionmir.scu.status import SubOperations
from regionmir.scu.store import Result, Sending, SentFile, attempt, store_instances

if TYPE_CHECKING:
    from dicom_node.node import Node

log = structlog.get_logger(__name__)

MAX_INSTANCES = 65_535
"""The counts of sub-operations are US (PS3.7 9.1.3.1)."""

TOO_MANY_MATCH = Response(failure(TOO_MANY_INSTANCES, f"more than {MAX_INSTANCES} instances match"))


def handle_get(event: Event, node: "Node") -> Iterator[Response]:
    """Answer a C-GET: send the wanted instances over the same association (PS3.4 C.4.3.2)."""
    caller = _retriever(event, node)
    if not caller.rights.get:
        raise NotAuthorized("no right to C-GET")
    if caller.disclosure is Disclosure.PSEUDONYMOUS and not caller.accepts_pseudonyms:
        raise NotAuthorized(NOT_FOR_COPIES)
    takes_boxes = bool(accepted_syntaxes(event.assoc, BOXES_CLASS))
    transfer = audit_trail.transfer_to(node, caller, caller.ae_title)
    wanted = _wanted(event, node, caller, transfer=transfer, disclosure=caller.disclosure, with_boxes=takes_boxes)
    if wanted is None:
        yield TOO_MANY_MATCH
        return
    yield from _responses(event, wanted, _sent_here(event, wanted), transfer)


def handle_move(event: Event, node: "Node") -> Iterator[Response]:
    """Answer a C-MOVE: send the wanted instances to a registered destination (PS3.4 C.4.2.2)."""
    caller = _retriever(event, node)
    if not caller.rights.move:
        raise NotAuthorized("no right to C-MOVE")
    with node.database.session() as session:
        destination = peers.get(session, str(event.move_destination).strip())
    if destination is None or not destination.host or destination.port is None:
        yield Response(failure(DESTINATION_UNKNOWN, "move destination unknown"))
        return
    disclosure = lower(caller.disclosure, destination.disclosure)
    if disclosure is Disclosure.PSEUDONYMOUS and not destination.accepts_pseudonyms:
        raise NotAuthorized(NOT_FOR_COPIES)
    transfer = audit_trail.transfer_to(node, caller, destination.ae_title, destination.host)
    wanted = _wanted(event, node, caller, transfer=transfer, disclosure=disclosure)
    if wanted is None:
        yield TOO_MANY_MATCH
        return
    address = address_of(destination, node.settings.tls_files)
    yield from _responses(event, wanted, _sent_there(event, node, caller, address, wanted), transfer)


def _retriever(event: Event, node: "Node") -> Caller:
    """Return who asks. Raises `NotAuthorized` before anything is looked up: no oracle for those who get nothing."""
    caller = node.caller_of(event)
    if not caller.rights.retrieve:
        raise NotAuthorized("no right to retrieve")
    return caller


def _wanted(
    event: Event,
    node: "Node",
    caller: Caller,
    *,
    transfer: Transfer,
    disclosure: Disclosure,
    with_boxes: bool = True,
) -> Shipment | None:
    """Return what the request means, None if it is too much, and record who gets it.

    Keys match what the caller sees, whatever the destination may. At `RGN_*` the presentation states that draw the
    regions come with their films.
    """
    try:
        identifier: Dataset = event.identifier
    except Exception:  # arbitrary bytes of the peer
        raise InvalidIdentifier("the identifier cannot be decoded") from None
    wanted = read_wanted(identifier, str(event.request.AffectedSOPClassUID))
    fetch_missing(node, wanted, caller.disclosure)
    with node.database.session() as session:
        found = find_instances(session, wanted, caller.disclosure, limit=MAX_INSTANCES + 1)
        if len(found) > MAX_INSTANCES:
            return None
        pseudonymous = disclosure is Disclosure.PSEUDONYMOUS
        identities = copy_identities(session, [one.pk for one in found]) if pseudonymous else {}
        sending = shipment(node, found, identities, caller=caller.disclosure, disclosure=disclosure)
        if with_boxes:
            boxes = wanted_boxes(session, node, wanted, called_ae(event), caller=caller.disclosure, sent=disclosure)
            sending = sending.with_boxes(boxes)
        if found:
            studies, to = [one.study_instance_uid for one in found], transfer.destination.name
            trail.record_retrieve(session, caller, to, disclosure, studies, instances=len(sending.outgoing))
            instances = list(sending.stored.values())
            dicom_audit.record_begin(session, transfer, instances, anonymized=pseudonymous)
    return sending


def _responses(
    event: Event, sending: Shipment, outcomes: Generator[SentFile, None, None], transfer: Transfer
) -> Iterator[Response]:
    """Give a pending response after each sub-operation but the last, then the final one (PS3.4 C.4.2.3.1)."""
    tally = _Tally(len(sending.outgoing), told=sending.told)
    if sending.kept_back:
        tally.failed += sending.kept_back
        tally.why = sending.why
    try:
        yield from _pending(event, tally, sending, outcomes)
    finally:
        audit_trail.sent(sending, transfer, tally.arrived, tally.why)
    if tally.cancelled:
        yield Response(failure(CANCEL), tally.counts, tuple(tally.failed))
        return
    told = log.warning if tally.failed else log.info
    told("instances sent", completed=tally.completed, warned=tally.warned, failed=len(tally.failed), why=tally.why)
    yield tally.final()


def _pending(
    event: Event, tally: "_Tally", sending: Shipment, outcomes: Generator[SentFile, None, None]
) -> Iterator[Response]:
    """Do the sub-operations until all are done or the request is cancelled."""
    with closing(outcomes):
        while tally.remaining:
            if event.is_cancelled:  # says so once only
                tally.cancelled = True
                return
            try:
                tally.add(next(outcomes))
            except (PeerUnavailable, PeerRefused) as error:
                tally.lose(str(error), [one.sop_instance_uid for one in sending.outgoing])
            if tally.remaining:
                yield Response(failure(PENDING), tally.counts)


@dataclass(slots=True)
class _Tally:
    """What became of the sub-operations so far; `why` is what the first failure was."""

    remaining: int
    told: Mapping[str, str] = field(default_factory=dict)
    """From the UID that is sent to the one that the caller knows."""
    completed: int = 0
    warned: int = 0
    failed: list[str] = field(default_factory=list)
    why: str = ""
    cancelled: bool = False
    arrived: set[str] = field(default_factory=set)
    """SOP Instance UIDs, as sent, of what the receiver took."""

    @property
    def counts(self) -> SubOperations:
        return SubOperations(self.remaining, self.completed, len(self.failed), self.warned)

    def add(self, outcome: SentFile) -> None:
        """Count one sub-operation."""
        self.remaining -= 1
        if outcome.result in (Result.STORED, Result.WARNING):
            self.arrived.add(outcome.sop_instance_uid or "")
        if outcome.result is Result.STORED:
            self.completed += 1
        elif outcome.result is Result.WARNING:
            self.warned += 1
        else:
            uid = outcome.sop_instance_uid or ""
            self.failed.append(self.told.get(uid, uid))
            self.why = self.why or outcome.detail

    def lose(self, why: str, uids: list[str]) -> None:
        """Count all that remain, the last ones of `uids`, as failed."""
        self.failed += [self.told.get(uid, uid) for uid in uids[len(uids) - self.remaining :]]
        self.remaining = 0
        self.why = self.why or why

    def final(self) -> Response:
        """Return the final response: success, failure where nothing was sent, else warning."""
        if not self.failed and not self.warned:
            return Response(failure(SUCCESS), self.counts)
        sent = self.completed + self.warned
        code = SUB_OPERATIONS_WARNING if sent else SUB_OPERATIONS_FAILED
        return Response(failure(code, self.why), self.counts, tuple(self.failed))


def _sent_here(event: Event, sending: Shipment) -> Generator[SentFile, None, None]:
    """Send over the association of the request, in the contexts that its requestor takes as SCP."""
    identifiers = message_ids(len(sending.outgoing), first=event.message_id + 1)
    for message_id, one in zip(identifiers, sending.outgoing, strict=True):
        outcome = attempt(event.assoc, one, message_id, Sending(sending.convert))
        if outcome is None:
            raise PeerUnavailable("the peer ended the association")
        yield outcome


def _sent_there(
    event: Event, node: "Node", caller: Caller, destination: PeerAddress, sending: Shipment
) -> Generator[SentFile, None, None]:
    """Send over associations of our own to the destination."""
    settings = node.settings
    return store_instances(
        destination,
        settings.ae_title,
        sending.outgoing,
        convert=sending.convert,
        originator=MoveOriginator(caller.ae_title, event.message_id),
        timeouts=Timeouts(
            acse_s=settings.acse_timeout_s, dimse_s=settings.network_timeout_s, network_s=settings.network_timeout_s
        ),
    )
