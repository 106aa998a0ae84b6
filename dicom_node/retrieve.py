"""C-GET and C-MOVE: what is wanted, who may have it, and the C-STORE sub-operations that send it.

An instance goes byte for byte as it is stored where the receiver takes its transfer syntax, else losslessly converted
to one that it takes. De-identified copies do not exist yet, so pseudonymous callers and destinations get nothing.
"""

from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from pydicom.dataset import Dataset
from pynetdicom.events import Event

from db import audit, peers
from db.retrieve import StoredInstance, find_instances
from dicom_node.errors import NotAuthorized
from dicom_node.retrieve_identifier import read_wanted
from dicom_node.retrieve_service import Response
from dicom_node.status import CANCEL, PENDING, SUCCESS, failure
from regionmir.core.errors import InvalidIdentifier, PeerRefused, PeerUnavailable
from regionmir.core.records import Caller, Disclosure
from regionmir.pixels.transcode import transcode_to_any
from regionmir.scu.peer import PeerAddress, Timeouts
from regionmir.scu.sending import MoveOriginator, Outgoing, message_ids
from regionmir.scu.status import SubOperations
from regionmir.scu.store import Result, Sending, SentFile, attempt, store_instances

if TYPE_CHECKING:
    from dicom_node.node import Node

log = structlog.get_logger(__name__)

DESTINATION_UNKNOWN = 0xA801
SUB_OPERATIONS_FAILED = 0xA702
SUB_OPERATIONS_WARNING = 0xB000
TOO_MANY = 0xA701

MAX_INSTANCES = 65_535
"""The counts of sub-operations are US (PS3.7 9.1.3.1)."""

NO_COPIES = "de-identified copies are not available"
"""Error Comment for pseudonymous callers and destinations."""


def handle_get(event: Event, node: "Node") -> Iterator[Response]:
    """Answer a C-GET: send the wanted instances over the same association (PS3.4 C.4.3.2)."""
    caller = _retriever(event, node)
    instances = _wanted(event, node, caller, destination=caller.ae_title)
    if len(instances) > MAX_INSTANCES:
        yield Response(failure(TOO_MANY, f"more than {MAX_INSTANCES} instances match"))
        return
    yield from _responses(event, instances, _sent_here(event, node, instances))


def handle_move(event: Event, node: "Node") -> Iterator[Response]:
    """Answer a C-MOVE: send the wanted instances to a registered destination (PS3.4 C.4.2.2)."""
    caller = _retriever(event, node)
    with node.database.session() as session:
        destination = peers.get(session, str(event.move_destination).strip())
    if destination is None or not destination.host or destination.port is None:
        yield Response(failure(DESTINATION_UNKNOWN, "move destination unknown"))
        return
    if destination.disclosure is Disclosure.PSEUDONYMOUS:  # the lower of caller and destination counts
        raise NotAuthorized(NO_COPIES)
    instances = _wanted(event, node, caller, destination=destination.ae_title)
    if len(instances) > MAX_INSTANCES:
        yield Response(failure(TOO_MANY, f"more than {MAX_INSTANCES} instances match"))
        return
    address = PeerAddress(destination.ae_title, destination.host, destination.port)
    yield from _responses(event, instances, _sent_there(event, node, caller, address, instances))


def _retriever(event: Event, node: "Node") -> Caller:
    """Return who asks. Raises `NotAuthorized` before anything is looked up: no oracle for those who get nothing."""
    caller = node.caller_of(event)
    if not caller.rights.retrieve:
        raise NotAuthorized("no right to retrieve")
    if caller.disclosure is Disclosure.PSEUDONYMOUS:
        raise NotAuthorized(NO_COPIES)
    return caller


def _wanted(event: Event, node: "Node", caller: Caller, *, destination: str) -> list[StoredInstance]:
    """Return the instances that the request means, one more than allowed at most, and record who got them."""
    try:
        identifier: Dataset = event.identifier
    except Exception:  # arbitrary bytes of the peer
        raise InvalidIdentifier("the identifier cannot be decoded") from None
    wanted = read_wanted(identifier, str(event.request.AffectedSOPClassUID))
    with node.database.session() as session:
        found = find_instances(session, wanted, caller.disclosure, limit=MAX_INSTANCES + 1)
        if found:
            studies = sorted({one.study_instance_uid for one in found})
            detail = {"destination": destination, "instances": len(found), "studies": studies[:100]}
            audit.record(session, "retrieve", actor=caller.ae_title, address=caller.address, detail=detail)
    return found


