"""Answered similarity queries under opaque codes: what may appear outside instead of other patients' identities."""

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import cast, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from db.filing import clean
from db.tables import ResultSetRow
from regionmir.core.errors import RegionMirError
from regionmir.core.records import Disclosure

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_LENGTH = 8

_CREATE = insert(ResultSetRow.__table__).on_conflict_do_nothing().returning(ResultSetRow.code)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class ResultSet:
    """One answer as it was given; `hits` is what `create` got, in the order of ranks."""

    code: str
    model_pk: int
    anatomy_pk: int
    anchor_instance_pk: int
    k: int
    caller_ae: str
    disclosure: Disclosure
    created_at: dt.datetime
    hits: tuple[dict[str, Any], ...]
    asked: dict[str, Any]
    """`anatomies`: their numbers in the order asked; `combine`; `box`: a drawn one, x0, y0, x1, y1; `searched`: how
    many instances were, of how many."""


def create(
    session: Session,
    *,
    model_pk: int,
    anatomy_pk: int,
    anchor_instance_pk: int,
    k: int,
    caller_ae: str,
    disclosure: Disclosure,
    hits: Sequence[dict[str, Any]],
    asked: Mapping[str, Any] | None = None,
) -> str:
    """Keep an answer and return its code: eight random digits of Crockford's base 32."""
    values = {
        "model_pk": model_pk,
        "anatomy_pk": anatomy_pk,
        "anchor_instance_pk": anchor_instance_pk,
        "k": k,
        "caller_ae": clean(caller_ae),
        "disclosure": disclosure.value,
        "hits": clean(list(hits)),
        "asked": dict(asked or {}),
    }
    for _ in range(8):
        code: str | None = session.scalar(_CREATE, {"code": new_code(), **values})
        if code is not None:
            return code
    raise RegionMirError("no free result-set code")


def get(session: Session, code: str) -> ResultSet | None:
    """Return the answer of this code (any case; O, I and L are read as 0 and 1), None if there is none."""
    row = session.scalar(select(ResultSetRow).where(ResultSetRow.code == normal_code(code)))
    if row is None:
        return None
    return ResultSet(
        row.code,
        row.model_pk,
        row.anatomy_pk,
        row.anchor_instance_pk,
        row.k,
        row.caller_ae,
        Disclosure(row.disclosure),
        row.created_at,
        tuple(row.hits),
        row.asked,
    )


def code_for(
    session: Session, *, anchor_instance_pk: int, model_pk: int, anatomy_pk: int, caller_ae: str, disclosure: Disclosure
) -> str | None:
    """Return the code of the first answer that this AE got so about one anatomy of an instance, None if none."""
    row = ResultSetRow
    alone = row.asked["anatomies"] == cast([anatomy_pk], JSONB)
    query = (
        select(row.code)
        .where(row.anchor_instance_pk == anchor_instance_pk, row.model_pk == model_pk, row.anatomy_pk == anatomy_pk)
        .where(row.caller_ae == caller_ae, row.disclosure == disclosure.value, alone, ~row.asked.has_key("box"))
        .order_by(row.created_at, row.code)
        .limit(1)
    )
    return session.scalar(query)


def new_code() -> str:
    """Return a random code."""
    return "".join(secrets.choice(_CROCKFORD) for _ in range(CODE_LENGTH))


def normal_code(text: str) -> str:
    """Return a code as it is kept; what can be no code becomes one that is never given out."""
    code = text.strip().upper().translate(str.maketrans("OIL", "011"))
    return code if len(code) == CODE_LENGTH and set(code) <= set(_CROCKFORD) else ""
