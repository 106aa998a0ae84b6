"""C-FIND for similar regions: a search expression at a title `RGN_*`, or the private block of structured queries."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pynetdicom.events import Event

from db.find import Condition, FindRow, find
from db.result_sets import normal_code
from dicom_node import audit_trail
from dicom_node.identifier import called_ae
from dicom_node.status import CANCEL, PENDING_WITHOUT_OPTIONAL_KEYS, SIMILAR, failure
from regionmir.core.errors import QueryRefused
from regionmir.core.identifiers import parse_uid
from regionmir.core.records import Caller
from regionmir.query import block, trail
from regionmir.query.answers import answer, explanation, hit_extra
from regionmir.query.drawn import embed_drawn
from regionmir.query.keys import Keys
from regionmir.query.matching import FindRequest, Root, read_request
from regionmir.query.narrowing import narrowing, without_filters
from regionmir.query.request import RegionQuery, Token, without_expressions
from regionmir.query.search import Answer, kept_answer, search

if TYPE_CHECKING:
    from dicom_node.node import Node

Response = tuple[int | Dataset, Dataset | None]


def similar_responses(
    event: Event, node: "Node", caller: Caller, keys: Keys, request: FindRequest
) -> Iterator[Response] | None:
    """Return the responses to a similarity query, None where the query is ordinary matching."""
    plain = without_expressions(keys)
    try:
        token = block.read_expression(keys, request, called_ae(event))
    except QueryRefused as error:
        return _refusal(node, caller, read_request(without_filters(plain), Root.STUDY, caller.disclosure), error)
    if token is None:
        return None
    if token.rank is None:  # the filters are matched by the search
        return _hits(event, node, caller, token, without_filters(plain), narrowing(keys, caller.disclosure))
    return _hits(event, node, caller, token, plain, ())


def _hits(
    event: Event, node: "Node", caller: Caller, token: Token, keys: Keys, narrow: tuple[Condition, ...]
) -> Iterator[Response]:
    """Answer hits by rank (FF01H: they match by likeness, not by their attributes)."""
    request = read_request(keys, Root.STUDY, caller.disclosure)
    try:
        found, rows = _search(event, node, caller, request, token, narrow)
    except QueryRefused as error:
        yield from _refusal(node, caller, request, error)
        return
    for hit in found.hits:
        if event.is_cancelled:
            yield CANCEL, None
            return
        if hit.study_pk in rows:
            extra = hit_extra(found, hit)
            row = answer(request, rows[hit.study_pk], retrieve_ae=node.settings.ae_title, extra=extra)
            if keys.block:
                block.add_to_answer(row, found, hit)
            yield PENDING_WITHOUT_OPTIONAL_KEYS, row


def _search(
    event: Event, node: "Node", caller: Caller, request: FindRequest, token: Token, narrow: tuple[Condition, ...]
) -> tuple[Answer, dict[int | None, FindRow]]:
    """Return the answer and the hits' studies by key; what it says is written down before any of it is sent."""
    started = time.perf_counter()
    node.failed_anchors.check(caller.ae_title)
    query, drawn = _query(node, token, narrow), None
    if query.box is not None or normal_code(query.anchor):  # the code of an answer may stand for a box
        query, drawn = embed_drawn(node.database, node.queue, query, caller)
    with node.database.session() as session:
        found = None if narrow else kept_answer(session, token, caller)
        found = found or search(session, query, caller, drawn=drawn)
        spec = request.spec(limit=None, study_pks=tuple(hit.study_pk for hit in found.hits))
        rows = {row.study_pk: row for row in find(session, spec)} if not request.matches_nothing else {}
        audit_trail.query(session, node, event, caller)
        trail.record_answer(session, found, caller, duration_ms=(time.perf_counter() - started) * 1000)
    return found, rows


def _query(node: "Node", token: Token, narrow: tuple[Condition, ...]) -> RegionQuery:
    settings = node.settings
    k = token.k or settings.default_k
    within_s = settings.last_within_s
    return RegionQuery(token.anchor, token.anatomies, k, token.combine, narrow, token.box, last_within_s=within_s)


def _refusal(node: "Node", caller: Caller, request: FindRequest, error: QueryRefused) -> Iterator[Response]:
    """Say why there is no answer: a failure status, before it a row for clients that show no statuses."""
    node.failed_anchors.note(caller.ae_title, error)
    with node.database.session() as session:
        trail.record_refusal(session, error, caller)
    status = SIMILAR[error.code].status
    if caller.explain_row:
        uid = node.pseudonymizer.uid("explanation", parse_uid(str(status)))
        row = explanation(request, f"{status:04X}", str(error), uid=uid, retrieve_ae=node.settings.ae_title)
        yield PENDING_WITHOUT_OPTIONAL_KEYS, row
    yield failure(status, str(error)), None
