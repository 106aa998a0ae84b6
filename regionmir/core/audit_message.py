"""DICOM audit messages as values, and the XML that says them (PS3.15 A.5.1, A.5.2)."""

import base64
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from xml.etree import ElementTree

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold (its section 2.2)."""


class Action(StrEnum):
    """EventActionCode."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(StrEnum):
    """EventOutcomeIndicator."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: csd-code, codeSystemName, originalText."""

    value: str
    meaning: str
    system: str = "DCM"


@dataclass(frozen=True, slots=True)
class Participant:
    """An ActiveParticipant: a person, process or node that took part."""

    user_id: str
    is_requestor: bool
    role: Code | None = None
    ae_titles: tuple[str, ...] = ()
    address: str = ""
    """IP address; empty where there is none."""


@dataclass(frozen=True, slots=True)
class AuditedObject:
    """A ParticipantObjectIdentification: what the event was about."""

    id: str
    id_type: Code
    type_code: str
    """1 person, 2 system object."""
    role: str
    """ParticipantObjectTypeCodeRole (A.5.1.2.2)."""
    name: str = ""
    query: bytes | None = None
    """Stands in the place of the name."""
    details: Mapping[str, bytes] = field(default_factory=dict)
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    """How many instances of which SOP class."""
    anonymized: bool | None = None


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """One event. `types` are EventTypeCodes; `why` describes an outcome that is no success."""

    event: Code
    action: Action
    participants: tuple[Participant, ...]
    objects: tuple[AuditedObject, ...] = ()
    types: tuple[Code, ...] = ()
    outcome: Outcome = Outcome.SUCCESS
    why: str = ""


def to_xml(message: AuditMessage, *, source: str, at: dt.datetime) -> str:
    """Return the message as `source` (AuditSourceID) reports it; `at` has a time zone."""
    root = ElementTree.Element("AuditMessage")
    _event(root, message, at)
    for participant in message.participants:
        _participant(root, participant)
    reporter = ElementTree.SubElement(root, "AuditSourceIdentification", AuditSourceID=_text(source))
    ElementTree.SubElement(reporter, "AuditSourceTypeCode", {"csd-code": "4"})  # application server process
    for audited in message.objects:
        _object(root, audited)
    return ElementTree.tostring(root, encoding="unicode")


def _event(root: ElementTree.Element, message: AuditMessage, at: dt.datetime) -> None:
    attributes = {
        "EventActionCode": message.action.value,
        "EventDateTime": at.astimezone(dt.UTC).isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": message.outcome.value,
    }
    event = ElementTree.SubElement(root, "EventIdentification", attributes)
    _code(event, "EventID", message.event)
    for kind in message.types:
        _code(event, "EventTypeCode", kind)
    if message.why:
        ElementTree.SubElement(event, "EventOutcomeDescription").text = _text(message.why)


def _participant(root: ElementTree.Element, participant: Participant) -> None:
    attributes = {"UserID": _text(participant.user_id), "UserIsRequestor": _boolean(participant.is_requestor)}
    if participant.ae_titles:
        attributes["AlternativeUserID"] = _text("AETITLES=" + ";".join(participant.ae_titles))
    if participant.address:
        attributes |= {"NetworkAccessPointID": _text(participant.address), "NetworkAccessPointTypeCode": "2"}
    made = ElementTree.SubElement(root, "ActiveParticipant", attributes)
    if participant.role is not None:
        _code(made, "RoleIDCode", participant.role)


def _object(root: ElementTree.Element, audited: AuditedObject) -> None:
    attributes = {
        "ParticipantObjectID": _text(audited.id),
        "ParticipantObjectTypeCode": audited.type_code,
        "ParticipantObjectTypeCodeRole": audited.role,
    }
    made = ElementTree.SubElement(root, "ParticipantObjectIdentification", attributes)
    _code(made, "ParticipantObjectIDTypeCode", audited.id_type)
    if audited.query is not None:
        ElementTree.SubElement(made, "ParticipantObjectQuery").text = _base64(audited.query)
    else:
        ElementTree.SubElement(made, "ParticipantObjectName").text = _text(audited.name or audited.id)
    for kind, value in audited.details.items():
        ElementTree.SubElement(made, "ParticipantObjectDetail", type=kind, value=_base64(value))
    if audited.sop_classes:
        _description(made, audited)


def _description(made: ElementTree.Element, audited: AuditedObject) -> None:
    description = ElementTree.SubElement(made, "ParticipantObjectDescription")
    for uid, count in audited.sop_classes.items():
        ElementTree.SubElement(description, "SOPClass", UID=_text(uid), NumberOfInstances=str(count))
    if audited.anonymized is not None:
        ElementTree.SubElement(description, "Anonymized").text = _boolean(audited.anonymized)


def _code(parent: ElementTree.Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning}
    ElementTree.SubElement(parent, name, attributes)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _text(value: str) -> str:
    return _NOT_XML.sub("\ufffd", value)
