"""Tokens of programs: what each may do and see. Only a hash of the token is kept."""

import datetime as dt
import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import ApiTokenRow
from regionmir.core.records import Disclosure

PREFIX = "rgn_"
"""Every token begins so, for people and scanners of secrets to know one."""

_SECRET_BYTES = 32
_USED_STEP = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token, without the token itself."""

    name: str
    scopes: frozenset[str]
    disclosure: Disclosure
    created_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None
    used_at: dt.datetime | None

    def expired(self, now: dt.datetime) -> bool:
        """True from the moment on at which it expires."""
        return self.expires_at <= now


def add(
    session: Session, name: str, *, scopes: Collection[str], disclosure: Disclosure, lifetime: dt.timedelta
) -> str | None:
    """Return a new token of this name, which nobody can be told again; None if one has the name already."""
    token = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    statement = insert(ApiTokenRow).values(
        name=name,
        token_sha256=_hashed(token),
        scopes=sorted(scopes),
        disclosure=disclosure.value,
        expires_at=func.now() + lifetime,
    )
    made = session.scalar(statement.on_conflict_do_nothing().returning(ApiTokenRow.name))
    return None if made is None else token


def find(session: Session, token: str) -> ApiToken | None:
    """Return what is known of this token, also when it is expired or revoked; None if there is none."""
    row = session.scalar(select(ApiTokenRow).where(ApiTokenRow.token_sha256 == _hashed(token)))
    return None if row is None else _token(row)


def listing(session: Session) -> list[ApiToken]:
    """Return all tokens by name."""
    return [_token(row) for row in session.scalars(select(ApiTokenRow).order_by(ApiTokenRow.name))]


def revoke(session: Session, name: str) -> bool:
    """Let a token of this name count no more; False if there was none that did."""
    row = ApiTokenRow
    statement = update(row).where(row.name == name, row.revoked_at.is_(None)).values(revoked_at=func.now())
    return session.scalar(statement.returning(row.name)) is not None


def note_used(session: Session, name: str) -> None:
    """Note that a token was used, to the minute."""
    row = ApiTokenRow
    stale = row.used_at.is_(None) | (row.used_at < func.now() - _USED_STEP)
    session.execute(update(row).where(row.name == name, stale).values(used_at=func.now()))


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _token(row: ApiTokenRow) -> ApiToken:
    return ApiToken(
        row.name,
        frozenset(row.scopes),
        Disclosure(row.disclosure),
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.used_at,
    )
