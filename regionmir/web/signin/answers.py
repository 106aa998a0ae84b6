"""What the door answers: pages for people, problem details (RFC 9457) for programs."""

from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from regionmir.web.problems import problem
from regionmir.web.rendering import templates

AWAY = "The database cannot be reached at the moment. Nothing is lost; try again in a few seconds."
_LONGEST_PATH = 2000
_CODES = {401: "not-signed-in", 403: "not-allowed", 429: "too-many", 503: "unavailable"}
_PROGRAMS = ("/api/", "/dicom-web/", "/metrics")


def page(status: int = 200, **values: Any) -> HTMLResponse:
    """Return the page of sign-in."""
    defaults = {"title": "Sign in", "message": "", "form": False, "link": "", "next_path": "/", "caller": None}
    defaults |= {"nobody": False, "can_sign_out": False}
    return HTMLResponse(templates().get_template("sign_in.html").render(**{**defaults, **values}), status)


def refusal(headers: Headers, status: int, title: str, said: str) -> Response:
    """Return a refusal in the form that the asker reads."""
    if "text/html" in headers.get("accept", ""):
        answer: Response = page(status, title=title, message=said)
    else:
        answer = problem(status, _CODES.get(status, "refused"), said)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        answer.headers["Retry-After"] = "5"
    return answer


def sign_in_first(scope: Scope, headers: Headers, *, can_sign_in: bool) -> Response:
    """Return what somebody gets who is nobody: the way to the page of sign-in, or 401."""
    path = str(scope["path"])
    looks = scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", "")
    if can_sign_in and looks and not path.startswith(_PROGRAMS):
        query = scope.get("query_string", b"").decode("latin-1")
        wanted = quote(path) + (f"?{query}" if query else "")
        return RedirectResponse(f"/sign-in?next={quote(own_path(wanted), safe='/')}", 303)
    return refusal(headers, 401, "Not signed in", "Sign in at /sign-in, or send an API token as a bearer token.")


def own_path(text: str) -> str:
    """Return `text` if it is a path of ours, with its query, else `/`: nobody is sent elsewhere after sign-in."""
    ours = text.startswith("/") and not text.startswith("//") and "\\" not in text
    return text if ours and len(text) <= _LONGEST_PATH and text.isascii() and text.isprintable() else "/"
