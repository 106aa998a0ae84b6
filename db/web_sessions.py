"""Who is signed in, and who is on the way to an OpenID provider: found by the hash of what the browser holds."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from db.tables import SignInRequestRow, WebSessionRow, WebUserRow
from db.users import User, to_user


@dataclass(frozen=True, slots=True)
class Visit:
    """What must come back from the provider unchanged, and where the user wanted to go."""

    state: str
    nonce: str
    code_verifier: str
    next_path: str


def start(session: Session, token_sha256: str, user_pk: int, address: str, *, idle_s: float, lasts_s: float) -> None:
    """Start a session of at most `lasts_s` seconds; those that are over are forgotten."""
    row, now = WebSessionRow, func.now()
    session.execute(delete(row).where(or_(row.ends_at < now, row.seen_at < now - dt.timedelta(seconds=idle_s))))
    ends_at = now + dt.timedelta(seconds=lasts_s)
    session.execute(insert(row).values(token_sha256=token_sha256, user_pk=user_pk, address=address, ends_at=ends_at))


def find(session: Session, token_sha256: str, *, idle_s: float, touch_s: float) -> User | None:
    """Return whose session this is; None if it is over, or its user is disabled.

    It is noted as seen where that was last noted `touch_s` seconds ago or more.
    """
    row, now = WebSessionRow, func.now()
    query = (
        select(WebUserRow, row.seen_at < now - dt.timedelta(seconds=touch_s))
        .join(row, row.user_pk == WebUserRow.pk)
        .where(row.token_sha256 == token_sha256, row.ends_at > now, ~WebUserRow.disabled)
        .where(row.seen_at > now - dt.timedelta(seconds=idle_s))
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    user, is_due = found
    if is_due:
        session.execute(update(row).where(row.token_sha256 == token_sha256).values(seen_at=now))
    return to_user(user)


def end(session: Session, token_sha256: str) -> bool:
    """End a session; False if there was none."""
    statement = delete(WebSessionRow).where(WebSessionRow.token_sha256 == token_sha256)
    return session.scalar(statement.returning(WebSessionRow.user_pk)) is not None


def end_all(session: Session, user_pk: int) -> int:
    """End all sessions of a user and return how many there were."""
    statement = delete(WebSessionRow).where(WebSessionRow.user_pk == user_pk).returning(WebSessionRow.user_pk)
    return len(session.scalars(statement).all())


def leave(session: Session, token_sha256: str, visit: Visit, *, lasts_s: float) -> None:
    """Keep what a browser on its way to the provider must bring back; visits that are over are forgotten."""
    row, now = SignInRequestRow, func.now()
    session.execute(delete(row).where(row.ends_at < now))
    values = {
        "token_sha256": token_sha256, "state": visit.state, "nonce": visit.nonce,
        "code_verifier": visit.code_verifier, "next_path": visit.next_path,
    }  # fmt: skip
    session.execute(insert(row).values(**values, ends_at=now + dt.timedelta(seconds=lasts_s)))


def come_back(session: Session, token_sha256: str) -> Visit | None:
    """Return what was kept for this browser, once."""
    row = SignInRequestRow
    statement = delete(row).where(row.token_sha256 == token_sha256, row.ends_at > func.now())
    kept = session.execute(statement.returning(row.state, row.nonce, row.code_verifier, row.next_path)).one_or_none()
    return None if kept is None else Visit(*kept)
