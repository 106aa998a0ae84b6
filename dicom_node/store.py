"""C-STORE: an instance is on the disk, then in the database, and only then acknowledged."""

from functools import partial
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE

from db import peers, wanted_answers
from db.engine import Session
from db.wanted_answers import Way
from dicom_node import audit_trail
from dicom_node.arrival import arrival_of
from dicom_node.node import Node
from dicom_node.release import note_study
from dicom_node.status import status_of
from regionmir.archive.arrival import Arrival
from regionmir.archive.errors import NotAuthorized
from regionmir.archive.filing import AndThen, file_instance, read_incoming, refuse_conflict
from regionmir.archive.status import PROCESSING_FAILURE, STORE, SUCCESS
from regionmir.core.anatomy import AE_PREFIX, anatomy_by_ae_title
from regionmir.core.errors import InvalidHeader, origin
from regionmir.core.records import Caller, InstanceHeader
from regionmir.query.annotations import ANNOTATIONS

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
    """File one instance and wake the workers. Raises what `archive.status.STORE` lists."""
    caller = node.caller_of(event)
    if not caller.rights.store:
        raise NotAuthorized("this AE may not store here")
    if arrival is None:
        raise InvalidHeader("the request has no data set")
    incoming = arrival.arrived()
    header = read_incoming(incoming, *arrival.announced)
    called = str(cast(A_ASSOCIATE, event.assoc.requestor.primitive).called_ae_title).strip()
    receipt = file_instance(node, incoming, header, caller, called, _wanting(header, caller, called))
    note_study(event, header.study_instance_uid)
    log.debug("instance received", outcome=receipt.outcome, peer=caller.ae_title)
    refuse_conflict(receipt)
    audit_trail.note_received(event, header, held=receipt.outcome == "duplicate")


def _wanting(header: InstanceHeader, caller: Caller, called: str) -> AndThen | None:
    """Return what notes that the sender may want similar regions, None where nothing of the kind can be meant."""
    if header.sop_class_uid in ANNOTATIONS or called.startswith(AE_PREFIX):
        return partial(_want, caller=caller, called=called)
    return None


def _want(session: Session, header: InstanceHeader, caller: Caller, called: str) -> None:
    """Note that the sender wants similar regions: of a film sent to `RGN_*`, or of what an annotation marks.

    An annotation to our own title asks only for senders whose results have a destination: others just archive it.
    """
    is_annotation = header.sop_class_uid in ANNOTATIONS
    to_region = called.startswith(AE_PREFIX)
    peer = peers.get(session, caller.ae_title) if caller.registered else None
    destination = peer.results_to if peer else ""
    if to_region or destination:
        by_ae = anatomy_by_ae_title(called)
        way: Way = "C" if is_annotation else "A"
        wanted_answers.want(session, way, header.sop_instance_uid, [by_ae] if by_ae else [], caller, destination)


def _refused(event: Event, error: Exception) -> Dataset:
    status = status_of(error, STORE)
    if status.Status == PROCESSING_FAILURE:
        log.error("C-STORE failed", error=type(error).__name__, at=origin(error))
    peer = event.assoc.requestor.ae_title
    log.warning("instance refused", status=f"{status.Status:04X}", why=status.ErrorComment, peer=peer)
    return status
