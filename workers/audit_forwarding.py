"""Tells the audit trail to a syslog server: in the order of the chain, each event at least once.

The trail itself is the outbox: what could not be sent is sent at the next look, however long the server was away.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from db import audit_chain
from db.audit_chain import Link
from db.engine import Database
from regionmir.core.errors import PeerUnavailable
from regionmir.core.syslog import SyslogTarget, framed, syslog_line
from regionmir.core.tls import NO_TLS_FILES, TlsFiles, client_context
from regionmir.scu.tls_socket import why_not

AT_ONCE: Final = 200
TIMEOUT_S: Final = 10.0

LARGEST_DATAGRAM: Final = 65_000
"""Bytes that UDP can carry, with room for headers; a larger message is in the trail only."""

log = structlog.get_logger(__name__)

Send = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class AuditForwarder:
    """Forwards to one server."""

    database: Database
    target: SyslogTarget
    tls_files: TlsFiles = NO_TLS_FILES
    host: str = field(default_factory=socket.gethostname)

    def forward(self) -> int:
        """Send what is new, and return how many events. Where the server is away, the log says so."""
        told = 0
        try:
            while portion := self._portion():
                self._send(portion)
                told += len(portion)
        except PeerUnavailable as error:
            log.warning("audit trail not forwarded", to=str(self.target), why=str(error))
        return told

    def _portion(self) -> list[Link]:
        with self.database.session() as session:
            after = audit_chain.forwarded(session, str(self.target))
            return list(audit_chain.links(session, after=after, limit=AT_ONCE))

    def _send(self, portion: list[Link]) -> None:
        """Send the events that have a message, then note how far we are. Raises `PeerUnavailable`."""
        lines = [self._line(link) for link in portion if link.message]
        try:
            with self._opened() as send:
                for line in lines:
                    send(line)
        except OSError as error:
            raise PeerUnavailable(why_not(error)) from None
        with self.database.session() as session:
            audit_chain.note_forwarded(session, str(self.target), portion[-1].position)

    def _line(self, link: Link) -> bytes:
        return syslog_line(link.message, at=link.at, host=self.host, process_id=str(os.getpid()))

    @contextmanager
    def _opened(self) -> Iterator[Send]:
        if self.target.way == "udp":
            with _datagrams(self.target) as send:
                yield send
            return
        context = client_context(self.tls_files)
        address = (self.target.host, self.target.port)
        with (
            socket.create_connection(address, timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=self.target.host) as secured,
        ):
            yield lambda line: secured.sendall(framed(line))
            secured.unwrap()  # waits until the server has read all and says so


@contextmanager
def _datagrams(target: SyslogTarget) -> Iterator[Send]:
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    with socket.socket(family, kind, protocol) as made:

        def send(line: bytes) -> None:
            if len(line) > LARGEST_DATAGRAM:
                log.warning("audit message too large for UDP", bytes=len(line))
                return
            made.sendto(line, address)

        yield send
