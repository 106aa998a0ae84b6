"""An association of the node: who may open it, which syntaxes it takes, and how it ends when the peer is faulty."""

import socket
import ssl
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

import structlog
from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from dicom_node import access, audit_trail
from dicom_node.access import Refusal
from dicom_node.arrival import NodeDimse
from dicom_node.contexts import is_storage, preferred_syntax
from dicom_node.fragments import HEAD_BYTES, P_DATA_TF, Fragment, fragments_of
from dicom_node.handshake import Handshakes
from dicom_node.limits import Limits
from dicom_node.retrieve_service import RetrievingAssociation
from dicom_node.sharing import Client
from dicom_node.store_command import StoreRequest
from dicom_node.waiting import Checkpoint, NotifyingQueue, WaitingDul
from regionmir.core.errors import DatabaseUnavailable
from regionmir.core.records import Caller
from regionmir.core.tls import Certificate, certificate_of
from regionmir.monitoring.figures import ASSOCIATIONS_OPEN
from regionmir.monitoring.tracing import span
from regionmir.scu.tls_socket import TlsAssociationSocket

if TYPE_CHECKING:
    from dicom_node.node import Node

log = structlog.get_logger(__name__)

MAX_PDU_BYTES = 128 << 10
"""Largest P-DATA that we ask for (PS3.8 D.1); dcmtk sends no larger one."""

LARGEST_READ = 4 << 20
"""A PDU announced larger than this is no honest one: the connection is closed before memory is given to it."""

_NEARLY = 0.9
"""Of a timeout that is set already: a deadline that lets wait for more of it need not be set."""

ACKNOWLEDGE_AT_ONCE: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux only; the system forgets it, so it is said again after every read."""

ABSTRACT_SYNTAX_UNKNOWN, SYNTAX_UNKNOWN = 0x03, 0x04
"""Presentation context results: abstract syntax, or transfer syntaxes, not supported (PS3.8 9.3.3.2)."""


class NodeServer(ThreadedAssociationServer):
    """Listens; an accepted socket has a deadline and sends small messages at once. `tls`: None for plain TCP."""

    node: "Node"
    limits: Limits
    tls: Handshakes | None = None
    inherited: socket.socket | None = None
    """A socket that is bound already, and at which other processes accept too."""
    request_queue_size = 128
    daemon_threads = True

    def server_bind(self) -> None:
        if self.inherited is None:
            super().server_bind()
            return
        cast(socket.socket, self.socket).close()
        self.socket = self.inherited.dup()
        self.socket.setblocking(False)  # another process may have taken the connection that woke this one
        self.server_address = self.socket.getsockname()

    def server_close(self) -> None:
        """Listen no more; the other processes at an inherited socket do, so that it is not shut down."""
        if self.inherited is None:
            super().server_close()
        else:
            cast(socket.socket, self.socket).close()

    def service_actions(self) -> None:
        """Do nothing: pynetdicom collects garbage here, and every association waits for that."""

    def get_request(self) -> tuple[socket.socket, Any]:
        client, address = super().get_request()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.settimeout(self.ae.network_timeout)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether there is room for this connection; else it is closed."""
        if self.limits.connected(client_address[:2]):
            return True
        log.warning("connection closed: too many without an association", address=client_address[0])
        return False


class NodeRequestHandler(RequestHandler):
    """Makes one association per connection."""

    server: NodeServer

    def handle(self) -> None:
        """Do the handshake, where there is one, and start the association."""
        started = False
        try:
            tls = self.server.tls
            if tls is not None:
                secured = tls.secured(self.request, str(self.client_address[0]), self.server.node)
                if secured is None:
                    return
                self.request = secured
            super().handle()
            started = True
        finally:
            if not started:
                self.server.limits.ended(self.client_address[:2])

    def _create_association(self) -> "NodeAssociation":
        assoc = NodeAssociation(self.ae, self.server.node, self.server.limits, self.client_address[:2])
        assoc._server = self.server
        assoc.name = f"AcceptorThread@{self.client_address[0]}:{self.client_address[1]}"
        assoc.set_socket(NodeSocket(assoc, client_socket=self.request))
        if isinstance(self.request, ssl.SSLSocket):
            assoc.certificate = certificate_of(self.request)
        assoc.acceptor.maximum_length = self.ae.maximum_pdu_size
        assoc.acceptor.ae_title = self.server.ae_title
        assoc.acceptor.address_info = self.local
        assoc.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        assoc.acceptor.implementation_version_name = self.ae.implementation_version_name
        assoc.acceptor.supported_contexts = deepcopy(self.server.contexts)
        assoc.requestor.address_info = self.remote
        for event, handlers in self.server._handlers.items():
            if event.is_intervention:
                assoc.bind(event, *cast(tuple[Any, Any], handlers))
            else:
                for handler in cast(list[tuple[Any, Any]], handlers):
                    assoc.bind(event, *handler)
        return assoc


