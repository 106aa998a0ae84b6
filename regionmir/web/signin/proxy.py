"""A reverse proxy that signs people in and says who they are in a header."""

from starlette.datastructures import Headers
from starlette.types import Scope

from regionmir.core.records import Way
from regionmir.core.settings import Settings
from regionmir.web.signin.addresses import is_trusted, peer_address
from regionmir.web.signin.errors import SignInRefused
from regionmir.web.signin.exposure import Network, listed
from regionmir.web.signin.identity import Identity, checked_identity


def identity_of(scope: Scope, settings: Settings, proxies: tuple[Network, ...]) -> Identity:
    """Return who the proxy says is asking. Raises `SignInRefused`: not our proxy, or it names nobody or two."""
    if not is_trusted(peer_address(scope), proxies):
        raise SignInRefused("not by the proxy", "Ask by the address of the reverse proxy, which signs you in.")
    headers = Headers(scope=scope)
    named = [_text(value).strip() for value in headers.getlist(settings.proxy_user_header)]
    if len(named) != 1 or not named[0]:
        raise SignInRefused("no user", "The reverse proxy did not say who you are; tell its administrator.", status=401)
    groups = listed(_text(",".join(headers.getlist(settings.proxy_groups_header))))
    return checked_identity(Way.PROXY, named[0], named[0], groups)


def _text(value: str) -> str:
    """Return a header's value as UTF-8 where it is that (Starlette reads Latin-1)."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value
