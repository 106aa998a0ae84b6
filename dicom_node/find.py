"""C-FIND: ordinary matching; similar regions are answered by `dicom_node.find_similar`."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog
from pynetdicom.events import Event

from db.find import find
from dicom_node import audit_trail
from dicom_node.boxes import box_rows
from dicom_node.errors import NotAuthorized
from dicom_node.find_similar import Response, similar_responses
from dicom_node.identifier import called_ae, is_combined, read_identifier, read_root
from dicom_node.status import (
    CANCEL,
    FIND,
    PENDING,
    PENDING_WITHOUT_OPTIONAL_KEYS,
    TOO_MANY_ANSWERS,
    failure,
    status_of,
)
from regionmir.core.errors import RegionMirError, origin
from regionmir.core.records import Caller
from regionmir.query import trail
from regionmir.query.answers import answer
from regionmir.query.matching import FindRequest, read_request
from regionmir.query.request import is_below_hit, without_expressions

if TYPE_CHECKING:
    from dicom_node.node import Node

log = structlog.get_logger(__name__)


def handle_find(event: Event, node: "Node") -> Iterator[Response]:
    """Answer a C-FIND (PS3.4 C.4.1): pending answers, then success by silence, or one failure with an Error Comment."""
    try:
        yield from _responses(event, node)
    except RegionMirError as error:
        yield status_of(error, FIND), None
    except Exception as error:
        log.error("find failed", error=type(error).__name__, at=origin(error))
        yield status_of(error, FIND), None


def _responses(event: Event, node: "Node") -> Iterator[Response]:
    caller = node.caller_of(event)
    if not caller.rights.find:
        raise NotAuthorized("this AE may not query")
    keys, root = read_identifier(event), read_root(event)
    if is_below_hit(keys, root, called_ae(event)):
        keys = without_expressions(keys)
    request = read_request(keys, root, caller.disclosure, combined=is_combined(event))
    similar = similar_responses(event, node, caller, keys, request)
    yield from similar if similar is not None else _matches(event, node, caller, request, called_ae(event))


def _matches(event: Event, node: "Node", caller: Caller, request: FindRequest, called: str) -> Iterator[Response]:
    """Answer ordinary matching. Rows are read before the first is sent: a slow client holds no connection.

    Below a study at `RGN_*` the presentation states that draw its regions are found too.
    """
    started, cap = time.perf_counter(), node.settings.find_cap
    with node.database.session() as session:
        rows = list(find(session, request.spec(limit=cap + 1))) if not request.matches_nothing else []
        rows += box_rows(session, node.pseudonymizer, request, called)
        audit_trail.query(session, node, event, caller)
        trail.record_find(session, caller, hits=len(rows[:cap]), duration_ms=_ms_since(started))
    status = PENDING_WITHOUT_OPTIONAL_KEYS if request.ignored else PENDING
    for row in rows[:cap]:
        if event.is_cancelled:
            yield CANCEL, None
            return
        yield status, answer(request, row, retrieve_ae=node.settings.ae_title)
    if len(rows) > cap:
        yield failure(TOO_MANY_ANSWERS, f"more than {cap} match, {cap} sent; narrow the query"), None


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
