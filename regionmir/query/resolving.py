"""From `CODE#rank` on a result back to the patient behind it: for those with the right and a reason, audited first."""

import re
from dataclasses import dataclass

from db import audit, hit_origins, peers, result_sets
from db.engine import Database
from db.hit_origins import HitOrigin
from regionmir.core.errors import InvalidIdentifier, RegionMirError

_HIT = re.compile(r"([0-9A-Za-z]{8})#0*(\d{1,4})", re.ASCII)
MAX_REASON = 500


class NotResolved(RegionMirError):
    """The hit's origin is not told: the asker has not the right, or there is no such hit (any more)."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants to know: a registered AE, the person that acts for it, and from where."""

    ae_title: str
    person: str = ""
    address: str = ""


def read_hit(text: str) -> tuple[str, int]:
    """Return code and rank of `CODE#rank`, the rank with or without leading zeros. Raises `InvalidIdentifier`."""
    found = _HIT.fullmatch(text.strip())
    if found is None:
        raise InvalidIdentifier("name a hit as it stands on the result: CODE#rank, such as 7K3M9QXA#1")
    return result_sets.normal_code(found[1]), int(found[2])


def resolve(database: Database, hit: str, asker: Asker, reason: str) -> HitOrigin:
    """Return whose the hit is. Every attempt is in the audit trail, and committed, before anything is looked up.

    Raises `InvalidIdentifier` for what names no hit or gives no reason, and `NotResolved`.
    """
    code, rank = read_hit(hit)
    if not reason.strip():
        raise InvalidIdentifier("give a reason: it is kept in the audit trail")
    with database.session() as session:
        peer = peers.get(session, asker.ae_title)
        allowed = peer is not None and peer.can_identify
        kind = "resolve" if allowed else "resolve refused"
        detail = {"hit": f"{code}#{rank}", "reason": reason.strip()[:MAX_REASON], "person": asker.person}
        audit.record(session, kind, actor=asker.ae_title, address=asker.address, detail=detail)
    if not allowed:
        raise NotResolved(f"{asker.ae_title} has not the right `identify`; see `regionmir peers add --help`")
    with database.session() as session:
        kept = result_sets.get(session, code)
        instance = next((h["instance_pk"] for h in kept.hits if h["rank"] == rank), None) if kept else None
        origin = hit_origins.origin_of(session, instance) if instance is not None else None
    if origin is None:
        raise NotResolved("no such hit is kept, or its study was deleted")
    return origin
