"""From a question of a page to results in the outbox, addressed to a PACS."""

import time
from dataclasses import dataclass

from db import audit, peers
from db.peers import Peer
from regionmir.core.errors import QueryRefused
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure, Vector, lower
from regionmir.query import trail
from regionmir.query.request import RegionQuery
from regionmir.query.search import search
from regionmir.results.outbox import ResultOutbox
from regionmir.web.site import Site
from regionmir.web.visitors import Visitor


@dataclass(frozen=True, slots=True)
class Sent:
    """A result that is in the outbox: the code that opens its answer again, and what to tell whoever sent it."""

    code: str
    said: str


def send_answer(site: Site, visitor: Visitor, query: RegionQuery, drawn: Vector | None, to: AETitle) -> Sent:
    """Search, keep the answer, and put its results into the outbox, all or nothing. Raises `QueryRefused`."""
    began = time.perf_counter()
    caller = visitor.caller
    with site.writable.session() as session:
        peer = _destination(peers.get(session, to), to, caller.disclosure)
        answer = search(session, query, caller, drawn=drawn)
        trail.record_answer(session, answer, caller, duration_ms=(time.perf_counter() - began) * 1000)
        ResultOutbox(site.settings.pseudonymizer()).enqueue(session, destination=to, result_set_code=answer.code)
        detail = {"to": to, "kinds": list(peer.results), "result_set": answer.code}
        audit.record(session, "results sent", actor=visitor.name, address=caller.address, detail=detail)
    return Sent(answer.code, f"The results of SIM {answer.code} are on their way to {to}.")


def _destination(peer: Peer | None, to: AETitle, disclosure: Disclosure) -> Peer:
    """Return a peer that takes results. Raises `QueryRefused`: what is missing, and how to add it."""
    if peer is None or not peer.is_destination:
        raise QueryRefused("no-destination", f"{to} is no peer with a host and a port: add it with `peers add`.")
    if not peer.results:
        raise QueryRefused("no-destination", f"{to} is sent no kind of result: name some with `peers add --results`.")
    if lower(disclosure, peer.disclosure) is Disclosure.PSEUDONYMOUS and not peer.accepts_pseudonyms:
        raise QueryRefused(
            "no-destination",
            f"Results of yours go to {to} under pseudonyms, and it takes none: `peers add --accepts-pseudonyms`, or a "
            "visitor and a peer who are shown identities.",
        )
    return peer
