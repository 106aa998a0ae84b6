"""Associations that we request: opened with our timeouts, without Nagle's delay, and always closed."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from regionmir.core.errors import PeerRefused, PeerUnavailable
from regionmir.core.tls import client_context
from regionmir.scu.pausing import Pause
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, PeerTls, Timeouts
from regionmir.scu.tls_socket import CallingSocket

MAX_CONTEXTS = 128
"""Presentation contexts that one association request can hold: odd identifiers from 1 to 255 (PS3.8 9.3.2.2)."""

MAX_PDU_BYTES = 256 * 1024
"""Largest PDU that we take; larger ones save time on images."""

Handlers = Sequence[tuple[Any, ...]]
"""pynetdicom's (event, handler) or (event, handler, arguments)."""

_REJECTED_FOR_NOW = 0x02
_REJECTED = (0x01, _REJECTED_FOR_NOW)


@contextmanager
def association(
    peer: PeerAddress,
    calling_ae: str,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Handlers = (),
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> Iterator[Association]:
    """Give an established association; release it at the end, abort it on an error.

    Raises `PeerUnavailable` where trying later may help, `PeerRefused` where it will not, `ConfigurationError` where
    our own files for TLS cannot be used.
    """
    opened = open_association(peer, calling_ae, contexts, roles=roles, handlers=handlers, timeouts=timeouts)
    try:
        yield opened
    except BaseException:
        if opened.is_established:
            opened.abort()
        raise
    finally:
        close_association(opened)


def open_association(
    peer: PeerAddress,
    calling_ae: str,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Handlers = (),
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> Association:
    """Return an established association, to be ended with `close_association`. Raises as `association` does."""
    ae = _Requestor(peer, calling_ae)
    ae.connection_timeout = timeouts.connect_s
    ae.acse_timeout = timeouts.acse_s
    ae.dimse_timeout = timeouts.dimse_s
    ae.network_timeout = timeouts.network_s
    try:
        opened = ae.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            max_pdu=MAX_PDU_BYTES,
            ext_neg=list(roles) or None,
            evt_handlers=[(evt.EVT_CONN_OPEN, _prepare_socket), *handlers],
        )
    except OSError as error:  # the host name is unknown, or we have no sockets left
        raise PeerUnavailable(f"{peer} cannot be reached: {error}") from None
    if not opened.is_established:
        ae.close_socket()
        raise _why_not(opened, peer, ae.tls_failure)
    return opened


def close_association(opened: Association) -> None:
    """Release the association if it still stands, and wait for its threads."""
    if opened.is_established:
        opened.release()
    opened.dul.join(timeout=5)
    cast(_Requestor, opened.ae).close_socket()


class _Requestor(AE):
    """Closes its socket for certain: pynetdicom forgets one whose peer refused or has already hung up."""

    def __init__(self, peer: PeerAddress, calling_ae: str) -> None:
        super().__init__(ae_title=calling_ae)
        self._peer = peer
        self._made: AssociationSocket | None = None
        self._socket: socket.socket | None = None

    @property
    def tls_failure(self) -> str:
        """Why there is no connection over TLS; empty where that is not the reason."""
        return self._made.failure if isinstance(self._made, CallingSocket) else ""

    def close_socket(self) -> None:
        for one in (self._socket, self._made.socket if self._made else None):
            if one is not None:
                one.close()

    def _create_socket(self, assoc: Association, *arguments: Any) -> AssociationSocket:
        assoc._reactor_checkpoint = Pause(assoc)  # its threads do not run yet
        tls = self._peer.tls
        made = super()._create_socket(assoc, *arguments) if tls is None else self._create_tls(tls, assoc, *arguments)
        self._made, self._socket = made, made.socket
        return made

    def _create_tls(self, tls: PeerTls, assoc: Association, address: AddressInformation, _: object) -> CallingSocket:
        context = client_context(tls.files, pinned=bool(tls.certificate))
        made = CallingSocket(assoc, address=address)
        made.context, made.host, made.pin = context, self._peer.host, tls.certificate
        return made


def without_delay(event: evt.Event) -> None:
    """Turn Nagle's algorithm off on the socket of a connection that has just opened.

    pynetdicom sends command and data set as two small packets, which would otherwise wait 40 ms for each other.
    """
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _prepare_socket(event: evt.Event) -> None:
    """Also give every read and write a deadline: a peer that stops reading must not hold a thread for ever."""
    without_delay(event)
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.settimeout(event.assoc.network_timeout)


def receiver_roles(sop_classes: Sequence[str]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Return the proposals by which we, who request the association, receive these SOP classes (PS3.7 D.3.3.4)."""
    roles = []
    for uid in dict.fromkeys(sop_classes):
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid = uid
        role.scu_role = False
        role.scp_role = True
        roles.append(role)
    return roles


class NoCommonContext(PeerRefused):
    """The peer takes the association but none of the SOP classes and transfer syntaxes that we propose."""


def _why_not(opened: Association, peer: PeerAddress, tls_failure: str) -> Exception:
    answer = opened.acceptor.primitive or _unread_rejection(opened)
    if answer is not None and answer.result in _REJECTED:
        message = f"{peer} rejects the association: {answer.reason_str}"
        return PeerUnavailable(message) if answer.result == _REJECTED_FOR_NOW else PeerRefused(message)
    if answer is not None and answer.result == 0x00:
        return NoCommonContext(f"{peer} accepts none of the presentation contexts that we propose")
    if tls_failure:
        return PeerUnavailable(f"{peer} cannot be reached over TLS: {tls_failure}")
    return PeerUnavailable(f"{peer} cannot be reached or does not answer")


def _unread_rejection(opened: Association) -> A_ASSOCIATE | None:
    """Return a rejection that pynetdicom did not look at: it may close the connection before it is looked at whether
    there is one. An acceptance is none: whoever accepts and is gone at once may be there later."""
    unread = opened.dul.peek_next_pdu()
    return unread if isinstance(unread, A_ASSOCIATE) and unread.result in _REJECTED else None
