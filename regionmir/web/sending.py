"""From a question of a page to a contact sheet in the outbox, addressed to a PACS."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import anchors, audit, deliveries, peers, result_sets
from db.deliveries import Result
from regionmir.core.errors import QueryRefused
from regionmir.core.identifiers import AETitle
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import Vector
from regionmir.query import trail
from regionmir.query.request import RegionQuery
from regionmir.query.search import active_model, search
from regionmir.results.source import result_uid
from regionmir.web.site import Site
from regionmir.web.visitors import Visitor

if TYPE_CHECKING:
    from db.engine import Session

KIND = "sheet"


@dataclass(frozen=True, slots=True)
class Sent:
    """A result that is in the outbox: the code that opens its answer again, and what to tell whoever sent it."""

    code: str
    said: str


def send_answer(site: Site, visitor: Visitor, query: RegionQuery, drawn: Vector | None, to: AETitle) -> Sent:
    """Search, keep the answer, and put its contact sheet into the outbox, all or nothing. Raises `QueryRefused`."""
    began = time.perf_counter()
    caller = visitor.caller
    with site.writable.session() as session:
        peer = peers.get(session, to)
        if peer is None or not peer.is_destination:
            raise QueryRefused("no-destination", f"{to} is no peer with a host and a port: add it with `peers add`.")
        answer = search(session, query, caller, drawn=drawn)
        trail.record_answer(session, answer, caller, duration_ms=(time.perf_counter() - began) * 1000)
        outbox = SheetOutbox(site.settings.pseudonymizer())
        outbox.enqueue(session, destination=to, result_set_code=answer.code)
        detail = {"to": to, "kind": KIND, "result_set": answer.code, "by": visitor.name}
        audit.record(session, "results sent", actor=caller.ae_title, address=caller.address, detail=detail)
    return Sent(answer.code, f"The contact sheet SIM {answer.code} is on its way to {to}.")


@dataclass(frozen=True, slots=True)
class SheetOutbox:
    """Puts the contact sheet of an answer into the outbox."""

    pseudonymizer: Pseudonymizer

    def enqueue(self, session: "Session", *, destination: str, result_set_code: str) -> None:
        """Enqueue the sheet of a kept answer for a destination; one that is there already is not sent again."""
        kept = result_sets.get(session, result_set_code)
        study = anchors.of_instance(session, kept.anchor_instance_pk) if kept else None
        if kept is None or study is None:
            return
        model = active_model(session)
        about = study.instances[0].sop_instance_uid
        uid = result_uid(self.pseudonymizer, model.info, about, "instance", KIND, kept.code)
        result = Result(KIND, study.study_pk, study.study_instance_uid, model.pk, uid, kept.code)
        deliveries.enqueue(session, result, AETitle(destination))
