"""Audit messages are what PS3.15 A.5 says, whatever is in the values."""

import base64
import datetime as dt
from xml.etree import ElementTree

import pytest

from regionmir.core import audit_events
from regionmir.core.audit_events import Asked, Endpoint, Study, Transfer
from regionmir.core.audit_message import Action, AuditMessage, Outcome, to_xml
from tests.support.audit_schema import broken_rules, faults

NODE, PACS, VIEWER = Endpoint("REGIONMIR"), Endpoint("PACS", "10.0.0.2"), Endpoint("VIEWER", "10.0.0.3")
STUDIES = [Study("1.2.3", {"1.2.840.10008.5.1.4.1.1.1": 2}, anonymized=True), Study("1.2.4")]
ASKED = Asked("1.2.840.10008.5.1.4.1.2.2.1", b"\x08\x00\x52\x00keys", "1.2.840.10008.1.2")
BY_MOVE = Transfer(NODE, PACS, VIEWER)

MESSAGES = {
    "start": audit_events.application_activity(NODE, started=True),
    "stop": audit_events.application_activity(NODE, started=False),
    "log used": audit_events.audit_log_used(Endpoint("root", is_ae=False)),
    "begin": audit_events.begin_transferring(BY_MOVE, "4711", STUDIES),
    "got": audit_events.begin_transferring(Transfer(NODE, VIEWER, VIEWER), "4711", STUDIES),
    "sent": audit_events.instances_transferred(BY_MOVE, "", STUDIES),
    "not sent": audit_events.instances_transferred(
        BY_MOVE, "4711", STUDIES, outcome=Outcome.MINOR_FAILURE, why="the peer refused"
    ),
    "received": audit_events.instances_transferred(Transfer(PACS, NODE, PACS), "4711", STUDIES, action=Action.CREATE),
    "corrected": audit_events.instances_accessed(PACS, "4711", STUDIES, Action.UPDATE),
    "query": audit_events.query(VIEWER, NODE, ASKED),
    "alert": audit_events.security_alert(audit_events.NODE_AUTHENTICATION, NODE, "10.0.0.9", "certificate expired"),
    "login": audit_events.user_authentication(Endpoint("ann", "10.0.0.4", is_ae=False), NODE, login=True),
    "no login": audit_events.user_authentication(
        Endpoint("ann", "10.0.0.4", is_ae=False), NODE, login=True, success=False
    ),
    **{kind: audit_events.of_kind(kind, "operator", "", {"name": "X"}) for kind in audit_events.ALERTS},
}


def xml(message: AuditMessage | None) -> str:
    assert message is not None
    return to_xml(message, source="regionmir-node@host", at=dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC))


@pytest.mark.parametrize("name", MESSAGES)
def test_each_message_fits_the_schema_and_the_rules_of_its_kind(name: str) -> None:
    assert faults(xml(MESSAGES[name])) == []
    assert broken_rules(xml(MESSAGES[name])) == []


def test_the_check_itself_finds_what_is_wrong() -> None:
    good = xml(MESSAGES["query"])
    assert faults(good.replace("UserIsRequestor", "Requestor"))
    assert faults(good.replace("ParticipantObjectQuery", "ParticipantObjectWhat"))
    assert faults(good.replace("EventDateTime=", "When="))
    assert broken_rules(good.replace('UserIsRequestor="true"', 'UserIsRequestor="false"'))
    assert broken_rules(good.replace('csd-code="110153"', 'csd-code="110152"'))


def test_hostile_values_stay_values() -> None:
    name = '"/><Evil a="\0\x1b\ud800]]>'
    made = audit_events.security_alert(audit_events.NODE_AUTHENTICATION, NODE, name, name)
    text = xml(made)
    assert ElementTree.fromstring(text.encode("utf-8")).find(".//Evil") is None
    detail = ElementTree.fromstring(text).find(".//ParticipantObjectDetail")
    assert detail is not None
    assert b"<Evil" in base64.b64decode(detail.get("value", ""))


def test_a_query_holds_its_keys_as_they_came_and_no_more_than_syslog_can_carry() -> None:
    long = Asked(ASKED.sop_class_uid, b"x" * 100_000, ASKED.transfer_syntax_uid)
    text = xml(audit_events.query(VIEWER, NODE, long))
    assert len(text) < 32_768
    kept = ElementTree.fromstring(xml(MESSAGES["query"])).findtext(".//ParticipantObjectQuery", "")
    assert base64.b64decode(kept) == ASKED.identifier


def test_what_the_standard_has_no_message_for_has_none() -> None:
    assert audit_events.of_kind("reindex", "operator", "", {}) is None
