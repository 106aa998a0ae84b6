"""Answers the questions of ways A and C, once the film that they start from is final."""

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from db import drawn_boxes, regions, wanted_answers
from db.engine import Database
from db.wanted_answers import WantedAnswer
from regionmir.core.errors import QueryRefused, StorageFull, Transient, origin
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Rights
from regionmir.monitoring.stages import stage
from regionmir.query import trail
from regionmir.query.drawn import ask_drawn, vector_of
from regionmir.query.request import RegionQuery
from regionmir.query.search import Answer, active_model, search

if TYPE_CHECKING:
    from db.engine import Session

LATER = frozenset({"not-indexed", "no-model", "box-waiting"})
"""Refusals that time cures: the question goes on waiting."""

log = structlog.get_logger(__name__)


class Outbox(Protocol):
    """Takes a finished answer to be sent to its destination, in the transaction that records the answer."""

    def enqueue(self, session: "Session", *, destination: str, result_set_code: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers what waits. Without an `outbox` the result set stands in `wanted_answer`, for its destination to ask."""

    database: Database
    default_k: int
    outbox: Outbox | None = None

    def answer_waiting(self) -> int:
        """Answer every question whose film is final and return how many were answered or refused.

        Each in a transaction of its own: one that fails holds up no other. Raises `Transient`, `StorageFull`.
        """
        with self.database.session() as session:
            due = wanted_answers.due(session)
        return sum(map(self._answer_one, due))

    def _answer_one(self, pk: int) -> bool:
        try:
            with self.database.session() as session:
                wanted = wanted_answers.take(session, pk)
                return wanted is not None and self._answer(session, wanted)
        except (Transient, StorageFull):
            raise
        except Exception as error:
            log.error("wanted answer failed", error=type(error).__name__, at=origin(error))
            with self.database.session() as session:
                wanted_answers.finish(session, pk, reason=f"internal error: {type(error).__name__}")
            return True

    def _answer(self, session: "Session", wanted: WantedAnswer) -> bool:
        started = time.perf_counter()
        caller = _caller(wanted)
        try:
            with stage("answer", wanted.anchor_uid):
                answer = self._search(session, wanted, caller)
        except QueryRefused as error:
            if error.code in LATER:
                return False
            trail.record_refusal(session, error, caller)
            wanted_answers.finish(session, wanted.pk, reason=str(error))
            log.info("wanted answer refused", way=wanted.way, why=error.code, peer=wanted.caller_ae)
            return True
        trail.record_answer(session, answer, caller, duration_ms=(time.perf_counter() - started) * 1000)
        wanted_answers.finish(session, wanted.pk, code=answer.code)
        if self.outbox is not None:
            self.outbox.enqueue(session, destination=wanted.destination, result_set_code=answer.code)
        log.info("wanted answer found", way=wanted.way, hits=len(answer.hits), peer=wanted.caller_ae)
        return True

    def _search(self, session: "Session", wanted: WantedAnswer, caller: Caller) -> Answer:
        query = partial(RegionQuery, wanted.anchor_uid, k=self.default_k)
        if wanted.box is not None:
            asked = query(anatomies=wanted.anatomies, box=wanted.box)
            drawn, pk = ask_drawn(session, asked, caller, again=False)
            return search(session, drawn, caller, drawn=vector_of(drawn_boxes.answer(session, pk)))
        anatomies = wanted.anatomies
        if not anatomies:
            found = regions.of_instances(session, [wanted.anchor_instance_pk], active_model(session).pk)
            anatomies = tuple(filed.region.anatomy for filed in found)
        return search(session, query(anatomies=anatomies), caller)


def _caller(wanted: WantedAnswer) -> Caller:
    """Return who asked, with what it was allowed to see when it asked."""
    return Caller(AETitle(wanted.caller_ae), wanted.address, Rights(find=True), wanted.disclosure, registered=True)
