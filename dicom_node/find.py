"""C-FIND: ordinary matching, and similar regions where a called AE `RGN_*` is asked `SIM <anchor> [<region>]`."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom.events import Event

from db.find import FindRow, find
from dicom_node.errors import NotAuthorized
from dicom_node.identifier import called_ae, is_combined, read_identifier, read_root
from dicom_node.status import CANCEL, FIND, PENDING, PENDING_WITHOUT_OPTIONAL_KEYS, failure, status_of
from regionmir.core.errors import QueryRefused, RegionMirError, origin
from regionmir.core.identifiers import parse_uid
from regionmir.core.records import Caller
from regionmir.query import trail
from regionmir.query.answers import answer, explanation, hit_extra
from regionmir.query.keys import Keys
from regionmir.query.matching import FindRequest, Root, read_request
from regionmir.query.request import Token, expression_tag, parse_token
from regionmir.query.search import Answer, answer_token

if TYPE_CHECKING:
    from dicom_node.node import Node

log = structlog.get_logger(__name__)

Response = tuple[int | Dataset, Dataset | None]

TOO_MANY: Final = 0xA700
"""Refused, out of resources: more match than `find_cap`; those already sent are right, narrow the query."""

REFUSED: Final = {
    "bad-token": 0xA900,
    "unknown-region": 0xA900,
    "region-required": 0xA900,
    "rate-limited": 0xA700,
    "unknown-anchor": 0xC101,
    "ambiguous-anchor": 0xC102,
    "not-indexed": 0xC103,
    "failed-anchor": 0xC104,
    "unsupported-anchor": 0xC105,
    "no-region": 0xC106,
    "region-off": 0xC107,
    "no-model": 0xC108,
    "last-none": 0xC109,
    "last-ambiguous": 0xC10A,
    "no-hits": 0xC10B,
}
"""Failure statuses of similarity queries by the code of the refusal (Cxxx: unable to process, PS3.4 C.4.1.1.4)."""


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
    request = read_request(keys, root, caller.disclosure, combined=is_combined(event))
    tag = expression_tag(keys, request, called_ae(event))
    if tag is None:
        yield from _matches(event, node, caller, request)
    else:
        yield from _similar(event, node, caller, keys, tag)


def _matches(event: Event, node: "Node", caller: Caller, request: FindRequest) -> Iterator[Response]:
    """Answer ordinary matching. Rows are read before the first is sent: a slow client holds no connection."""
    started, cap = time.perf_counter(), node.settings.find_cap
    with node.database.session() as session:
        rows = list(find(session, request.spec(limit=cap + 1))) if not request.matches_nothing else []
        trail.record_find(session, caller, hits=len(rows[:cap]), duration_ms=_ms_since(started))
    status = PENDING_WITHOUT_OPTIONAL_KEYS if request.ignored else PENDING
    for row in rows[:cap]:
        if event.is_cancelled:
            yield CANCEL, None
            return
        yield status, answer(request, row, retrieve_ae=node.settings.ae_title)
    if len(rows) > cap:
        yield failure(TOO_MANY, f"more than {cap} match, {cap} sent; narrow the query"), None


def _similar(event: Event, node: "Node", caller: Caller, keys: Keys, tag: str) -> Iterator[Response]:
    """Answer a search expression: hits by rank (FF01H: they match by likeness, not by their attributes)."""
    request = read_request(keys.without(tag), Root.STUDY, caller.disclosure)
    try:
        found, rows = _search(node, caller, request, parse_token(keys.text(tag), called_ae(event)))
    except QueryRefused as error:
        yield from _refusal(node, caller, request, error)
        return
    for hit in found.hits:
        if event.is_cancelled:
            yield CANCEL, None
            return
        if hit.study_pk in rows:
            extra = hit_extra(found, hit)
            row = rows[hit.study_pk]
            yield (
                PENDING_WITHOUT_OPTIONAL_KEYS,
                answer(request, row, retrieve_ae=node.settings.ae_title, extra=extra),
            )


def _search(
    node: "Node", caller: Caller, request: FindRequest, token: Token
) -> tuple[Answer, dict[int | None, FindRow]]:
    """Return the answer and the hits' studies by key; what it says is written down before any of it is sent."""
    started = time.perf_counter()
    node.failed_anchors.check(caller.ae_title)
    with node.database.session() as session:
        settings = node.settings
        found = answer_token(session, token, caller, k=settings.default_k, last_within_s=settings.last_within_s)
        spec = request.spec(limit=None, study_pks=tuple(hit.study_pk for hit in found.hits))
        rows = {row.study_pk: row for row in find(session, spec)} if not request.matches_nothing else {}
        trail.record_answer(session, found, caller, duration_ms=_ms_since(started))
    return found, rows


def _refusal(node: "Node", caller: Caller, request: FindRequest, error: QueryRefused) -> Iterator[Response]:
    """Say why there is no answer: a failure status, before it a row for clients that show no statuses."""
    node.failed_anchors.note(caller.ae_title, error)
    with node.database.session() as session:
        trail.record_refusal(session, error, caller)
    status = REFUSED[error.code]
    if caller.explain_row:
        uid = node.pseudonymizer.uid("explanation", parse_uid(str(status)))
        row = explanation(request, f"{status:04X}", str(error), uid=uid, retrieve_ae=node.settings.ae_title)
        yield PENDING_WITHOUT_OPTIONAL_KEYS, row
    yield failure(status, str(error)), None


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
