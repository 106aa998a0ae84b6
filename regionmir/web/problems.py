"""Errors as problem details (RFC 9457): what is wrong and what to do, and nothing of what was sent."""

from http import HTTPStatus
from typing import Final

from fastapi.responses import JSONResponse

MEDIA_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:regionmir:problem:"


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem of this HTTP status; `code` is a short stable word, `detail` says what to do."""
    content = {
        "type": _TYPE + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)
