"""The chain of hashes over the audit trail: reading it in order, and finding where it was broken.

The database makes it (function `audit_digest`); here the hashes are computed again, by other code, so that a change to
the rows, to the chain or to the function shows.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Text, cast, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import AuditChainRow, AuditEventRow, AuditForwardingRow

_AT_ONCE = 1000
_UTC = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


@dataclass(frozen=True, slots=True)
class Link:
    """One event at its place in the chain. `at` and `detail` are the texts that the hash covers; UTC, JSON."""

    position: int
    hash: str
    """64 hexadecimal digits."""
    pk: int
    at: str
    kind: str
    actor: str
    address: str
    detail: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a verification: how many events are sound, the hash of the last, and the first fault."""

    events: int
    head: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """Which events: each condition that is given must hold. `text` is looked for in kind, actor, address and detail."""

    kinds: tuple[str, ...] = ()
    actor: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    text: str = ""


def digest(previous: str, link: Link) -> str:
    """Return the hash of an event behind `previous`: SHA-256 over that and the fields, each behind its length."""
    fields = (str(link.pk), link.at, link.kind, link.actor, link.address, link.detail, link.message)
    joined = ",".join(f"{len(one.encode())}:{one}" for one in fields)
    return hashlib.sha256(bytes.fromhex(previous) + joined.encode()).hexdigest()


def verify(links: Iterable[Link]) -> Verdict:
    """Return whether every link, from the first on, is what was chained; the fault names the first that is not."""
    previous, expected = "", 1
    for link in links:
        if link.position != expected:
            return Verdict(expected - 1, previous, f"event {expected} of the chain is missing")
        if digest(previous, link) != link.hash:
            return Verdict(
                expected - 1,
                previous,
                f"event {link.position} (row {link.pk}, {link.kind}, {link.at}) is not what was recorded",
            )
        previous, expected = link.hash, expected + 1
    return Verdict(expected - 1, previous)


def unchained(session: Session) -> int:
    """Return how many events have no place in the chain: rows that were put in past the database's own trigger."""
    row, chain = AuditEventRow, AuditChainRow
    query = select(func.count()).select_from(row).outerjoin(chain, chain.event_pk == row.pk)
    return session.execute(query.where(chain.position.is_(None))).scalar_one()


def links(session: Session, *, after: int = 0, limit: int | None = None, search: Search = Search()) -> Iterator[Link]:
    """Give the events in the order of the chain, from behind position `after`; read in portions."""
    given = 0
    while limit is None or given < limit:
        portion = _AT_ONCE if limit is None else min(_AT_ONCE, limit - given)
        found = _portion(session, after, portion, search)
        yield from found
        if len(found) < portion:
            return
        given, after = given + len(found), found[-1].position


def newest(session: Session, search: Search, limit: int) -> list[Link]:
    """Return the newest events that fit, newest first."""
    query = _where(_QUERY, search).order_by(AuditChainRow.position.desc()).limit(limit)
    return [Link(*found) for found in session.execute(query)]


def forwarded(session: Session, destination: str) -> int:
    """Return the position up to which the trail was told to `destination`; 0: nothing yet."""
    row = AuditForwardingRow
    return session.scalar(select(row.position).where(row.destination == destination)) or 0


def note_forwarded(session: Session, destination: str, position: int) -> None:
    """Note that the trail was told to `destination` up to `position`."""
    statement = insert(AuditForwardingRow).values(destination=destination, position=position)
    changed = {"position": position, "sent_at": func.now()}
    session.execute(statement.on_conflict_do_update(index_elements=["destination"], set_=changed))


_event, _chain = AuditEventRow, AuditChainRow
_QUERY: Select[Any] = select(
    _chain.position,
    func.encode(_chain.hash, "hex"),
    _event.pk,
    func.to_char(func.timezone("UTC", _event.at), _UTC),
    _event.kind,
    _event.actor,
    _event.address,
    cast(_event.detail, Text),
    _event.message,
).join(_event, _event.pk == _chain.event_pk)


def _portion(session: Session, after: int, limit: int, search: Search) -> list[Link]:
    query = _where(_QUERY, search).where(_chain.position > after).order_by(_chain.position).limit(limit)
    return [Link(*found) for found in session.execute(query)]


def _where(query: Select[Any], search: Search) -> Select[Any]:
    """Return `query` with the conditions of `search`."""
    if search.kinds:
        query = query.where(_event.kind.in_(search.kinds))
    if search.actor:
        query = query.where(_event.actor == search.actor)
    if search.since:
        query = query.where(_event.at >= search.since)
    if search.until:
        query = query.where(_event.at < search.until)
    if search.text:
        everything = func.concat_ws(" ", _event.kind, _event.actor, _event.address, cast(_event.detail, Text))
        query = query.where(everything.icontains(search.text, autoescape=True))
    return query