class NodeSocket(TlsAssociationSocket):
    """Reads a PDU in large steps, within a deadline for the whole of it, and none of absurd length.

    Until an association is requested, one deadline is for all that comes: the ARTIM timer (PS3.8 9.1.5) does not run
    while a read waits.

    It acknowledges at once: else a peer with Nagle's algorithm on sends the keys of a query 40 ms after its command.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._opened = time.monotonic()
        self._buffer = bytearray(MAX_PDU_BYTES)
        self._unread = b""

    def recv(self, nr_bytes: int) -> bytearray:
        _refuse_absurd(nr_bytes)
        again, self._unread = self._unread[:nr_bytes], self._unread[nr_bytes:]
        received = bytearray(nr_bytes)
        received[: len(again)] = again
        with memoryview(received) as view:
            at = len(again) + self._fill(view[len(again) :])
        self._acknowledge()
        del received[at:]
        return received

    def fragments(self) -> list[Fragment] | None:
        """Read one PDU and return its fragments, which are valid until the next read, if it is a P-DATA-TF.

        Any other PDU, one that is malformed, and a part of one are returned by `recv` afterwards: None. Raises
        `OSError` as `recv`.
        """
        head = self._head()
        length = int.from_bytes(head[2:], "big")
        if len(head) < HEAD_BYTES or head[0] != P_DATA_TF:
            self._unread = head
            return None
        body = self._room(length)
        received = self._fill(body)
        self._acknowledge()
        found = fragments_of(body) if received == length else None
        if found is None:
            self._unread = head + bytes(body[:received])
        return found

    def _head(self) -> bytes:
        """Read the beginning of a PDU: what follows is acknowledged with it."""
        if self._unread:
            return bytes(self.recv(HEAD_BYTES))
        head = bytearray(HEAD_BYTES)
        with memoryview(head) as view:
            received = self._fill(view)
        return bytes(head[:received])

    def _room(self, length: int) -> memoryview:
        """Return so many bytes to read into. The buffer stays as large as the largest PDU that we ask for."""
        _refuse_absurd(length)
        buffer = self._buffer if length <= len(self._buffer) else bytearray(length)
        return memoryview(buffer)[:length]

    def _fill(self, view: memoryview) -> int:
        """Read until `view` is full; return how many bytes, fewer at the end of the connection or of the time."""
        peer = cast(socket.socket, self.socket)
        deadline = self._deadline()
        at = 0
        while at < len(view):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            limit = peer.gettimeout()
            if limit is None or left < _NEARLY * limit:  # to say so costs a call of the system
                peer.settimeout(left)
            count = self.read_into(view[at:])
            if count == 0:
                break
            at += count
        if peer.gettimeout() != self.assoc.network_timeout:
            peer.settimeout(self.assoc.network_timeout)
        return at

    def _acknowledge(self) -> None:
        if ACKNOWLEDGE_AT_ONCE is not None:
            cast(socket.socket, self.socket).setsockopt(socket.IPPROTO_TCP, ACKNOWLEDGE_AT_ONCE, 1)

    def _deadline(self) -> float:
        """Return when the PDU that begins now must be whole, on the monotonic clock."""
        if self.assoc.requestor.primitive is None:
            return self._opened + (self.assoc.acse_timeout or 3600.0)
        return time.monotonic() + (self.assoc.network_timeout or 3600.0)


def _refuse_absurd(nr_bytes: int) -> None:
    if nr_bytes > LARGEST_READ:
        raise OSError(f"PDU of {nr_bytes} bytes")


class NodeAssociation(RetrievingAssociation):
    """An association with the node as acceptor. `caller` is None until it is known who calls."""

    def __init__(self, ae: ApplicationEntity, node: "Node", limits: Limits, client: Client) -> None:
        super().__init__(ae, "acceptor")
        self.node, self.limits, self.client = node, limits, client
        self.caller: Caller | Refusal | None = None
        self.certificate: Certificate | None = None
        self.acse = NodeAcse(self)
        settings = node.settings
        self.dimse = NodeDimse(self, node.store, settings.max_instance_bytes, settings.message_timeout_s)
        self._wait_for_work()
        self.bind(evt.EVT_CONN_CLOSE, _stop_waiting)
        self.bind(evt.EVT_DIMSE_SENT, _restart_idle_timer)

    def _wait_for_work(self) -> None:
        """Let both threads of the association wait instead of looking every millisecond."""
        checkpoint = Checkpoint(self._has_work)
        checkpoint.set()
        self._reactor_checkpoint = checkpoint
        self.dul = WaitingDul(self, checkpoint.notify)
        self.acse_timeout, self.network_timeout = self.ae.acse_timeout, self.ae.network_timeout  # of the new timers
        self.dimse.msg_queue = NotifyingQueue(checkpoint.notify)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Serve a request that was queued; only when this is done may the upper layer's thread serve the next."""
        provider = cast(NodeDimse, self.dimse)
        if isinstance(msg, N_EVENT_REPORT):  # served by a thread of its own
            super()._serve_request(msg, context_id)
            return
        try:
            if isinstance(msg, StoreRequest):
                provider.serve(context_id, msg)
            else:
                super()._serve_request(msg, context_id)
        finally:
            provider.msg_queue.task_done()

    def _has_work(self) -> bool:
        return bool(self._kill or self.dimse.msg_queue.queue or self.dul.to_user_queue.queue)

    def run_reactor(self) -> None:
        """Serve the association until it ends, however it ends; nothing of an unfinished transfer stays behind."""
        try:
            with ASSOCIATIONS_OPEN.track_inprogress(), span("association"):
                cast(NodeDimse, self.dimse).begin()
                super().run_reactor()
        finally:
            self.limits.ended(self.client)
            provider = cast(NodeDimse, self.dimse)
            provider.end()
            provider.discard()
            audit_trail.received(self.node, self)


