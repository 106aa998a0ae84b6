"""Where a peer is, and how long we wait for it."""

import re
from dataclasses import dataclass

from regionmir.core.errors import InvalidIdentifier
from regionmir.core.identifiers import AETitle, parse_ae_title

_ADDRESS = re.compile(r"(?P<ae>[^@]+)@(\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A DICOM peer: its AE title, host name or IP address, and TCP port."""

    ae_title: AETitle
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for: the TCP connection, an association message, a DIMSE message, any byte at all."""

    connect_s: float = 10.0
    acse_s: float = 30.0
    dimse_s: float = 60.0
    network_s: float = 60.0


DEFAULT_TIMEOUTS = Timeouts()


def parse_peer(text: str) -> PeerAddress:
    """Return the peer written as `AE@host:port` (IPv6 in brackets). Raises `InvalidIdentifier`."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise InvalidIdentifier(f"not a peer: {text[:80]!r}; write AE@host:port, as in REGIONMIR@127.0.0.1:11112")
    return PeerAddress(parse_ae_title(match["ae"]), match["v6"] or match["host"], int(match["port"]))
