"""Storage commitment (PS3.4 Annex J): requests are noted for a worker to answer, reports on what we sent are taken."""

import structlog
from pydicom.dataset import Dataset
from pynetdicom.events import Event

from db import commitments, deliveries, peers
from dicom_node.errors import NotAuthorized
from dicom_node.node import Node
from dicom_node.status import COMMITMENT, NO_SUCH_ACTION, SUCCESS, failure, status_of
from regionmir.core.errors import InvalidIdentifier, origin
from regionmir.core.records import Disclosure
from regionmir.scu.commitment import REQUEST, read_report, read_request

log = structlog.get_logger(__name__)


def handle_action(event: Event, node: Node) -> tuple[int | Dataset, None]:
    """Return Success once a request is durably noted; what is kept is found out, and told, later."""
    if event.action_type != REQUEST:
        return failure(NO_SUCH_ACTION, "only Action Type 1, request storage commitment"), None
    try:
        _note(event, node)
    except Exception as error:
        return _refused(event, error), None
    return SUCCESS, None


def handle_report(event: Event, node: Node) -> tuple[int | Dataset, None]:
    """Return Success once it is noted what a destination of ours keeps; what is not ours is passed over."""
    try:
        report = read_report(event.event_information)
        caller = node.caller_of(event)
        with node.database.session() as session:
            changed = deliveries.commitment_answered(
                session,
                report.transaction_uid,
                caller.ae_title,
                committed=[reference.sop_instance_uid for reference in report.committed],
                refused={reference.sop_instance_uid: why for reference, why in report.failed.items()},
            )
        log.info("storage commitment reported", peer=caller.ae_title, deliveries=changed)
    except Exception as error:
        return _refused(event, error), None
    return SUCCESS, None


def _note(event: Event, node: Node) -> None:
    """Note the request. Raises `InvalidIdentifier`, `NotAuthorized` (also where the report could not be sent)."""
    caller = node.caller_of(event)
    if not (caller.rights.store and caller.rights.commit):
        raise NotAuthorized("no right to storage commitment")
    request = read_request(event.action_information)
    with node.database.session() as session:
        peer = peers.get(session, caller.ae_title)
        if peer is None or not peer.is_destination or not caller.registered:
            raise NotAuthorized("this AE has no host and port here to be told at")
        commitments.add(
            session,
            request.transaction_uid,
            caller.ae_title,
            identified=caller.disclosure is Disclosure.IDENTIFIED,
            references=[(reference.sop_class_uid, reference.sop_instance_uid) for reference in request.references],
        )


def _refused(event: Event, error: Exception) -> Dataset:
    if not isinstance(error, NotAuthorized | InvalidIdentifier):
        log.error("storage commitment failed", error=type(error).__name__, at=origin(error))
    status = status_of(error, COMMITMENT)
    log.warning("storage commitment refused", status=f"{status.Status:04X}", peer=event.assoc.requestor.ae_title)
    return status
