"""Who may open an association and what they may do: registered peers, and strangers on this machine only."""

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import peers
from regionmir.core.anatomy import ALL_REGIONS_AE, anatomy_by_ae_title
from regionmir.core.errors import InvalidAETitle
from regionmir.core.identifiers import AETitle, parse_ae_title
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.core.tls import Certificate, matches

if TYPE_CHECKING:
    from dicom_node.node import Node

STRANGER_RIGHTS = Rights(echo=True, store=True, find=True, retrieve=True)
"""Rights of an AE that is not registered, on loopback. Its disclosure is pseudonymous, and as nobody has said that it
accepts pseudonymous copies, it can retrieve none itself."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A-ASSOCIATE-RJ: result, source and reason (PS3.8 9.3.4), and what the log says."""

    result: int
    source: int
    diagnostic: int
    why: str


CALLING_AE_UNKNOWN = Refusal(0x01, 0x01, 0x03, "calling AE title not recognized")
CALLED_AE_UNKNOWN = Refusal(0x01, 0x01, 0x07, "called AE title not recognized")
TOO_MANY_ASSOCIATIONS = Refusal(0x02, 0x03, 0x02, "more than `REGIONMIR_MAX_ASSOCIATIONS` associations; try again")
TOO_MANY_OF_ONE_PEER = Refusal(
    0x02, 0x03, 0x02, "more than `REGIONMIR_MAX_ASSOCIATIONS_PER_PEER` associations from one address; try again"
)


def is_called(title: str, own_title: str) -> bool:
    """Return whether a called AE title is ours: our own, `RGN_ALL`, or the one of an anatomy."""
    return title in (own_title, ALL_REGIONS_AE) or anatomy_by_ae_title(title) is not None


def resolve(node: "Node", ae_title: str, address: str, certificate: Certificate | None = None) -> Caller | Refusal:
    """Return who calls, by the peers' rows as they are now. Raises `DatabaseUnavailable`."""
    try:
        title = parse_ae_title(ae_title)
    except InvalidAETitle:
        return CALLING_AE_UNKNOWN
    with node.database.session() as session:
        peer = peers.get(session, title)
    return caller_from(peer, title, address, certificate, bound_to_loopback=node.bound_to_loopback)


def caller_from(
    peer: peers.Peer | None,
    title: AETitle,
    address: str,
    certificate: Certificate | None = None,
    *,
    bound_to_loopback: bool,
) -> Caller | Refusal:
    """Return who calls as `title` from the IP address `address`; `peer` is the row of that title, if there is one.

    A title that comes from another address, or with another certificate (or none), than its row says is nobody's: a
    stranger's on loopback, else refused.
    """
    if peer is not None and _is_itself(peer, address, certificate):
        return _known(peer, address, bound_to_loopback=bound_to_loopback)
    return _stranger(title, address) if bound_to_loopback else CALLING_AE_UNKNOWN


def _is_itself(peer: peers.Peer, address: str, certificate: Certificate | None) -> bool:
    shown = not peer.certificate or matches(certificate, peer.certificate)
    return shown and comes_from(address, peer.source_address)


def comes_from(address: str, source: str) -> bool:
    """Return whether an IP address is the one, or in the network, that `source` names; an empty source is any."""
    if not source:
        return True
    try:
        return _ip(address) in ipaddress.ip_network(source, strict=False)
    except ValueError:
        return False


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed


def _known(peer: peers.Peer, address: str, *, bound_to_loopback: bool) -> Caller:
    return Caller(
        ae_title=AETitle(peer.ae_title),
        address=address,
        rights=Rights(
            echo=peer.can_echo,
            store=peer.can_store,
            find=peer.can_find,
            retrieve=peer.can_retrieve,
            correct=peer.can_correct,
            identify=peer.can_identify,
            get=peer.can_get,
            move=peer.can_move,
            commit=peer.can_commit,
        ),
        disclosure=_disclosure(peer, bound_to_loopback=bound_to_loopback),
        registered=True,
        accepts_pseudonyms=peer.accepts_pseudonyms,
        explain_row=peer.explain_row,
        last_from=tuple(AETitle(title) for title in peer.last_from),
    )


def _disclosure(peer: peers.Peer, *, bound_to_loopback: bool) -> Disclosure:
    """Identified answers need more than a title: the row's address or certificate, or a node bound to loopback."""
    if peer.source_address or peer.certificate or bound_to_loopback:
        return Disclosure(peer.disclosure)
    return Disclosure.PSEUDONYMOUS


def _stranger(title: AETitle, address: str) -> Caller:
    return Caller(title, address, STRANGER_RIGHTS, Disclosure.PSEUDONYMOUS, registered=False)
