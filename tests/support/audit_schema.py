"""The audit message schema of PS3.15 A.5.1.1 as tables, and the rules of A.5.3 for each message, for checking XML.

The standard gives the schema in RELAX NG compact syntax; what it says of each element is one line here.
"""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

Test = Callable[[str], bool]


def one_of(*values: str) -> Test:
    return lambda text: text in values


def token(text: str) -> bool:
    return text == " ".join(text.split())


def anything(text: str) -> bool:
    return True


def boolean(text: str) -> bool:
    return text in ("true", "false", "0", "1")


def integer(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", text) is not None


def date_time(text: str) -> bool:
    """xsd:dateTime with the time zone that A.5.2.5 wants."""
    return dt.datetime.fromisoformat(text).tzinfo is not None


def base64_binary(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


def numbers(first: int, last: int) -> Test:
    return one_of(*(str(number) for number in range(first, last + 1)))


@dataclass(frozen=True)
class Element:
    """Attributes (a trailing `?`: optional), the children as a pattern over their names, the test of its text."""

    attributes: dict[str, Test]
    children: str = ""
    text: Test | None = None


CODED = {"csd-code": token, "codeSystemName": token, "displayName?": token, "originalText": token}

SCHEMA = {
    "AuditMessage": Element(
        {}, "EventIdentification (ActiveParticipant )+AuditSourceIdentification (ParticipantObjectIdentification )*"
    ),
    "EventIdentification": Element(
        {
            "EventActionCode?": one_of(*"CRUDE"),
            "EventDateTime": date_time,
            "EventOutcomeIndicator": one_of("0", "4", "8", "12"),
        },
        "EventID (EventTypeCode )*(EventOutcomeDescription )?",
    ),
    "EventID": Element(CODED),
    "EventTypeCode": Element(CODED),
    "EventOutcomeDescription": Element({}, text=anything),
    "ActiveParticipant": Element(
        {
            "UserID": anything,
            "AlternativeUserID?": anything,
            "UserName?": anything,
            "UserIsRequestor": boolean,
            "NetworkAccessPointID?": token,
            "NetworkAccessPointTypeCode?": numbers(1, 5),
        },
        "(RoleIDCode )*(MediaIdentifier )?",
    ),
    "RoleIDCode": Element(CODED),
    "AuditSourceIdentification": Element(
        {"AuditEnterpriseSiteID?": token, "AuditSourceID": token}, "(AuditSourceTypeCode )*"
    ),
    "AuditSourceTypeCode": Element(
        {"csd-code": numbers(1, 9), "codeSystemName?": token, "displayName?": token, "originalText?": token}
    ),
    "ParticipantObjectIdentification": Element(
        {
            "ParticipantObjectID": token,
            "ParticipantObjectTypeCode?": numbers(1, 4),
            "ParticipantObjectTypeCodeRole?": numbers(1, 26),
            "ParticipantObjectDataLifeCycle?": numbers(1, 15),
            "ParticipantObjectSensitivity?": token,
        },
        "ParticipantObjectIDTypeCode (ParticipantObjectName |ParticipantObjectQuery )"
        "(ParticipantObjectDetail )*(ParticipantObjectDescription )*",
    ),
    "ParticipantObjectIDTypeCode": Element(CODED),
    "ParticipantObjectName": Element({}, text=token),
    "ParticipantObjectQuery": Element({}, text=base64_binary),
    "ParticipantObjectDetail": Element({"type": token, "value": base64_binary}),
    "ParticipantObjectDescription": Element(
        {}, "(MPPS )*(Accession )*(SOPClass )*(ParticipantObjectContainsStudy )?(Encrypted )?(Anonymized )?"
    ),
    "SOPClass": Element({"UID?": token, "NumberOfInstances": integer}, "(Instance )*"),
    "Anonymized": Element({}, text=boolean),
}


def faults(xml: str) -> list[str]:
    """Return what in a message is not as the schema has it."""
    root = ElementTree.fromstring(xml)
    found = [] if root.tag == "AuditMessage" else [f"the root is {root.tag}"]
    return found + [fault for element in root.iter() for fault in _faults(element)]


def _faults(element: ElementTree.Element) -> list[str]:
    rule = SCHEMA.get(element.tag)
    if rule is None:
        return [f"{element.tag} is not of the schema"]
    found = []
    for name, test in rule.attributes.items():
        value = element.get(name.removesuffix("?"))
        if value is None and not name.endswith("?"):
            found.append(f"{element.tag} lacks {name}")
        elif value is not None and not test(value):
            found.append(f"{element.tag} {name}={value!r}")
    known = {name.removesuffix("?") for name in rule.attributes}
    found += [f"{element.tag} has {name}" for name in element.keys() if name not in known]  # noqa: SIM118
    children = "".join(child.tag + " " for child in element)
    if not re.fullmatch(rule.children, children):
        found.append(f"{element.tag} holds {children or 'nothing'}")
    content = element.text or ""
    if rule.text is None and content.strip():
        found.append(f"{element.tag} has text")
    if rule.text is not None and not rule.text(content):
        found.append(f"{element.tag} has text {content!r}")
    return found


@dataclass(frozen=True)
class Rule:
    """What A.5.3 wants of one kind of message.

    `roles`: RoleIDCode and how many participants have it; `objects`: (ParticipantObjectIDTypeCode, type code, role)
    and how many at least and at most.
    """

    actions: str
    types: tuple[str, ...] = ()
    roles: tuple[tuple[str, int], ...] = ()
    objects: tuple[tuple[tuple[str, str, str], int, int], ...] = ()
    has_requestor: bool = True


STUDY, PATIENT = ("110180", "2", "3"), ("2", "1", "1")
MANY = 1000

RULES = {
    "110100": Rule("E", ("110120", "110121"), (("110150", 1),), has_requestor=False),
    "110101": Rule("R", objects=((("12", "2", "13"), 1, 1),)),
    "110102": Rule("E", roles=(("110153", 1), ("110152", 1)), objects=((STUDY, 1, MANY), (PATIENT, 1, 1))),
    "110103": Rule("CRUD", objects=((STUDY, 1, MANY), (PATIENT, 1, 1))),
    "110104": Rule("CRU", roles=(("110153", 1), ("110152", 1)), objects=((STUDY, 1, MANY), (PATIENT, 1, 1))),
    "110112": Rule("E", roles=(("110153", 1), ("110152", 1)), objects=((("110181", "2", "3"), 1, 1),)),
    "110113": Rule(
        "E",
        ("110126", "110128", "110129", "110132"),
        objects=((("110182", "2", "13"), 0, MANY),),
        has_requestor=False,
    ),
    "110114": Rule("E", ("110122", "110123")),
}


def broken_rules(xml: str) -> list[str]:
    """Return which rules of its kind a message breaks (PS3.15 A.5.3)."""
    root = ElementTree.fromstring(xml)
    event = root.find("EventIdentification")
    assert event is not None
    rule = RULES[_codes(event, "EventID")[0]]
    found = [] if event.get("EventActionCode", "") in rule.actions else ["action"]
    types = _codes(event, "EventTypeCode")
    if bool(types) != bool(rule.types) or not set(types) <= set(rule.types):
        found.append(f"types {types}")
    participants = root.findall("ActiveParticipant")
    roles = [role for one in participants for role in _codes(one, "RoleIDCode")]
    found += [f"role {role}" for role, count in rule.roles if roles.count(role) != count]
    requestors = sum(one.get("UserIsRequestor") == "true" for one in participants)
    if requestors != int(rule.has_requestor):
        found.append(f"{requestors} requestors")
    objects = [_object_kind(one) for one in root.findall("ParticipantObjectIdentification")]
    found += [
        f"{objects.count(kind)} of {kind}"
        for kind, least, most in rule.objects
        if not least <= objects.count(kind) <= most
    ]
    found += [f"object {kind}" for kind in objects if kind not in [known for known, _, _ in rule.objects]]
    return found


def _codes(element: ElementTree.Element, name: str) -> list[str]:
    return [child.get("csd-code", "") for child in element.findall(name)]


def _object_kind(element: ElementTree.Element) -> tuple[str, str, str]:
    code = _codes(element, "ParticipantObjectIDTypeCode")[0]
    return code, element.get("ParticipantObjectTypeCode", ""), element.get("ParticipantObjectTypeCodeRole", "")
