"""What goes wrong, as HTTP: a status and a problem document (RFC 9457) that says what to do. No value of a request or
of an instance is repeated in it."""

from collections.abc import Mapping
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regionmir.archive.errors import NotAuthorized
from regionmir.core.errors import (
    DatabaseUnavailable,
    InvalidIdentifier,
    NotIndexable,
    QueryRefused,
    RegionMirError,
    SandboxUnavailable,
    StorageFull,
    StorageUnavailable,
    origin,
)
from regionmir.deid.copies import NoCopy
from regionmir.web.problems import problem as problem_document

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = 5


class Problem(RegionMirError):
    """A request that cannot be answered. `detail` says what to do, and holds nothing that a request held."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, *, code: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.code = code or _CODES.get(status, "refused")


class BadRequest(Problem):
    """400: the request is not well-formed."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


class NotFound(Problem):
    """404: nothing of this name, for this caller."""

    def __init__(self, detail: str = "there is nothing of this name; search for its UIDs by QIDO-RS") -> None:
        super().__init__(404, detail)


class NotAcceptable(Problem):
    """406: none of the media types that the client accepts can be given."""

    def __init__(self, offered: str) -> None:
        super().__init__(406, f"none of the accepted media types can be given; offered: {offered}")


REFUSALS: Final = {
    "bad-token": 400,
    "bad-box": 400,
    "contradiction": 400,
    "unknown-region": 400,
    "region-required": 400,
    "unknown-anchor": 404,
    "no-region": 404,
    "no-hits": 404,
    "last-none": 404,
    "rate-limited": 429,
    "no-model": 503,
    "not-indexed": 503,
    "box-waiting": 503,
}
"""Statuses of refused similarity queries by the code of the refusal; the others are a conflict with what is stored."""

_CONFLICT: Final = 409
_CODES: Final = {
    400: "bad-request",
    403: "not-allowed",
    404: "unknown",
    405: "method-not-allowed",
    406: "not-acceptable",
    411: "length-required",
    413: "too-large",
    415: "unsupported-media-type",
    422: "not-an-image",
    500: "internal-error",
    503: "unavailable",
    507: "disk-full",
}
"""The short stable word of a problem that has none of its own."""

_AWAY: Final = "cannot be reached at the moment; nothing is lost, try again in a few seconds"


def problem_of(error: Exception) -> Problem:
    """Return any error as a problem; one that nobody raises on purpose is internal, and its text is not shown."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, QueryRefused):
        status = REFUSALS.get(error.code, _CONFLICT)
        return Problem(status, str(error), _retry() if status in (429, 503) else None, code=error.code)
    for kind, status, detail in _TABLE:
        if isinstance(error, kind):
            return Problem(status, detail or str(error), _retry() if status == 503 else None)
    return Problem(500, "this is a fault of the service; its log says where")


_TABLE: Final[tuple[tuple[type[RegionMirError], int, str], ...]] = (
    (DatabaseUnavailable, 503, f"the database {_AWAY}"),
    (StorageUnavailable, 503, f"the object store {_AWAY}"),
    (SandboxUnavailable, 503, "this machine cannot decode at the moment; try again in a few seconds"),
    (StorageFull, 507, "the disk is full and nothing was stored; free space, then send again"),
    (NotAuthorized, 403, ""),
    (NoCopy, 403, ""),
    (InvalidIdentifier, 400, ""),
    (NotIndexable, 422, ""),
)


def answer(problem: Problem) -> Response:
    """Return the problem document."""
    return problem_document(problem.status, problem.code, str(problem), problem.headers)


def error_answer(_: Request, error: Exception) -> Response:
    """Answer any error that a route raises; what nobody raises on purpose is logged by its kind and place alone."""
    problem = problem_of(error)
    if problem.status == 500 and not isinstance(error, ClientDisconnect):
        log.error("DICOMweb request failed", error=type(error).__name__, at=origin(error))
    return answer(problem)


def routing_problem(_: Request, error: Exception) -> Response:
    """Answer where no route fits (404, 405)."""
    assert isinstance(error, HTTPException)
    detail = "there is no such resource; docs/dicomweb.md lists them"
    if error.status_code == 405:
        detail = "this resource is only read"
    return answer(Problem(error.status_code, detail, dict(error.headers or {})))


class Contained:
    """Keeps errors that were answered from the server's log, which would show their values, and cuts off answers that
    broke in the middle."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        finished = False

        async def noted(message: Message) -> None:
            nonlocal finished
            await send(message)
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if finished or isinstance(error, ClientDisconnect):
                return
            log.error("DICOMweb answer broken off", error=type(error).__name__, at=origin(error))
            raise BrokenAnswer from None  # the client sees that the body ends too early


class BrokenAnswer(RegionMirError):
    """An answer that had begun could not be finished; the log says why."""


def _retry() -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_S)}
