"""The DICOM server: one port, our AE title and those of the regions, handlers that translate, call and answer."""

import logging
import time
import warnings
from threading import Thread
from typing import cast

import structlog
from pynetdicom import AE, _config, evt
from pynetdicom.events import Event

from dicom_node.association import MAX_PDU_BYTES, NodeRequestHandler, NodeServer
from dicom_node.commitment import handle_action, handle_report
from dicom_node.contexts import service_contexts
from dicom_node.find import handle_find
from dicom_node.identifier import accept_extended
from dicom_node.node import Node
from dicom_node.release import handle_released
from dicom_node.retrieve import handle_get, handle_move
from dicom_node.status import SUCCESS
from dicom_node.store import handle_store
from regionmir.archive.errors import NotAuthorized
from regionmir.archive.status import NOT_AUTHORIZED
from regionmir.core.errors import ConfigurationError, DatabaseUnavailable
from regionmir.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

log = structlog.get_logger(__name__)

DRAIN_S = 5.0
"""How long associations may finish when the node stops."""

ABORT_S = 1.0
"""How long those that are aborted then may take; their threads end with the process."""


class Server:
    """A running node. `port` is the one it listens on, also where port 0 was asked for."""

    def __init__(self, listener: NodeServer) -> None:
        self._listener = listener
        self._thread = Thread(
            target=listener.serve_forever, kwargs={"poll_interval": 0.2}, name="listener", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.server_address[1])

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Accept nothing more, let associations finish for `drain_s` seconds, then abort what is left."""
        if not self._thread.is_alive():
            return
        self._listener.shutdown()
        self._wait_until_idle(drain_s)
        for assoc in self._listener.active_associations:
            assoc.abort(block=False)
        self._wait_until_idle(ABORT_S)
        self._thread.join(2.0)

    def _wait_until_idle(self, deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while self._listener.active_associations and time.monotonic() < end:
            time.sleep(0.02)


def serve(node: Node) -> Server:
    """Listen on the configured address and return the running server. Raises `ConfigurationError` if it is taken."""
    configure_pynetdicom()
    settings = node.settings
    ae = AE(settings.ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_associations = settings.max_associations
    ae.maximum_pdu_size = MAX_PDU_BYTES
    ae.network_timeout = settings.network_timeout_s
    ae.acse_timeout = settings.acse_timeout_s
    ae.dimse_timeout = settings.network_timeout_s
    try:
        made = ae.make_server(
            (settings.dicom_host, settings.dicom_port),
            contexts=service_contexts(),
            evt_handlers=_handlers(node),
            server_class=NodeServer,
            request_handler=NodeRequestHandler,
        )
    except OSError as error:
        where = f"{settings.dicom_host}:{settings.dicom_port}"
        raise ConfigurationError(f"cannot listen on {where}: {error.strerror or error}") from None
    listener = cast(NodeServer, made)
    listener.node = node
    ae._servers.append(listener)
    return Server(listener)


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
        (evt.EVT_C_ECHO, handle_echo, [node]),
        (evt.EVT_C_STORE, handle_store, [node]),
        (evt.EVT_SOP_EXTENDED, accept_extended),
        (evt.EVT_C_FIND, handle_find, [node]),
        (evt.EVT_C_GET, handle_get, [node]),
        (evt.EVT_C_MOVE, handle_move, [node]),
        (evt.EVT_RELEASED, handle_released, [node]),
        (evt.EVT_N_ACTION, handle_action, [node]),
        (evt.EVT_N_EVENT_REPORT, handle_report, [node]),
    ]
