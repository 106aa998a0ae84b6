"""The TLS handshake of those who call: on a thread of its own, within a deadline, and no crowd of them at once."""

import select
import socket
import ssl
import time
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

import structlog

from dicom_node import audit_trail
from regionmir.scu.tls_socket import why_not

if TYPE_CHECKING:
    from dicom_node.node import Node

log = structlog.get_logger(__name__)


class Handshakes:
    """Secures accepted connections under one context; more than `at_once` at the same time are turned away."""

    def __init__(self, context: ssl.SSLContext, *, at_once: int, deadline_s: float) -> None:
        self._context = context
        self._free = BoundedSemaphore(at_once)
        self._deadline_s = deadline_s

    def secured(self, accepted: socket.socket, address: str, node: "Node") -> ssl.SSLSocket | None:
        """Return the connection after its handshake; None, closed and the reason logged, if that failed."""
        if not self._free.acquire(blocking=False):
            log.warning("TLS connection refused", address=address, why="too many handshakes at once")
            accepted.close()
            return None
        try:
            return self._shake(accepted)
        except (ssl.SSLEOFError, ConnectionError):  # a probe of the port
            return None
        except (OSError, ValueError) as error:
            why = why_not(error)
            log.warning("TLS connection refused", address=address, why=why)
            audit_trail.node_refused(node, "", address, f"TLS handshake: {why}")
            return None
        finally:
            self._free.release()

    def _shake(self, accepted: socket.socket) -> ssl.SSLSocket:
        """Do the handshake without blocking: a timeout of the socket would begin anew with each byte."""
        timeout = accepted.gettimeout()
        accepted.settimeout(0)
        try:
            connection = self._context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        except BaseException:
            accepted.close()
            raise
        try:
            self._finish(connection, time.monotonic() + self._deadline_s)
        except BaseException:
            connection.close()
            raise
        connection.settimeout(timeout)
        return connection

    def _finish(self, connection: ssl.SSLSocket, end: float) -> None:
        while True:
            left = end - time.monotonic()
            try:
                connection.do_handshake()
                return
            except ssl.SSLWantReadError:
                ready = select.select([connection], [], [], max(0, left))[0]
            except ssl.SSLWantWriteError:
                ready = select.select([], [connection], [], max(0, left))[1]
            if not ready or left <= 0:
                raise OSError("the handshake takes too long")
