"""From a template and values to a page, the same frame around all of them."""

from functools import cache
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from regionmir.core.anatomy import Anatomy, anatomy_by_short
from regionmir.core.errors import InvalidUid, UnknownAnatomy
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.web.viewers import ohif_link, ohif_path
from regionmir.web.visitors import visitor_of


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return the page that `template` makes of the values and of who asks."""
    visitor = visitor_of(request)
    frame = {"visitor": visitor, "csrf": visitor.csrf, "ohif": ohif_path(request.app.state.site), "status": status}
    return HTMLResponse(templates().get_template(template).render(**frame, **values), status)


def unknown(message: str) -> HTTPException:
    """Return the error that shows a page which says what is not there."""
    return HTTPException(404, message)


def uid_in_path(text: str) -> Uid:
    """Return a UID out of a path. Raises `HTTPException`."""
    try:
        return parse_uid(text)
    except InvalidUid:
        raise unknown("There is nothing of this name.") from None


def anatomy_in_path(short: str) -> Anatomy:
    """Return the anatomy of a short form out of a path or form. Raises `HTTPException`."""
    try:
        return anatomy_by_short(short)
    except UnknownAnatomy:
        raise unknown("There is no region of this name.") from None


@cache
def templates() -> Environment:
    """Return the templates of all pages; a value that is not given is an error."""
    environment = Environment(loader=PackageLoader("regionmir.web"), autoescape=True, undefined=StrictUndefined)
    environment.globals["ohif_link"] = ohif_link
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment
