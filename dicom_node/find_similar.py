"""C-FIND for similar regions: a search expression at a title `RGN_*`, or the private block of structured queries."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pynetdicom.events import Event

from db.engine import Session
from db.find import Condition
from dicom_node import audit_trail
from dicom_node.identifier import called_ae
from dicom_node.status import CANCEL, PENDING_WITHOUT_OPTIONAL_KEYS, failure
from regionmir.archive.similar import explanation_uid, find_similar, refused
from regionmir.core.errors import QueryRefused
from regionmir.core.records import Caller
from regionmir.query import block
from regionmir.query.answers import answer, explanation, hit_extra
from regionmir.query.keys import Keys
from regionmir.query.matching import FindRequest, Root, read_request
from regionmir.query.narrowing import narrowing, without_filters
from regionmir.query.request import Token, without_expressions

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

    def audited(session: Session) -> None:
        audit_trail.query(session, node, event, caller)

    try:
        found = find_similar(node, caller, request, token, narrow, audited)
    except QueryRefused as error:
        yield from _refusal(node, caller, request, error)
        return
    for hit in found.answer.hits:
        if event.is_cancelled:
            yield CANCEL, None
            return
        if hit.study_pk in found.rows:
            extra = hit_extra(found.answer, hit)
            row = answer(request, found.rows[hit.study_pk], retrieve_ae=node.settings.ae_title, extra=extra)
            if keys.block:
                block.add_to_answer(row, found.answer, hit)
            yield PENDING_WITHOUT_OPTIONAL_KEYS, row


def _refusal(node: "Node", caller: Caller, request: FindRequest, error: QueryRefused) -> Iterator[Response]:
    """Say why there is no answer: a failure status, before it a row for clients that show no statuses."""
    status = refused(node, caller, error)
    if caller.explain_row:
        uid = explanation_uid(node, status)
        row = explanation(request, f"{status:04X}", str(error), uid=uid, retrieve_ae=node.settings.ae_title)
        yield PENDING_WITHOUT_OPTIONAL_KEYS, row
    yield failure(status, str(error)), None
