"""Where a peer is, and how long we wait for it."""

import re
from dataclasses import dataclass
from typing import Protocol

from regionmir.core.errors import InvalidIdentifier
from regionmir.core.identifiers import AETitle, parse_ae_title
from regionmir.core.tls import TlsFiles

_ADDRESS = re.compile(r"(?P<ae>[^@]+)@(\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class PeerTls:
    """How a peer is called over TLS. `certificate` names its certificate; empty: one in the name of its host."""

    files: TlsFiles
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A DICOM peer: its AE title, host name or IP address, and TCP port; `tls`: None for plain TCP."""

    ae_title: AETitle
    host: str
    port: int
    tls: PeerTls | None = None

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


class Registered(Protocol):
    """What is registered of a peer."""

    @property
    def ae_title(self) -> AETitle: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def tls(self) -> bool: ...
    @property
    def certificate(self) -> str: ...


def address_of(peer: Registered, files: TlsFiles) -> PeerAddress:
    """Return where a registered peer is called, and how; port 0 where it has none. `files` are for TLS."""
    tls = PeerTls(files, peer.certificate) if peer.tls else None
    return PeerAddress(peer.ae_title, peer.host, peer.port or 0, tls)


def parse_peer(text: str) -> PeerAddress:
    """Return the peer written as `AE@host:port` (IPv6 in brackets). Raises `InvalidIdentifier`."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise InvalidIdentifier(f"not a peer: {text[:80]!r}; write AE@host:port, as in REGIONMIR@127.0.0.1:11112")
    return PeerAddress(parse_ae_title(match["ae"]), match["v6"] or match["host"], int(match["port"]))
