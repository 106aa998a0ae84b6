"""Where a request comes from, past the reverse proxies in front of us."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from regionmir.web.signin.exposure import Network

Address = IPv4Address | IPv6Address


def is_trusted(text: str, networks: Sequence[Network]) -> bool:
    """True if `text` is an address in one of the networks."""
    address = _parsed(text)
    return address is not None and any(address in network for network in networks)


def peer_address(scope: Scope) -> str:
    """Return the address of whoever is connected to us; empty on a unix socket."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def client_address(scope: Scope, networks: Sequence[Network]) -> str:
    """Return the address of the browser: the last in `X-Forwarded-For` that no proxy of ours has.

    The header counts only where a proxy of ours is connected: anybody can send it.
    """
    address = peer_address(scope)
    forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    while is_trusted(address, networks) and forwarded:
        named = _parsed(forwarded.pop().strip())
        if named is None:
            break
        address = str(named)
    return address


def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
