"""Audit messages as syslog lines: RFC 5424, over UDP (RFC 5426) or TLS (RFC 5425), as PS3.15 A.6 and A.7 want it."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from regionmir.core.errors import ConfigurationError

PRIORITY: Final = 10 * 8 + 5
"""Facility 10, security/authorization; severity 5, notice (RFC 5424 6.2.1, PS3.15 A.6)."""

MESSAGE_ID: Final = "DICOM+RFC3881"
"""MSGID that says that the message is of PS3.15 A.5.1."""

_TARGET = re.compile(r"(?P<way>udp|tls)://(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:/\[\]\s]+)):(?P<port>[0-9]{1,5})/?")
_NOT_PRINTABLE = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class SyslogTarget:
    """A syslog server."""

    way: Literal["udp", "tls"]
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.way}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_syslog_target(text: str) -> SyslogTarget:
    """Return the server written as `udp://host:514` or `tls://host:6514`. Raises `ConfigurationError`."""
    match = _TARGET.fullmatch(text.strip())
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ConfigurationError(f"audit_syslog must look like udp://host:514 or tls://host:6514, not {text[:60]!r}")
    way: Literal["udp", "tls"] = "udp" if match["way"] == "udp" else "tls"
    return SyslogTarget(way, match["v6"] or match["host"], int(match["port"]))


def syslog_line(message: str, *, at: str, host: str, process_id: str) -> bytes:
    """Return one message with its header; `at` is an RFC 3339 time. The byte order mark says that it is UTF-8."""
    name = _NOT_PRINTABLE.sub("-", host)[:255] or "-"
    header = f"<{PRIORITY}>1 {at} {name} regionmir {process_id} {MESSAGE_ID} - "
    return header.encode("ascii") + b"\xef\xbb\xbf" + message.encode()


def framed(line: bytes) -> bytes:
    """Return a line for a stream: behind its length in bytes (RFC 5425 4.3)."""
    return str(len(line)).encode("ascii") + b" " + line
