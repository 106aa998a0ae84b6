"""The audit messages that we write, one function each (PS3.15 A.5.3), with the codes of PS3.16 CID 400 to 405."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from regionmir.core.audit_message import Action, AuditedObject, AuditMessage, Code, Outcome, Participant

APPLICATION_ACTIVITY: Final = Code("110100", "Application Activity")
AUDIT_LOG_USED: Final = Code("110101", "Audit Log Used")
BEGIN_TRANSFERRING: Final = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED: Final = Code("110105", "DICOM Study Deleted")
QUERY: Final = Code("110112", "Query")
SECURITY_ALERT: Final = Code("110113", "Security Alert")
USER_AUTHENTICATION: Final = Code("110114", "User Authentication")

APPLICATION_START: Final = Code("110120", "Application Start")
APPLICATION_STOP: Final = Code("110121", "Application Stop")
LOGIN: Final = Code("110122", "Login")
LOGOUT: Final = Code("110123", "Logout")
NODE_AUTHENTICATION: Final = Code("110126", "Node Authentication")
NETWORK_CONFIGURATION: Final = Code("110128", "Network Configuration")
SECURITY_CONFIGURATION: Final = Code("110129", "Security Configuration")
USE_OF_RESTRICTED_FUNCTION: Final = Code("110132", "Use of Restricted Function")

APPLICATION: Final = Code("110150", "Application")
DESTINATION: Final = Code("110152", "Destination Role ID")
SOURCE: Final = Code("110153", "Source Role ID")

STUDY_INSTANCE_UID: Final = Code("110180", "Study Instance UID")
SOP_CLASS_UID: Final = Code("110181", "SOP Class UID")
NODE_ID: Final = Code("110182", "Node ID")
PATIENT_NUMBER: Final = Code("2", "Patient Number", "RFC-3881")
URI: Final = Code("12", "URI", "RFC-3881")

ALERTS: Final[Mapping[str, Code]] = {
    "peer added": SECURITY_CONFIGURATION,
    "peer removed": SECURITY_CONFIGURATION,
    "pacs added": NETWORK_CONFIGURATION,
    "pacs removed": NETWORK_CONFIGURATION,
    "anchor refused": USE_OF_RESTRICTED_FUNCTION,
    "instance refused": USE_OF_RESTRICTED_FUNCTION,
    "rejection refused": USE_OF_RESTRICTED_FUNCTION,
}
"""Kinds of event that are a Security Alert, and of which type, where whoever records them has no message."""

LONGEST_QUERY: Final = 16 << 10
"""Bytes of an Identifier that are kept: a syslog message holds 32 KiB for certain (RFC 5424 6.1, PS3.15 A.6)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a transfer: an AE title, or the name of a person or process, and an IP address where known."""

    name: str
    address: str = ""
    is_ae: bool = True

    def as_participant(self, role: Code | None = None, *, is_requestor: bool = False) -> Participant:
        """Return the active participant that it is."""
        return Participant(self.name, is_requestor, role, (self.name,) if self.is_ae else (), self.address)


@dataclass(frozen=True, slots=True)
class Transfer:
    """From where, to where, and who asked for it; `requestor` is one of the two or a third."""

    source: Endpoint
    destination: Endpoint
    requestor: Endpoint

    def participants(self) -> tuple[Participant, ...]:
        """Return the active participants; one of them, and no other, is the requestor."""
        made = [
            end.as_participant(role, is_requestor=end == self.requestor)
            for end, role in ((self.source, SOURCE), (self.destination, DESTINATION))
        ]
        if self.requestor not in (self.source, self.destination):
            made.append(self.requestor.as_participant(is_requestor=True))
        return tuple(made)


@dataclass(frozen=True, slots=True)
class Study:
    """What of one study: how many instances by SOP class; `anonymized`: as pseudonymous copies, None: unknown."""

    study_instance_uid: str
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    anonymized: bool | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as it came: SOP class, encoded Identifier, transfer syntax; or a URL, which has no transfer syntax."""

    sop_class_uid: str
    identifier: bytes
    transfer_syntax_uid: str = ""


def application_activity(process: Endpoint, *, started: bool) -> AuditMessage:
    """Return that a process of ours started or stopped (A.5.3.1)."""
    kind = APPLICATION_START if started else APPLICATION_STOP
    return AuditMessage(APPLICATION_ACTIVITY, Action.EXECUTE, (process.as_participant(APPLICATION),), types=(kind,))


def audit_log_used(user: Endpoint) -> AuditMessage:
    """Return that somebody read the audit trail (A.5.3.2)."""
    log = AuditedObject("urn:regionmir:audit", URI, "2", "13", name="Security Audit Log")
    return AuditMessage(AUDIT_LOG_USED, Action.READ, (user.as_participant(is_requestor=True),), (log,))


