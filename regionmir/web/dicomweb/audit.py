"""What DICOMweb adds to the audit trail: searches, retrieved and received instances (PS3.15 A.5.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from db.engine import Session
from db.retrieve import StoredInstance
from regionmir.core.audit_events import Asked, Endpoint, Transfer
from regionmir.core.audit_message import Action
from regionmir.core.errors import origin
from regionmir.core.records import Caller, Disclosure, InstanceHeader
from regionmir.query import dicom_audit, trail
from regionmir.web.dicomweb.service import Service

log = structlog.get_logger(__name__)

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
"""The information model that QIDO-RS searches (PS3.18 10.6)."""


@dataclass(frozen=True, slots=True)
class Received:
    """An instance that came; `held`: we had it already."""

    patient_id: str
    study_instance_uid: str
    sop_class_uid: str
    held: bool


def searched(session: Session, service: Service, caller: Caller, url: str) -> None:
    """Record a search of an identified caller in the transaction that answers it."""
    dicom_audit.record_query(session, caller, _us(service), Asked(STUDY_ROOT_FIND, url.encode()))


def begins(session: Session, service: Service, caller: Caller, instances: Sequence[StoredInstance]) -> None:
    """Record who is about to get which instances; commit before anything is sent."""
    copies = caller.disclosure is Disclosure.PSEUDONYMOUS
    studies = [one.study_instance_uid for one in instances]
    trail.record_retrieve(session, caller, caller.ae_title, caller.disclosure, studies, instances=len(instances))
    dicom_audit.record_begin(session, _to(service, caller), instances, anonymized=copies)


def sent(service: Service, caller: Caller, instances: Sequence[StoredInstance]) -> None:
    """Record that an answer has been sent. Where that fails, the log says so: that it began is recorded."""
    copies = caller.disclosure is Disclosure.PSEUDONYMOUS
    try:
        with service.archive.database.session() as session:
            dicom_audit.record_transferred(session, _to(service, caller), instances, anonymized=copies)
    except Exception as error:
        log.error("transfer not audited", error=type(error).__name__, at=origin(error))


def received(service: Service, caller: Caller, instances: Sequence[Received]) -> None:
    """Record what a request has brought. Where that fails, the log says so: the instances are filed."""
    if not instances:
        return
    transfer = Transfer(dicom_audit.endpoint_of(caller), _us(service), dicom_audit.endpoint_of(caller))
    try:
        with service.archive.database.session() as session:
            for held, action in ((False, Action.CREATE), (True, Action.READ)):
                brought = [one for one in instances if one.held is held]
                dicom_audit.record_transferred(session, transfer, brought, action=action)
    except Exception as error:
        log.error("reception not audited", error=type(error).__name__, at=origin(error))


def received_from(header: InstanceHeader, *, held: bool) -> Received:
    """Return what is remembered of an instance until the request is answered."""
    return Received(header.patient_id, header.study_instance_uid, header.sop_class_uid, held)


def _us(service: Service) -> Endpoint:
    return Endpoint(service.archive.settings.ae_title)


def _to(service: Service, caller: Caller) -> Transfer:
    asker = dicom_audit.endpoint_of(caller)
    return Transfer(_us(service), asker, asker)
