"""Pages for administrators: work that waits, what was laid aside, models, peers, what is disclosed and was."""

from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydicom.datadict import dictionary_description

from db import audit, browse, deliveries, generations, instances, peers, query_log
from db.deliveries import DeliveryState
from regionmir.core.audit_events import Endpoint, audit_log_used
from regionmir.core.errors import (
    BrokerUnavailable,
    ConfigurationError,
    InvalidAETitle,
    ModelError,
    PeerRefused,
    PeerUnavailable,
)
from regionmir.core.identifiers import parse_ae_title
from regionmir.query.disclosure import PSEUDONYMOUS
from regionmir.web.actions import wants_json
from regionmir.web.cards import shown_reason
from regionmir.web.forms import FormOf
from regionmir.web.rendering import page
from regionmir.web.signin.caller import admin
from regionmir.web.site import Site, SiteOf
from regionmir.web.visitors import Visitor, VisitorOf

LISTED = 200
_LATELY_S = 3600.0
_READ = ["GET", "HEAD"]

router = APIRouter(prefix="/admin", dependencies=[Depends(admin)])


@router.api_route("", methods=_READ)
def queue(site: SiteOf, request: Request) -> HTMLResponse:
    """Instances and deliveries by state, what waits on the broker, and the queries of the last hour."""
    with site.database.session() as session:
        why = browse.reasons(session)
        values: dict[str, Any] = {
            "states": instances.counts_by_state(session),
            "why": [(state.value, shown_reason(reason), count) for state, reason, count in why],
            "deliveries": deliveries.counts_by_state(session),
            "queries": query_log.recent(session, _LATELY_S),
        }
    return page(request, "admin_queue.html", broker=_broker(site), **values)


@router.api_route("/deliveries", methods=_READ)
def dead_letters(site: SiteOf, request: Request, state: str = "dead") -> HTMLResponse:
    """Deliveries in one state; what was laid aside can be tried again or given up."""
    wanted = DeliveryState(state) if state in set(DeliveryState) else DeliveryState.DEAD
    with site.database.session() as session:
        found = deliveries.listing(session, state=wanted, limit=LISTED)
        counts = deliveries.counts_by_state(session)
    return page(request, "admin_deliveries.html", found=found, counts=counts, state=wanted.value)


@router.post("/deliveries")
def change_deliveries(site: SiteOf, visitor: VisitorOf, form: FormOf) -> Response:
    """Try a delivery again, or give it up."""
    number, changes = form.get("number", ""), {"retry": deliveries.retry, "drop": deliveries.drop}
    change = changes.get(form.get("do", ""))
    if change is None or not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise HTTPException(400, "Say what to do (retry or drop) and with which delivery (number).")
    with site.writable.session() as session:
        count = change(session, pks=[int(number)])
        _record(session, visitor, f"deliveries {form['do']}", {"delivery": int(number), "changed": count})
    return RedirectResponse("/admin/deliveries", 303)


@router.api_route("/models", methods=_READ)
def models(site: SiteOf, request: Request) -> HTMLResponse:
    """The generations, and which one searches use."""
    with site.database.session() as session:
        found = generations.listing(session)
        indexed = generations.indexed(session)
    return page(request, "admin_models.html", found=found, indexed=indexed)


@router.post("/models")
def activate_model(site: SiteOf, visitor: VisitorOf, form: FormOf) -> Response:
    """Let searches use another generation."""
    number = form.get("number", "")
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise HTTPException(400, "Say which generation (number).")
    try:
        with site.writable.session() as session:
            generations.activate(session, int(number))
            _record(session, visitor, "model activated", {"model": int(number)})
    except ModelError as error:
        raise HTTPException(409, str(error)) from None
    return RedirectResponse("/admin/models", 303)


@router.api_route("/peers", methods=_READ)
def list_peers(site: SiteOf, request: Request) -> HTMLResponse:
    """The AEs that we know, and what each may do."""
    with site.database.session() as session:
        found = peers.listing(session)
    return page(request, "admin_peers.html", found=found, answer=None)


@router.post("/peers/echo")
def echo_peer(site: SiteOf, request: Request, form: FormOf) -> Response:
    """Ask a peer by C-ECHO whether it is there and knows us."""
    try:
        title = parse_ae_title(form.get("ae_title", ""))
    except InvalidAETitle as error:
        raise HTTPException(400, str(error)) from None
    answer = _echo(site, title)
    if wants_json(request):
        return JSONResponse(answer)
    with site.database.session() as session:
        found = peers.listing(session)
    return page(request, "admin_peers.html", found=found, answer=answer)


@router.api_route("/audit", methods=_READ)
def audit_trail(site: SiteOf, visitor: VisitorOf, request: Request) -> HTMLResponse:
    """What pseudonymous answers hold, who is shown identities, and the newest events of the audit trail.

    That somebody reads it is an event itself (PS3.15 A.5.3.2). Details, which may say whose studies they are of, are
    for those who may know.
    """
    reader = Endpoint(visitor.name, visitor.caller.address, is_ae=False)
    message = audit_log_used(reader)
    with site.writable.session() as session:
        audit.record(session, "audit searched", actor=reader.name, address=reader.address, detail={}, message=message)
    with site.database.session() as session:
        events = audit.listing(session, limit=LISTED)
        identified = [peer for peer in peers.listing(session) if peer.disclosure.value == "identified"]
    forms = [(dictionary_description(tag), field.form.value) for tag, field in PSEUDONYMOUS.items()]
    return page(request, "admin_audit.html", events=events, identified=identified, forms=forms)


def _broker(site: Site) -> str:
    try:
        depth = None if site.queue is None else site.queue.depth()
    except BrokerUnavailable as error:
        return f"{error}: workers look for work by themselves every few seconds; start Redis to wake them at once"
    return "none is set: workers look for work by themselves" if depth is None else f"{depth} wake-ups wait"


def _echo(site: Site, title: str) -> dict[str, Any]:
    from regionmir.scu.echo import echo
    from regionmir.scu.peer import address_of

    with site.database.session() as session:
        peer = peers.get(session, title)
    if peer is None or not peer.host or peer.port is None:
        said = "has no host and port here: add them with `regionmir peers add`"
        return {"peer": title, "ok": False, "said": said}
    try:
        answer = echo(address_of(peer, site.settings.tls_files), site.settings.ae_title)
    except (PeerUnavailable, PeerRefused, ConfigurationError) as error:
        return {"peer": title, "ok": False, "said": str(error)}
    said = f"answered 0x{answer.status.code:04X} in {1000 * answer.total_s:.0f} ms"
    return {"peer": title, "ok": answer.status.code == 0, "said": said}


def _record(session: Any, visitor: Visitor, kind: str, detail: dict[str, Any]) -> None:
    caller = visitor.caller
    audit.record(session, kind, actor=visitor.name, address=caller.address, detail=detail)
