"""C-STORE: an instance is on the disk, then in the database, and only then acknowledged."""

from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE

from db import instances, peers, wanted_answers
from db.engine import Session
from db.wanted_answers import Way
from dicom_node import audit_trail
from dicom_node.arrival import Arrival, arrival_of
from dicom_node.errors import NotAuthorized, NotToCorrect, SopMismatch
from dicom_node.node import Node
from dicom_node.release import note_study
from dicom_node.status import PROCESSING_FAILURE, STORE, SUCCESS, status_of
from regionmir.core.anatomy import AE_PREFIX, anatomy_by_ae_title
from regionmir.core.errors import InvalidHeader, origin
from regionmir.core.header import read_header
from regionmir.core.records import Caller, InstanceHeader
from regionmir.pixels.compare import same_pixels_and_header
from regionmir.query.annotations import ANNOTATIONS
from regionmir.storage import Incoming
from regionmir.storage.scan import scan_dataset

log = structlog.get_logger(__name__)


def handle_store(event: Event, node: Node) -> int | Dataset:
    """Return the status of a C-STORE; whatever is wrong with one instance stays with that instance."""
    arrival = arrival_of(event.request)
    try:
        _receive(event, arrival, node)
    except Exception as error:
        return _refused(event, error)
    finally:
        if arrival is not None:
            arrival.discard()
    return SUCCESS


def _receive(event: Event, arrival: Arrival | None, node: Node) -> None:
    """File one instance and wake the workers. Raises what `status.STORE` lists."""
    caller = node.caller_of(event)
    if not caller.rights.store:
        raise NotAuthorized("this AE may not store here")
    incoming = _arrived(arrival)
    header = _header(event, incoming)
    receipt = _file(event, incoming, header, caller, node)
    note_study(event, header.study_instance_uid)
    log.debug("instance received", outcome=receipt.outcome, peer=caller.ae_title)
    if receipt.outcome == "conflict":
        raise NotToCorrect(receipt.comment)
    audit_trail.note_received(event, header, held=receipt.outcome == "duplicate")
    if receipt.outcome != "duplicate":
        node.queue.wake()


def _file(event: Event, incoming: Incoming, header: InstanceHeader, caller: Caller, node: Node) -> instances.Receipt:
    """Make the object durable, then commit its row: in this order, and the response comes after both."""
    stored = node.store.keep(incoming)
    called = str(cast(A_ASSOCIATE, event.assoc.requestor.primitive).called_ae_title).strip()
    with node.database.session() as session:
        receipt = instances.receive(
            session,
            header,
            stored,
            source_ae=caller.ae_title,
            source_address=caller.address,
            called_ae=called,
            pseudonymizer=node.pseudonymizer,
            may_correct=caller.rights.correct,
            same_content=lambda old, new: same_pixels_and_header(node.store.path(old), node.store.path(new)),
        )
        if receipt.outcome != "conflict":
            _want(session, header, caller, called)
    return receipt


def _want(session: Session, header: InstanceHeader, caller: Caller, called: str) -> None:
    """Note that the sender wants similar regions: of a film sent to `RGN_*`, or of what an annotation marks.

    An annotation to our own title asks only for senders whose results have a destination: others just archive it.
    """
    is_annotation = header.sop_class_uid in ANNOTATIONS
    to_region = called.startswith(AE_PREFIX)
    if not (is_annotation or to_region):
        return
    peer = peers.get(session, caller.ae_title) if caller.registered else None
    destination = peer.results_to if peer else ""
    if to_region or destination:
        by_ae = anatomy_by_ae_title(called)
        way: Way = "C" if is_annotation else "A"
        wanted_answers.want(session, way, header.sop_instance_uid, [by_ae] if by_ae else [], caller, destination)


def _arrived(arrival: Arrival | None) -> Incoming:
    if arrival is None:
        raise InvalidHeader("the request has no data set")
    if arrival.failure is not None:
        raise arrival.failure
    assert arrival.incoming is not None
    return arrival.incoming


def _header(event: Event, incoming: Incoming) -> InstanceHeader:
    """Return the header of an instance that is the one the command names. Raises `InvalidHeader`, `SopMismatch`."""
    with incoming.path.open("rb") as file:
        file.seek(incoming.dataset_offset)
        dataset = scan_dataset(file, incoming.transfer_syntax_uid)
    header = read_header(dataset, incoming.transfer_syntax_uid)
    command = cast(C_STORE, event.request)
    if header.sop_instance_uid != str(command.AffectedSOPInstanceUID):
        raise SopMismatch("SOPInstanceUID differs between command and data set")
    if header.sop_class_uid != str(command.AffectedSOPClassUID):
        raise SopMismatch("SOPClassUID differs between command and data set")
    return header


def _refused(event: Event, error: Exception) -> Dataset:
    status = status_of(error, STORE)
    if status.Status == PROCESSING_FAILURE:
        log.error("C-STORE failed", error=type(error).__name__, at=origin(error))
    peer = event.assoc.requestor.ae_title
    log.warning("instance refused", status=f"{status.Status:04X}", why=status.ErrorComment, peer=peer)
    return status