class NodeAcse(ACSE):
    """Refuses by called and calling AE title, and chooses transfer syntaxes by our order."""

    def _negotiate_as_acceptor(self) -> None:
        request = cast(A_ASSOCIATE, self.requestor.primitive)
        self.requestor.ae_title = request.calling_ae_title
        refusal = self._refusal(request)
        if refusal is None:
            super()._negotiate_as_acceptor()
            return
        log.info("association refused", why=refusal.why, peer=self.requestor.ae_title, address=self.requestor.address)
        if refusal is access.CALLING_AE_UNKNOWN:
            node = cast(NodeAssociation, self.assoc).node
            audit_trail.node_refused(node, self.requestor.ae_title, self.requestor.address, refusal.why)
        self.send_reject(refusal.result, refusal.source, refusal.diagnostic)
        evt.trigger(self.assoc, evt.EVT_REJECTED, {})
        self.assoc.kill()

    def send_accept(self) -> None:
        """Take the first syntax of our order in each storage context; refuse contexts that are not for us."""
        services = {context.abstract_syntax for context in self.acceptor.supported_contexts}
        for offer in cast(A_ASSOCIATE, self.requestor.primitive).presentation_context_definition_list:
            context = self.assoc._accepted_cx.get(cast(int, offer.context_id))
            if context is None or context.abstract_syntax in services:
                continue
            chosen = preferred_syntax([str(uid) for uid in offer.transfer_syntax])
            if not is_storage(str(context.abstract_syntax)):
                self._refuse_context(context, ABSTRACT_SYNTAX_UNKNOWN)
            elif chosen is None:
                self._refuse_context(context, SYNTAX_UNKNOWN)
            else:
                context.transfer_syntax = [chosen]
        self._answer_roles()
        super().send_accept()

    def _answer_roles(self) -> None:
        """Answer the roles proposed for services (PS3.7 D.3.3.4): pynetdicom answers those for storage only.

        It has the roles of the accepted contexts right; without the answer the peer must take the default.
        """
        ours = {str(one.abstract_syntax): one for one in self.acceptor.supported_contexts if one.scp_role is not None}
        accepted = {str(context.abstract_syntax) for context in self.assoc._accepted_cx.values()}
        for uid, proposed in self.requestor.role_selection.items():
            if uid in ours and uid in accepted and uid not in self.acceptor.role_selection:
                answer = SCP_SCU_RoleSelectionNegotiation()
                answer.sop_class_uid = uid
                answer.scu_role = bool(proposed.scu_role and ours[uid].scu_role)
                answer.scp_role = bool(proposed.scp_role and ours[uid].scp_role)
                self.acceptor.add_negotiation_item(answer)

    def _refuse_context(self, context: PresentationContext, result: int) -> None:
        del self.assoc._accepted_cx[cast(int, context.context_id)]
        context.result = result
        self.assoc._rejected_cx.append(context)

    def _refusal(self, request: A_ASSOCIATE) -> Refusal | None:
        assoc = cast(NodeAssociation, self.assoc)
        if not access.is_called(request.called_ae_title, assoc.node.settings.ae_title):
            return access.CALLED_AE_UNKNOWN
        try:
            assoc.caller = access.resolve(
                assoc.node, self.requestor.ae_title, self.requestor.address, assoc.certificate
            )
        except DatabaseUnavailable as error:  # let it in: every operation asks again, and says what is wrong
            log.warning("caller not looked up", why=str(error))
        return assoc.caller if isinstance(assoc.caller, Refusal) else assoc.limits.associated(assoc.client)


def _stop_waiting(event: Event) -> None:
    """End the wait for an association request when a mere port probe hangs up: it would hold a slot for 30 s."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _restart_idle_timer(event: Event) -> None:
    """Count idle time from our last message too: a long C-MOVE is no silence of the peer."""
    event.assoc.dul._idle_timer.restart()
