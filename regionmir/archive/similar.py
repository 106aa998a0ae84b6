"""Similar regions, as C-FIND at `RGN_*` and DICOMweb answer them: the hits of a search expression and their studies."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from db.engine import Session
from db.find import Condition, FindRow, find
from db.result_sets import normal_code
from regionmir.archive.archive import Archive
from regionmir.archive.errors import NotAuthorized
from regionmir.archive.status import SIMILAR
from regionmir.core.errors import QueryRefused
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.records import Caller
from regionmir.monitoring.stages import stage
from regionmir.query import trail
from regionmir.query.drawn import embed_drawn
from regionmir.query.matching import FindRequest
from regionmir.query.request import RegionQuery, Token
from regionmir.query.search import Answer, kept_answer, search


@dataclass(frozen=True, slots=True)
class Similar:
    """What was found, and the hits' studies by key; a hit whose study does not match the other keys has no row."""

    answer: Answer
    rows: dict[int | None, FindRow]


def find_similar(
    archive: Archive,
    caller: Caller,
    request: FindRequest,
    token: Token,
    narrow: tuple[Condition, ...],
    and_then: Callable[[Session], None],
) -> Similar:
    """Return what a search expression means; what it says is written down before any of it is sent.

    `and_then` writes down, in the same transaction, what was asked. Raises `QueryRefused` (see `refused`), and
    `NotAuthorized` where the caller may not see a kept answer, or not ask anew.
    """
    started = time.perf_counter()
    archive.failed_anchors.check(caller.actor)
    query, drawn = _query(archive, token, narrow), None
    if caller.rights.ask and (query.box is not None or normal_code(query.anchor)):  # a code may stand for a box
        query, drawn = embed_drawn(archive.database, archive.queue, query, caller)
    with archive.database.session() as session:
        found = None if narrow else kept_answer(session, token, caller)
        _require_right(caller, found)
        with stage("search"):
            found = found or search(session, query, caller, drawn=drawn, replica=archive.replica)
        spec = request.spec(limit=None, study_pks=tuple(hit.study_pk for hit in found.hits))
        rows = {row.study_pk: row for row in find(session, spec)} if not request.matches_nothing else {}
        and_then(session)
        trail.record_answer(session, found, caller, duration_ms=(time.perf_counter() - started) * 1000)
    return Similar(found, rows)


def _require_right(caller: Caller, kept: Answer | None) -> None:
    """Return if the caller may see this answer that was kept, or, where there is none, ask. Raises `NotAuthorized`."""
    if kept is not None and not caller.rights.find:
        raise NotAuthorized("to open an answer again, sign in or send a token with the scope read")
    if kept is None and not caller.rights.ask:
        raise NotAuthorized("to ask for similar regions, sign in or send a token with the scope query")


def refused(archive: Archive, caller: Caller, error: QueryRefused) -> int:
    """Write down a refusal, count it if it was a guess, and return its status."""
    archive.failed_anchors.note(caller.actor, error)
    with archive.database.session() as session:
        trail.record_refusal(session, error, caller)
    return SIMILAR[error.code].status


def explanation_uid(archive: Archive, status: int) -> Uid:
    """Return the Study Instance UID of the row that explains a status: it belongs to no study."""
    return archive.pseudonymizer.uid("explanation", parse_uid(str(status)))


def _query(archive: Archive, token: Token, narrow: tuple[Condition, ...]) -> RegionQuery:
    settings = archive.settings
    k = token.k or settings.default_k
    within_s = settings.last_within_s
    return RegionQuery(token.anchor, token.anatomies, k, token.combine, narrow, token.box, last_within_s=within_s)
