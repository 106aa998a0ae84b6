"""What the routes of the service share: the archive, who asks, and the addresses of what is answered."""

import threading
from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Depends, Request

from regionmir.archive.archive import Archive
from regionmir.core.errors import InvalidUid
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.web.dicomweb.problems import BadRequest
from regionmir.web.guard import LOOPBACK_NAMES
from regionmir.web.kept import Kept
from regionmir.web.signin.exposure import external_name

_COPIES_BYTES: Final = 128 * 2**20
_PICTURES_BYTES: Final = 32 * 2**20
_DECODED_AT_ONCE: Final = 2

SIMILAR: Final = "/sim"
"""Path of the similarity scopes below the service root."""


@dataclass(frozen=True, slots=True)
class Service:
    """One per process. `copies` and `pictures` are kept in memory only; `decoding` bounds what is decoded at once."""

    archive: Archive
    copies: Kept = field(default_factory=lambda: Kept(_COPIES_BYTES))
    pictures: Kept = field(default_factory=lambda: Kept(_PICTURES_BYTES))
    decoding: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_DECODED_AT_ONCE))


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


ServiceOf = Annotated[Service, Depends(_service)]
"""A route's parameter of this type is the process's service."""


def path_uid(text: str) -> Uid:
    """Return a UID of a path. Raises `BadRequest`, which does not repeat it."""
    try:
        return parse_uid(text)
    except InvalidUid:
        raise BadRequest("a UID in the path is malformed: digits and dots, at most 64 characters") from None


def base_url(request: Request) -> str:
    """Return the address that the resources of this request's scope are below, without `/studies` or the like."""
    path, named = str(request.scope["root_path"]), request.path_params
    if in_similar_scope(request):
        path += SIMILAR
    if "anchor" in named:
        path += f"/{quote(named['anchor'], safe='')}/{quote(named['region'], safe='+,')}"
    return _origin(request) + path


def _origin(request: Request) -> str:
    """Return scheme, name and port under which the client reaches us: behind a proxy, as the settings say."""
    url, settings = request.url, _service(request).archive.settings
    if url.hostname == external_name(settings):
        return settings.http_external_url.rstrip("/")
    server = request.scope.get("server")
    if url.port is None and url.hostname in LOOPBACK_NAMES and server:  # dicomweb-client sends Host without the port
        url = url.replace(port=server[1])
    return f"{url.scheme}://{url.netloc}"


def in_similar_scope(request: Request) -> bool:
    """Return whether the URL of a request is below `/sim`."""
    return str(request.scope["path"]).startswith(f"{request.scope['root_path']}{SIMILAR}/")


def instance_url(base: str, study: str, series: str, instance: str) -> str:
    """Return the address of an instance."""
    return f"{base}/studies/{study}/series/{series}/instances/{instance}"