def _responses(
    event: Event, instances: list[StoredInstance], outcomes: Generator[SentFile, None, None]
) -> Iterator[Response]:
    """Give a pending response after each sub-operation but the last, then the final one (PS3.4 C.4.2.3.1)."""
    tally = _Tally(len(instances))
    with closing(outcomes):
        while tally.remaining:
            if event.is_cancelled:
                yield Response(failure(CANCEL), tally.counts, tuple(tally.failed))
                return
            try:
                tally.add(next(outcomes))
            except (PeerUnavailable, PeerRefused) as error:
                tally.lose(str(error), [one.sop_instance_uid for one in instances])
            if tally.remaining:
                yield Response(failure(PENDING), tally.counts)
    told = log.warning if tally.failed else log.info
    told("instances sent", completed=tally.completed, warned=tally.warned, failed=len(tally.failed), why=tally.why)
    yield tally.final()


@dataclass(slots=True)
class _Tally:
    """What became of the sub-operations so far; `why` is what the first failure was."""

    remaining: int
    completed: int = 0
    warned: int = 0
    failed: list[str] = field(default_factory=list)
    why: str = ""

    @property
    def counts(self) -> SubOperations:
        return SubOperations(self.remaining, self.completed, len(self.failed), self.warned)

    def add(self, outcome: SentFile) -> None:
        """Count one sub-operation."""
        self.remaining -= 1
        if outcome.result is Result.STORED:
            self.completed += 1
        elif outcome.result is Result.WARNING:
            self.warned += 1
        else:
            self.failed.append(outcome.sop_instance_uid or "")
            self.why = self.why or outcome.detail

    def lose(self, why: str, uids: list[str]) -> None:
        """Count all that remain, the last ones of `uids`, as failed."""
        self.failed += uids[len(uids) - self.remaining :]
        self.remaining = 0
        self.why = self.why or why

    def final(self) -> Response:
        """Return the final response: success, failure where nothing was sent, else warning."""
        if not self.failed and not self.warned:
            return Response(failure(SUCCESS), self.counts)
        sent = self.completed + self.warned
        code = SUB_OPERATIONS_WARNING if sent else SUB_OPERATIONS_FAILED
        return Response(failure(code, self.why), self.counts, tuple(self.failed))


def _sent_here(event: Event, node: "Node", instances: list[StoredInstance]) -> Generator[SentFile, None, None]:
    """Send over the association of the request, in the contexts that its requestor takes as SCP."""
    identifiers = message_ids(len(instances), first=event.message_id + 1)
    for message_id, one in zip(identifiers, _outgoing(node, instances), strict=True):
        outcome = attempt(event.assoc, one, message_id, Sending(_converted))
        if outcome is None:
            raise PeerUnavailable("the peer ended the association")
        yield outcome


def _sent_there(
    event: Event, node: "Node", caller: Caller, destination: PeerAddress, instances: list[StoredInstance]
) -> Generator[SentFile, None, None]:
    """Send over associations of our own to the destination."""
    settings = node.settings
    return store_instances(
        destination,
        settings.ae_title,
        _outgoing(node, instances),
        convert=_converted,
        originator=MoveOriginator(caller.ae_title, event.message_id),
        timeouts=Timeouts(
            acse_s=settings.acse_timeout_s, dimse_s=settings.network_timeout_s, network_s=settings.network_timeout_s
        ),
    )


def _outgoing(node: "Node", instances: list[StoredInstance]) -> Iterator[Outgoing]:
    for one in instances:
        yield Outgoing(
            node.store.path(one.storage_key), one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid
        )


def _converted(outgoing: Outgoing, accepted: Collection[str]) -> Dataset:
    return transcode_to_any(outgoing.path, accepted)
