"""The DICOM server: one port, our AE title and those of the regions, handlers that translate, call and answer."""

import logging
import os
import socket
import sys
import time
import warnings
from dataclasses import dataclass
from threading import Thread
from typing import cast

import structlog
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_node.association import MAX_PDU_BYTES, NodeRequestHandler, NodeServer
from dicom_node.commitment import handle_action, handle_report
from dicom_node.contexts import service_contexts
from dicom_node.find import handle_find
from dicom_node.handshake import Handshakes
from dicom_node.identifier import accept_extended
from dicom_node.limits import Limits
from dicom_node.measuring import counted, measured, measured_answers
from dicom_node.node import Node
from dicom_node.release import handle_released
from dicom_node.retrieve import handle_get, handle_move
from dicom_node.store import handle_store
from regionmir.archive.errors import NotAuthorized
from regionmir.archive.status import NOT_AUTHORIZED, SUCCESS
from regionmir.core.errors import ConfigurationError, DatabaseUnavailable
from regionmir.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from regionmir.core.settings import Settings
from regionmir.core.tls import server_context

log = structlog.get_logger(__name__)

DRAIN_S = 5.0
"""How long associations may finish when the node stops."""

ABORT_S = 1.0
"""How long those that are aborted then may take; their threads end with the process."""


class Server:
    """A running node, on a plain port, one for TLS, or both; also where port 0 was asked for."""

    def __init__(self, plain: NodeServer | None, secured: NodeServer | None) -> None:
        self._plain, self._secured = plain, secured
        self._listeners = [one for one in (plain, secured) if one is not None]
        self._threads = [
            Thread(target=one.serve_forever, kwargs={"poll_interval": 0.2}, name="listener", daemon=True)
            for one in self._listeners
        ]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """The plain port; 0 where there is none."""
        return int(self._plain.server_address[1]) if self._plain else 0

    @property
    def tls_port(self) -> int:
        """The port for TLS; 0 where there is none."""
        return int(self._secured.server_address[1]) if self._secured else 0

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Accept nothing more, let associations finish for `drain_s` seconds, then abort what is left."""
        if not any(thread.is_alive() for thread in self._threads):
            return
        for listener in self._listeners:
            listener.shutdown()
        self._wait_until_idle(drain_s)
        for assoc in self._active():
            assoc.abort(block=False)
        self._wait_until_idle(ABORT_S)
        for thread in self._threads:
            thread.join(2.0)

    def _active(self) -> list[Association]:
        return [assoc for listener in self._listeners for assoc in listener.active_associations]

    def _wait_until_idle(self, deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while self._active() and time.monotonic() < end:
            time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Sockets:
    """Bound sockets at which several processes accept: of the plain port, of the one for TLS, or both."""

    plain: socket.socket | None
    secured: socket.socket | None

    def close(self) -> None:
        """Close them in this process."""
        for one in (self.plain, self.secured):
            if one is not None:
                one.close()


def bound_sockets(settings: Settings) -> Sockets:
    """Return the sockets that the settings say. Raises `ConfigurationError` where a port is taken."""
    _require_a_port(settings, settings.dicom_tls_port or None)
    plain = None if settings.dicom_tls_only else _bound(settings.dicom_host, settings.dicom_port)
    try:
        secured = _bound(settings.dicom_host, settings.dicom_tls_port) if settings.dicom_tls_port else None
    except ConfigurationError:
        if plain is not None:
            plain.close()
        raise
    return Sockets(plain, secured)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=NodeServer.request_queue_size)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigurationError:
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error
    return ConfigurationError(f"cannot listen on {host}:{port}: {why}")


def _require_a_port(settings: Settings, secured_port: int | None) -> None:
    if settings.dicom_tls_only and secured_port is None:
        raise ConfigurationError("REGIONMIR_DICOM_TLS_ONLY needs REGIONMIR_DICOM_TLS_PORT")


def serve(
    node: Node, *, tls_port: int | None = None, inherited: Sockets | None = None, limits: Limits | None = None
) -> Server:
    """Listen as the settings say and return the running server. Raises `ConfigurationError` if it cannot.

    `tls_port` stands in for the setting; 0 is then any free one. `inherited`: accept at these sockets. `limits`: those
    of all processes that accept at them.
    """
    configure_pynetdicom()
    settings = node.settings
    secured_port = settings.dicom_tls_port or None if tls_port is None else tls_port
    _require_a_port(settings, secured_port)
    sockets = inherited or Sockets(None, None)
    ae = AE(settings.ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_associations = sys.maxsize  # `Limits` counts, and not those that only connect
    ae.maximum_pdu_size = MAX_PDU_BYTES
    ae.network_timeout = settings.network_timeout_s
    ae.acse_timeout = settings.acse_timeout_s
    ae.dimse_timeout = settings.network_timeout_s
    handshakes = _handshakes(settings) if secured_port is not None else None
    limits = limits or Limits(settings.max_associations, settings.max_associations_per_peer)
    plain = None if settings.dicom_tls_only else _listener(ae, node, settings.dicom_port, limits, sockets.plain)
    try:
        secured = (
            None if secured_port is None else _listener(ae, node, secured_port, limits, sockets.secured, handshakes)
        )
    except ConfigurationError:
        if plain is not None:
            plain.server_close()
        raise
    return Server(plain, secured)


def _handshakes(settings: Settings) -> Handshakes:
    context = server_context(settings.tls_files, require_certificate=settings.dicom_tls_clients == "verified")
    return Handshakes(context, at_once=settings.max_associations, deadline_s=settings.acse_timeout_s)


def _listener(
    ae: AE, node: Node, port: int, limits: Limits, inherited: socket.socket | None, handshakes: Handshakes | None = None
) -> NodeServer:
    """Return a bound listener that takes what is configured for the node. Raises `ConfigurationError`."""
    host = node.settings.dicom_host
    try:
        made = ae.make_server(
            (host, port),
            contexts=service_contexts(),
            evt_handlers=_handlers(node),
            server_class=type("Listener", (NodeServer,), {"inherited": inherited}),
            request_handler=NodeRequestHandler,
        )
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    listener = cast(NodeServer, made)
    listener.node, listener.limits, listener.tls = node, limits, handshakes
    ae._servers.append(listener)
    return listener


def configure_pynetdicom() -> None:
    """Set pynetdicom's process-wide switches: every storage SOP class, and no values of data sets in any log."""
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom)\b")