def begin_transferring(transfer: Transfer, patient_id: str, studies: Sequence[Study]) -> AuditMessage:
    """Return that instances of one patient are about to be sent (A.5.3.3)."""
    return AuditMessage(BEGIN_TRANSFERRING, Action.EXECUTE, transfer.participants(), _objects(patient_id, studies))


def instances_accessed(
    user: Endpoint, patient_id: str, studies: Sequence[Study], action: Action = Action.READ
) -> AuditMessage:
    """Return that somebody looked at, or changed, instances of one patient (A.5.3.4)."""
    participants = (user.as_participant(is_requestor=True),)
    return AuditMessage(INSTANCES_ACCESSED, action, participants, _objects(patient_id, studies))


def study_deleted(user: Endpoint, patient_id: str, studies: Sequence[Study]) -> AuditMessage:
    """Return that somebody deleted whole studies of one patient (A.5.3.8)."""
    participants = (user.as_participant(is_requestor=True),)
    return AuditMessage(STUDY_DELETED, Action.DELETE, participants, _objects(patient_id, studies))


def instances_transferred(
    transfer: Transfer,
    patient_id: str,
    studies: Sequence[Study],
    *,
    action: Action = Action.READ,
    outcome: Outcome = Outcome.SUCCESS,
    why: str = "",
) -> AuditMessage:
    """Return that instances of one patient were sent or received (A.5.3.5).

    `action` is C where we received what we had not; R where we cannot know what the receiver had.
    """
    objects = _objects(patient_id, studies)
    return AuditMessage(INSTANCES_TRANSFERRED, action, transfer.participants(), objects, outcome=outcome, why=why)


def query(asker: Endpoint, answerer: Endpoint, asked: Asked) -> AuditMessage:
    """Return that somebody queried us (A.5.3.10); whoever asks is the source role of a query."""
    participants = (
        asker.as_participant(SOURCE, is_requestor=True),
        answerer.as_participant(DESTINATION),
    )
    searched = AuditedObject(
        asked.sop_class_uid,
        SOP_CLASS_UID,
        "2",
        "3",
        query=asked.identifier[:LONGEST_QUERY],
        details={"TransferSyntax": asked.transfer_syntax_uid.encode()} if asked.transfer_syntax_uid else {},
    )
    return AuditMessage(QUERY, Action.EXECUTE, participants, (searched,))


def security_alert(
    kind: Code, reporter: Endpoint, subject: str, description: str, *, outcome: Outcome = Outcome.SERIOUS_FAILURE
) -> AuditMessage:
    """Return that something about security happened to, or was done by, the node `subject` (A.5.3.11)."""
    alert = AuditedObject(
        subject or "unknown", NODE_ID, "2", "13", details={"Alert Description": description.encode("utf-8", "replace")}
    )
    why = "" if outcome is Outcome.SUCCESS else description
    participants = (reporter.as_participant(),)
    return AuditMessage(SECURITY_ALERT, Action.EXECUTE, participants, (alert,), types=(kind,), outcome=outcome, why=why)


def user_authentication(user: Endpoint, node: Endpoint, *, login: bool, success: bool = True) -> AuditMessage:
    """Return that somebody signed in or out, or tried to (A.5.3.12). `user.address`: where from."""
    return AuditMessage(
        USER_AUTHENTICATION,
        Action.EXECUTE,
        (user.as_participant(is_requestor=True), node.as_participant()),
        types=(LOGIN if login else LOGOUT,),
        outcome=Outcome.SUCCESS if success else Outcome.MINOR_FAILURE,
    )


def of_kind(kind: str, actor: str, address: str, detail: Mapping[str, Any]) -> AuditMessage | None:
    """Return the Security Alert that an event of this kind is; None where the standard has no message for it."""
    alert = ALERTS.get(kind)
    if alert is None:
        return None
    outcome = Outcome.SERIOUS_FAILURE if kind.endswith("refused") else Outcome.SUCCESS
    reporter = Endpoint(actor or "unknown", address, is_ae=actor != "operator")
    subject = str(detail.get("ae_title") or detail.get("name") or actor)
    description = f"{kind}: {json.dumps(dict(detail), ensure_ascii=False, sort_keys=True, default=str)}"
    return security_alert(alert, reporter, subject, description, outcome=outcome)


def _objects(patient_id: str, studies: Sequence[Study]) -> tuple[AuditedObject, ...]:
    return (
        *(
            AuditedObject(
                one.study_instance_uid,
                STUDY_INSTANCE_UID,
                "2",
                "3",
                sop_classes=one.sop_classes,
                anonymized=one.anonymized,
            )
            for one in studies
        ),
        AuditedObject(patient_id or "unknown", PATIENT_NUMBER, "1", "1"),
    )
