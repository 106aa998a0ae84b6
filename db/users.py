"""Users of the web process. Whoever changes one records it in the audit trail in the same transaction."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import WebUserRow
from regionmir.core.records import Role, Way


@dataclass(frozen=True, slots=True)
class User:
    """One user; what it may do counts from the next request on."""

    pk: int
    name: str
    way: Way
    subject: str
    role: Role
    identified: bool
    disabled: bool
    created_at: dt.datetime
    signed_in_at: dt.datetime | None


def add_local(session: Session, name: str, password_hash: str, role: Role, *, identified: bool) -> bool:
    """Add a user with a password; False if there is one of this name."""
    values = {
        "name": name, "way": Way.LOCAL.value, "subject": name, "role": role.value, "identified": identified,
        "password_hash": password_hash,
    }  # fmt: skip
    statement = insert(WebUserRow).values(values).on_conflict_do_nothing(constraint="web_user_identity")
    return session.scalar(statement.returning(WebUserRow.pk)) is not None


def with_password(session: Session, name: str) -> tuple[User, str] | None:
    """Return the local user of this name with the hash of the password."""
    row = session.scalar(select(WebUserRow).where(WebUserRow.way == Way.LOCAL.value, WebUserRow.subject == name))
    return None if row is None or row.password_hash is None else (to_user(row), row.password_hash)


def find(session: Session, way: Way, subject: str) -> User | None:
    """Return the user for whom somebody vouches under this subject, locked until the transaction ends."""
    query = select(WebUserRow).where(WebUserRow.way == way.value, WebUserRow.subject == subject)
    row = session.scalar(query.with_for_update())
    return None if row is None else to_user(row)


def put_external(
    session: Session, way: Way, subject: str, name: str, *, role: Role = Role.VIEWER, identified: bool = False
) -> User:
    """Return the user of this subject as it is now called and what it now may do, new where it was not known."""
    values = {
        "name": name, "way": way.value, "subject": subject, "role": role.value, "identified": identified,
    }  # fmt: skip
    statement = insert(WebUserRow).values(values)
    changed = {key: statement.excluded[key] for key in ("name", "role", "identified")}
    statement = statement.on_conflict_do_update(constraint="web_user_identity", set_=changed)
    query = statement.returning(WebUserRow)
    return to_user(session.scalars(query, execution_options={"populate_existing": True}).one())


def named(session: Session, name: str) -> list[User]:
    """Return all users of this name: one local user at most, and those for whom others vouch."""
    return [to_user(row) for row in session.scalars(select(WebUserRow).where(WebUserRow.name == name))]


def listing(session: Session) -> list[User]:
    """Return all users by name."""
    return [to_user(row) for row in session.scalars(select(WebUserRow).order_by(WebUserRow.name, WebUserRow.pk))]


def set_password(session: Session, user_pk: int, password_hash: str) -> None:
    """Replace the hash of the password of a local user."""
    session.execute(update(WebUserRow).where(WebUserRow.pk == user_pk).values(password_hash=password_hash))


def set_rights(session: Session, user_pk: int, role: Role, *, identified: bool) -> None:
    """Set what a user may do and see."""
    values = {"role": role.value, "identified": identified}
    session.execute(update(WebUserRow).where(WebUserRow.pk == user_pk).values(values))


def set_disabled(session: Session, user_pk: int, disabled: bool) -> None:
    """Keep a user out, or let it in again."""
    session.execute(update(WebUserRow).where(WebUserRow.pk == user_pk).values(disabled=disabled))


def note_sign_in(session: Session, user_pk: int) -> None:
    """Remember that the user signed in now."""
    session.execute(update(WebUserRow).where(WebUserRow.pk == user_pk).values(signed_in_at=func.now()))


def to_user(row: WebUserRow) -> User:
    """Return a row as a value."""
    return User(
        row.pk, row.name, Way(row.way), row.subject, Role(row.role), row.identified, row.disabled, row.created_at,
        row.signed_in_at,
    )  # fmt: skip