def handle_echo(event: Event, node: Node) -> int:
    """Return Success; a peer whose row forbids C-ECHO gets 0124H. The database need not be up for an echo."""
    try:
        allowed = node.caller_of(event).rights.echo
    except DatabaseUnavailable:
        allowed = True
    except NotAuthorized:
        allowed = False
    return SUCCESS if allowed else NOT_AUTHORIZED


def _handlers(node: Node) -> list[evt.EventHandlerType]:
    return [
        (evt.EVT_ACCEPTED, counted, ["accepted"]),
        (evt.EVT_REJECTED, counted, ["rejected"]),
        (evt.EVT_ABORTED, counted, ["aborted"]),
        (evt.EVT_C_ECHO, measured("C-ECHO", handle_echo), [node]),
        (evt.EVT_C_STORE, measured("C-STORE", handle_store), [node]),
        (evt.EVT_SOP_EXTENDED, accept_extended),
        (evt.EVT_C_FIND, measured_answers("C-FIND", handle_find), [node]),
        (evt.EVT_C_GET, measured_answers("C-GET", handle_get), [node]),
        (evt.EVT_C_MOVE, measured_answers("C-MOVE", handle_move), [node]),
        (evt.EVT_RELEASED, handle_released, [node]),
        (evt.EVT_N_ACTION, handle_action, [node]),
        (evt.EVT_N_EVENT_REPORT, handle_report, [node]),
    ]
