"""Sockets of associations over TLS: nothing waits for bytes of the application that are not there.

A readable connection may hold only a record of TLS itself (TLS 1.3 sends session tickets after the handshake), and
bytes of the application may be decrypted already where the connection is not readable. pynetdicom takes "readable" for
"there is a PDU" and would wait for it on the thread that also has to send.
"""

import select
import socket
import ssl
from contextlib import suppress
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from regionmir.core.tls import certificate_of, matches

_RECORD_BYTES = 16 << 10
"""Most bytes in a record of TLS (RFC 8446 5.1)."""


class Lookahead:
    """Bytes of one connection that were decrypted to see whether there are any, and are not yet read."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ended = False

    def is_ready(self, connection: ssl.SSLSocket) -> bool:
        """Return whether a read would not wait. Raises `OSError` as a read does."""
        if not self._bytes and not self._ended and (connection.pending() or _is_readable(connection)):
            self._fetch(connection)
        return bool(self._bytes) or self._ended

    def recv_into(self, connection: ssl.SSLSocket, view: memoryview) -> int:
        """Read into `view`, waiting as the connection's timeout says; return how many bytes, 0 at the end."""
        if not self._bytes:
            return 0 if self._ended else connection.recv_into(view)
        count = min(len(view), len(self._bytes))
        view[:count] = self._bytes[:count]
        del self._bytes[:count]
        return count

    def _fetch(self, connection: ssl.SSLSocket) -> None:
        timeout = connection.gettimeout()
        connection.settimeout(0)
        try:
            received = connection.recv(_RECORD_BYTES)
            self._bytes += received
            self._ended = not received
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        finally:
            connection.settimeout(timeout)


def _is_readable(connection: ssl.SSLSocket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


class TlsAssociationSocket(AssociationSocket):
    """The socket of an association over TLS, or plain TCP. `failure`: what broke it, for people."""

    failure: str = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._ahead = Lookahead()
        super().__init__(*arguments, **options)

    @property
    def ready(self) -> bool:
        """Return whether there are bytes of a PDU, or the end of the connection."""
        connection = self.socket
        if not isinstance(connection, ssl.SSLSocket) or not self._is_connected:
            return bool(super().ready)
        try:
            return self._ahead.is_ready(connection)
        except (OSError, ValueError) as error:
            self.failure = why_not(error)
            self.event_queue.put("Evt17")  # transport connection closed (PS3.8 9.2.2)
            return False

    def read_into(self, view: memoryview) -> int:
        """Read into `view`; return how many bytes, 0 at the end."""
        connection = self.socket
        if isinstance(connection, ssl.SSLSocket):
            return self._ahead.recv_into(connection, view)
        return 0 if connection is None else connection.recv_into(view)

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, fewer where the connection ends."""
        received = bytearray(nr_bytes)
        at = 0
        with memoryview(received) as view:
            while at < nr_bytes and (count := self.read_into(view[at:])):
                at += count
        del received[at:]
        return received

    def _shutdown_socket(self) -> None:
        """Close the socket, also where its peer was first: pynetdicom then leaves it open."""
        if self.socket is None:
            return
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class CallingSocket(TlsAssociationSocket):
    """The socket of an association that we request over TLS. `pin` names the peer's certificate; empty: any valid."""

    context: ssl.SSLContext
    host: str
    pin: str

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect and do the handshake; `primitive` gets the outcome as an event of the upper layer (PS3.8 9.2.2)."""
        raw = self.socket
        assert raw is not None
        try:
            raw.settimeout(self.assoc.connection_timeout)
            raw.connect(primitive.address_info.as_tuple)
            self.assoc.requestor.address_info = AddressInformation.from_tuple(raw.getsockname())
            self._secure()
            self._is_connected = True
            evt.trigger(self.assoc, evt.EVT_CONN_OPEN, {"address": primitive.address_info.as_tuple})
            primitive.result = "Evt2"
        except OSError as error:
            self.failure = why_not(error)
            if self.socket is not None:
                self.socket.close()
            self.socket = None
            primitive.result = "Evt17"
        self.provider_queue.put(primitive)
        self._ready.set()

    def _secure(self) -> None:
        """Wrap the connected socket. Raises `OSError` where the peer is not who it should be."""
        connection = self.context.wrap_socket(cast(Any, self.socket), server_hostname=self.host)
        self.socket = connection
        if self.pin and not matches(certificate_of(connection), self.pin):
            raise OSError("it shows another certificate than is registered for it")


def why_not(error: Exception) -> str:
    """Return in a few words why a connection over TLS failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or type(error).__name__).lower().replace('_', ' ')}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
