"""What goes wrong in a request, as problem details. One table turns refusals into statuses."""

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from regionmir.core.errors import (
    DatabaseUnavailable,
    NotIndexable,
    QueryRefused,
    RegionMirError,
    StorageFull,
    Transient,
)
from regionmir.query.keys import InvalidKey
from regionmir.web.callers import NotAllowed, NotSignedIn
from regionmir.web.problems import problem

REFUSED: Final = {
    "bad-token": 422,
    "bad-box": 422,
    "contradiction": 422,
    "unknown-region": 422,
    "region-required": 422,
    "rate-limited": 429,
    "unknown-anchor": 404,
    "ambiguous-anchor": 409,
    "not-indexed": 409,
    "failed-anchor": 422,
    "unsupported-anchor": 422,
    "no-region": 422,
    "region-off": 422,
    "no-model": 503,
    "last-none": 404,
    "last-ambiguous": 409,
    "no-hits": 404,
    "box-waiting": 409,
    "box-failed": 422,
    "film-stale": 409,
}
"""HTTP statuses of similarity queries by the code of the refusal."""

RETRY_AFTER_S: Final = {"not-indexed": 2, "box-waiting": 1, "no-model": 5, "rate-limited": 60}
"""When to ask again, where time cures."""


class Refused(RegionMirError):
    """A request that cannot be done, with its HTTP status and a short stable word."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


def add_handlers(api: FastAPI) -> None:
    """Let every error that a route raises be answered as a problem."""
    for error, handler in _HANDLERS.items():
        api.add_exception_handler(error, handler)


def refusal(error: Refused | QueryRefused) -> JSONResponse:
    """Return a refusal as a problem."""
    if isinstance(error, Refused):
        return problem(error.status, error.code, str(error), _retry_after(error.retry_after_s))
    return problem(REFUSED[error.code], error.code, str(error), _retry_after(RETRY_AFTER_S.get(error.code)))


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused | QueryRefused)
    return refusal(error)


def _not_signed_in(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NotSignedIn)
    challenge = "Bearer" if error.code == "token-required" else 'Bearer error="invalid_token"'
    return problem(401, error.code, str(error), {"WWW-Authenticate": challenge})


def _not_allowed(_: Request, error: Exception) -> JSONResponse:
    return problem(403, "not-allowed", str(error))


def _not_an_image(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NotIndexable)
    return problem(422, "not-an-image", f"This is no film that can be read: {error.reason}.")


def _bad_value(_: Request, error: Exception) -> JSONResponse:
    return problem(422, "bad-value", str(error))


def _not_understood(_: Request, error: Exception) -> JSONResponse:
    """Say which value is wrong and how, without the value: it may name a patient."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(400, "bad-json", f"The body is no JSON: see character {first['loc'][-1]}.")
    own = first["loc"][:-1] if first["type"] == "extra_forbidden" else first["loc"]  # the rest is a name that was sent
    where = ".".join(map(str, own))
    return problem(422, "bad-value", f"{where}: {first['msg']}.")


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, detail = _HTTP.get(error.status_code, ("error", "The request cannot be answered."))
    return problem(error.status_code, code, detail, dict(error.headers or {}))


_HTTP: Final = {
    400: ("bad-request", "The request cannot be read."),
    404: ("unknown-path", "There is nothing at this address; see /api/v1/openapi.json."),
    405: ("method-not-allowed", "This address does not take this method; see /api/v1/openapi.json."),
    413: ("too-large", "The body is larger than is accepted; films: see REGIONMIR_MAX_UPLOAD_BYTES."),
}


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    what = "database" if isinstance(error, DatabaseUnavailable) else "store"
    return problem(503, "unavailable", f"The {what} cannot be reached at the moment; try again.", _retry_after(5))


def _full(_: Request, __: Exception) -> JSONResponse:
    return problem(507, "disk-full", "The disk of the server is full: nothing was kept.")


def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return problem(500, "internal-error", "Something is wrong with the server; its log says where.")


def _retry_after(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}


_HANDLERS: Final[dict[type[Exception], Any]] = {
    Refused: _refused,
    QueryRefused: _refused,
    NotSignedIn: _not_signed_in,
    NotAllowed: _not_allowed,
    NotIndexable: _not_an_image,
    InvalidKey: _bad_value,
    RequestValidationError: _not_understood,
    HTTPException: _http,
    StorageFull: _full,
    Transient: _unavailable,
    Exception: _unexpected,
}
