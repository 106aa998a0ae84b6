"""Storage commitment, both ways: asking a peer to keep instances, and reporting what we keep (PS3.4 Annex J)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext, build_context

from regionmir.core.errors import InvalidIdentifier, PeerUnavailable
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.scu.association import association, receiver_roles
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts
from regionmir.scu.status import Status, read_status

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""SOP Class of storage commitment and its well-known instance (PS3.4 J.3)."""

REQUEST: Final = 1
"""Action Type ID (PS3.4 J.3.2)."""

ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type IDs (PS3.4 J.3.3)."""

PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119
"""Failure Reasons (0008,1197), PS3.3 C.14.1.1."""

FAILURE_REASONS: Final = {
    NO_SUCH_INSTANCE: "not here, damaged or gone from the disk; or sent by another AE, and the asker is not identified",
    CLASS_INSTANCE_CONFLICT: "of another SOP class",
}
"""Those that we give, and when."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance that is to be committed."""

    sop_class_uid: Uid
    sop_instance_uid: Uid


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What an SCU asks by N-ACTION."""

    transaction_uid: Uid
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What an SCP answers by N-EVENT-REPORT; `failed` holds Failure Reasons."""

    transaction_uid: Uid
    committed: tuple[Reference, ...] = ()
    failed: Mapping[Reference, int] = field(default_factory=dict)


def commitment_context() -> PresentationContext:
    """Return the presentation context of storage commitment."""
    return build_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])


def new_transaction_uid() -> Uid:
    """Return a Transaction UID (0008,1195) that was never used."""
    return Uid(str(generate_uid(prefix=None)))


def ask_on(opened: Association, request: CommitmentRequest, *, message_id: int = 1) -> Status:
    """Ask the peer on an open association to commit itself, and return its status.

    Whether it does so comes later, by N-EVENT-REPORT. Raises `PeerUnavailable` if the association ends.
    """
    dataset = Dataset()
    dataset.TransactionUID = request.transaction_uid
    dataset.ReferencedSOPSequence = _items(request.references)
    answer, _ = opened.send_n_action(dataset, REQUEST, PUSH_MODEL, PUSH_MODEL_INSTANCE, msg_id=message_id)
    status = read_status(answer)
    if status is None:
        raise PeerUnavailable("the peer ended the association during an N-ACTION, or did not answer it in time")
    return status


def send_report(
    peer: PeerAddress, calling_ae: str, report: CommitmentReport, *, timeouts: Timeouts = DEFAULT_TIMEOUTS
) -> Status:
    """Send the report over an association of its own, in which we are the SCP (PS3.4 J.3.3, PS3.7 D.3.3.4).

    Raises `PeerUnavailable`, `PeerRefused`.
    """
    roles = receiver_roles([PUSH_MODEL])
    with association(peer, calling_ae, [commitment_context()], roles=roles, timeouts=timeouts) as opened:
        kind, dataset = report_dataset(report)
        answer, _ = opened.send_n_event_report(dataset, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        status = read_status(answer)
    if status is None:
        raise PeerUnavailable(f"{peer} ended the association without answering the N-EVENT-REPORT")
    return status


def report_dataset(report: CommitmentReport) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of a report."""
    dataset = Dataset()
    dataset.TransactionUID = report.transaction_uid
    if report.committed:
        dataset.ReferencedSOPSequence = _items(report.committed)
    if not report.failed:
        return ALL_COMMITTED, dataset
    failed = _items(report.failed)
    for item, reason in zip(failed, report.failed.values(), strict=True):
        item.FailureReason = reason
    dataset.FailedSOPSequence = failed
    return SOME_FAILED, dataset


def read_request(dataset: Dataset) -> CommitmentRequest:
    """Return what an N-ACTION asks for. Raises `InvalidIdentifier` where it names no instances."""
    references = tuple(_reference(item) for item in dataset.get("ReferencedSOPSequence") or ())
    if not references:
        raise InvalidIdentifier("no Referenced SOP Sequence")
    return CommitmentRequest(parse_uid(str(dataset.get("TransactionUID", ""))), references)


def read_report(dataset: Dataset) -> CommitmentReport:
    """Return what an N-EVENT-REPORT says. Raises `InvalidIdentifier`."""
    return CommitmentReport(
        parse_uid(str(dataset.get("TransactionUID", ""))),
        tuple(_reference(item) for item in dataset.get("ReferencedSOPSequence") or ()),
        {
            _reference(item): int(item.get("FailureReason") or PROCESSING_FAILURE)
            for item in dataset.get("FailedSOPSequence") or ()
        },
    )


def report_handlers(received: Callable[[CommitmentReport], None]) -> list[tuple[object, ...]]:
    """Return the handlers by which an association that we opened takes reports too: some peers send them there."""
    return [(evt.EVT_N_EVENT_REPORT, _handle_report, [received])]


def _handle_report(event: Event, received: Callable[[CommitmentReport], None]) -> tuple[int, None]:
    try:
        received(read_report(event.event_information))
    except InvalidIdentifier:
        return 0x0115, None  # invalid argument value (PS3.7 C.5.9)
    return 0x0000, None


def _items(references: Iterable[Reference]) -> DicomSequence:
    items = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class_uid
        item.ReferencedSOPInstanceUID = reference.sop_instance_uid
        items.append(item)
    return DicomSequence(items)


def _reference(item: Dataset) -> Reference:
    return Reference(
        parse_uid(str(item.get("ReferencedSOPClassUID", ""))), parse_uid(str(item.get("ReferencedSOPInstanceUID", "")))
    )
