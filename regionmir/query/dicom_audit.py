"""Queries and transfers as DICOM audit messages, in the transaction of the answer: commit before anything is sent.

These rows of the audit trail hold what PS3.15 A.5.3 wants them to: the keys of a query, PatientID, UIDs.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from db import audit
from db.retrieve import StoredInstance
from regionmir.core import audit_events
from regionmir.core.audit_events import Asked, Endpoint, Study, Transfer
from regionmir.core.audit_message import Action, AuditMessage, Outcome
from regionmir.core.records import Caller, Disclosure

if TYPE_CHECKING:
    from db.engine import Session


class Moved(Protocol):
    """What is told of an instance that is sent or received."""

    @property
    def patient_id(self) -> str: ...
    @property
    def study_instance_uid(self) -> str: ...
    @property
    def sop_class_uid(self) -> str: ...


def record_query(session: "Session", caller: Caller, answerer: Endpoint, asked: Asked) -> None:
    """Record a query of somebody who is shown identities."""
    if caller.disclosure is not Disclosure.IDENTIFIED:
        return
    message = audit_events.query(endpoint_of(caller), answerer, asked)
    detail = {"sop_class": asked.sop_class_uid}
    audit.record(session, "query", actor=caller.actor, address=caller.address, detail=detail, message=message)


def record_begin(session: "Session", transfer: Transfer, instances: Sequence[Moved], *, anonymized: bool) -> None:
    """Record that instances are about to be sent: one event for each patient."""
    for patient_id, studies in by_patient(instances, anonymized=anonymized):
        message = audit_events.begin_transferring(transfer, patient_id, studies)
        _record(session, "transfer begins", transfer, studies, message)


def record_transferred(
    session: "Session",
    transfer: Transfer,
    instances: Sequence[Moved],
    *,
    anonymized: bool | None = None,
    action: Action = Action.READ,
    why: str = "",
) -> None:
    """Record that instances were sent or received; with `why`, that they were not. One event for each patient."""
    outcome = Outcome.MINOR_FAILURE if why else Outcome.SUCCESS
    for patient_id, studies in by_patient(instances, anonymized=anonymized):
        message = audit_events.instances_transferred(
            transfer, patient_id, studies, action=action, outcome=outcome, why=why
        )
        _record(session, "instances not transferred" if why else "instances transferred", transfer, studies, message)


def record_accessed(session: "Session", user: Endpoint, instances: Sequence[StoredInstance], *, how: str) -> None:
    """Record that somebody was shown instances, and who they are of: one event for each patient."""
    for patient_id, studies in by_patient(instances, anonymized=False):
        message = audit_events.instances_accessed(user, patient_id, studies)
        detail = {"how": how, "instance_pks": [one.pk for one in instances if one.patient_id == patient_id]}
        audit.record(session, "instances shown", actor=user.name, address=user.address, detail=detail, message=message)


def by_patient(instances: Iterable[Moved], *, anonymized: bool | None) -> list[tuple[str, list[Study]]]:
    """Return by PatientID the studies, and how many instances of which SOP class are of each."""
    counted = Counter((one.patient_id, one.study_instance_uid, one.sop_class_uid) for one in instances)
    found = []
    for patient_id, of_patient in groupby(sorted(counted.items()), key=lambda item: item[0][0]):
        studies = [
            Study(uid, {sop_class: count for (_, _, sop_class), count in of_study}, anonymized)
            for uid, of_study in groupby(of_patient, key=lambda item: item[0][1])
        ]
        found.append((patient_id, studies))
    return found


def endpoint_of(caller: Caller) -> Endpoint:
    """Return the caller as a side of a transfer."""
    return Endpoint(caller.actor, caller.address, is_ae=not caller.user)


def _record(session: "Session", kind: str, transfer: Transfer, studies: Sequence[Study], message: AuditMessage) -> None:
    requestor = transfer.requestor
    instances = sum(sum(one.sop_classes.values()) for one in studies)
    detail = {"from": transfer.source.name, "to": transfer.destination.name, "instances": instances}
    audit.record(session, kind, actor=requestor.name, address=requestor.address, detail=detail, message=message)
