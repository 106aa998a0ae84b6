"""Syslog lines and where they go."""

import re

import pytest

from regionmir.core.errors import ConfigurationError
from regionmir.core.syslog import SyslogTarget, framed, parse_syslog_target, syslog_line


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("udp://logs.example:514", SyslogTarget("udp", "logs.example", 514)),
        (" tls://[fe80::1]:6514/ ", SyslogTarget("tls", "fe80::1", 6514)),
    ],
)
def test_a_server_is_read_and_written_alike(text: str, target: SyslogTarget) -> None:
    assert parse_syslog_target(text) == target
    assert parse_syslog_target(str(target)) == target


@pytest.mark.parametrize("text", ["", "logs:514", "tcp://logs:514", "udp://logs", "udp://logs:0", "udp://logs:99999"])
def test_what_names_no_server_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="udp://host:514"):
        parse_syslog_target(text)


def test_a_line_is_of_rfc_5424_and_marked_as_a_dicom_audit_message() -> None:
    line = syslog_line("<AuditMessage/>é", at="2026-11-25T12:00:00.000000Z", host="näme x", process_id="7")
    pattern = rb"<85>1 2026-11-25T12:00:00\.000000Z n-me-x regionmir 7 DICOM\+RFC3881 - \xef\xbb\xbf<AuditMessage/>(.*)"
    found = re.fullmatch(pattern, line)
    assert found is not None
    assert found[1].decode() == "é"
    assert framed(line) == str(len(line)).encode() + b" " + line
