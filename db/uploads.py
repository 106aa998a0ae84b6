"""Uploaded films: filed by the web process, indexed by an index worker, answered by the row and a NOTIFY.

They are no instances: no query, list or count of the archive meets them. Their files are `regionmir.storage.uploads`.
"""

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import and_, delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from db import patients
from db.engine import Database
from db.filing import clean, identity
from db.tables import UploadedFilmRow
from regionmir.core.anatomy import anatomy_by_key
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, EmbeddedRegion, InstanceHeader, InstanceState, Vector

CHANNEL = "film_indexed"
MAX_ATTEMPTS = 3
MAX_REASON = 200
_LEASE_S = 60.0
_STEP_S = 0.5  # a notification that got lost costs no more than this


@dataclass(frozen=True, slots=True)
class WaitingFilm:
    """An uploaded film to index."""

    storage_key: str
    """Its code, which names its file too."""
    sop_class_uid: str

    @property
    def sop_instance_uid(self) -> str:
        """Its code: what a log may call it."""
        return self.storage_key


@dataclass(frozen=True, slots=True)
class UploadedFilm:
    """What has become of an uploaded film; `regions` are those of the model `model_pk`, in stored pixels."""

    code: str
    owner: str
    state: InstanceState
    reason: str
    expires_at: dt.datetime
    patient_pks: tuple[int, ...]
    model_pk: int | None
    pixel_sha256: str
    view: str
    rows: int | None
    columns: int | None
    regions: tuple[EmbeddedRegion, ...]

    @property
    def is_final(self) -> bool:
        """True once nothing more becomes of it."""
        return self.state not in (InstanceState.RECEIVED, InstanceState.INDEXING)

    def vectors(self) -> Mapping[int, Vector]:
        """Return the embeddings by number of the anatomy."""
        return {found.region.anatomy.key: found.vector for found in self.regions}


def add(session: Session, code: str, *, owner: str, header: InstanceHeader, lifetime_s: float) -> None:
    """File an uploaded film whose file is in place. Of its header only whose it may be is kept, by our keys."""
    row = UploadedFilmRow(
        code=code,
        owner=owner,
        sop_class_uid=header.sop_class_uid,
        state=InstanceState.RECEIVED,
        expires_at=_in_seconds(lifetime_s),
        patient_pks=patients.who_may_be(session, identity(header)),
    )
    session.add(row)
    session.flush()


def get(session: Session, code: str, owner: str) -> UploadedFilm | None:
    """Return an uploaded film of this owner, None where there is none or it has expired."""
    row = UploadedFilmRow
    mine = (row.code == code) & (row.owner == owner) & (row.expires_at > func.now())
    found = session.scalar(select(row).where(mine).execution_options(populate_existing=True))
    return None if found is None else _film(found)


def wait(database: Database, code: str, owner: str, deadline_s: float) -> UploadedFilm | None:
    """Return an uploaded film once it is final, or as it is after `deadline_s` s. Raises `DatabaseUnavailable`."""
    end = time.monotonic() + deadline_s
    with database.listening(CHANNEL) as notified:
        while True:
            with database.session() as session:
                found = get(session, code, owner)
            left = end - time.monotonic()
            if found is None or found.is_final or left <= 0:
                return found
            notified(code, min(left, _STEP_S))


def forget(session: Session, code: str, owner: str) -> bool:
    """Remove an uploaded film of this owner; False where there is none."""
    row = UploadedFilmRow
    statement = delete(row).where(row.code == code, row.owner == owner).returning(row.code)
    return session.scalar(statement) is not None


def expire(session: Session) -> list[str]:
    """Remove every film that has expired and return their codes."""
    row = UploadedFilmRow
    return list(session.scalars(delete(row).where(row.expires_at <= func.now()).returning(row.code)))


def claim(session: Session) -> WaitingFilm | None:
    """Take the oldest waiting film, for a minute; None if there is none. What kills its worker is given up."""
    row = UploadedFilmRow
    expired = and_(row.state == InstanceState.INDEXING, row.lease_until < func.now())
    free = or_(row.state == InstanceState.RECEIVED, expired)
    hopeless = update(row).where(free, row.attempts >= MAX_ATTEMPTS)
    session.execute(hopeless.values(state=InstanceState.FAILED, reason="crashed the worker", lease_until=None))
    first = select(row.code).where(free).order_by(row.created_at).limit(1).with_for_update(skip_locked=True)
    taken = (
        update(row)
        .where(row.code == first.scalar_subquery())
        .values(state=InstanceState.INDEXING, attempts=row.attempts + 1, lease_until=_in_seconds(_LEASE_S))
        .returning(row.code, row.sop_class_uid)
    )
    found = session.execute(taken).first()
    return None if found is None else WaitingFilm(*found)


def finish(session: Session, code: str, state: InstanceState, reason: str = "", **values: Any) -> None:
    """Say where a film ends, with its regions where it is indexed, and tell who waits for it."""
    row = UploadedFilmRow
    values |= {"state": state, "reason": clean(reason)[:MAX_REASON], "lease_until": None}
    session.execute(update(row).where(row.code == code).values(**values))
    session.execute(text("SELECT pg_notify(:channel, :code)"), {"channel": CHANNEL, "code": code})


def as_json(regions: Sequence[EmbeddedRegion]) -> list[dict[str, Any]]:
    """Return regions as the column `regions` holds them."""
    return [
        {
            "anatomy": found.region.anatomy.key,
            "box": found.region.box.as_tuple(),
            "score": found.region.score,
            "v": [float(value) for value in found.vector],
        }
        for found in regions
    ]


def _film(row: UploadedFilmRow) -> UploadedFilm:
    return UploadedFilm(
        row.code,
        row.owner,
        InstanceState(row.state),
        row.reason,
        row.expires_at,
        tuple(row.patient_pks),
        row.model_pk,
        row.pixel_sha256,
        row.view,
        row.rows,
        row.columns,
        tuple(_region(one) for one in row.regions),
    )


def _region(one: Mapping[str, Any]) -> EmbeddedRegion:
    region = DetectedRegion(anatomy_by_key(one["anatomy"]), Box(*one["box"]), one["score"])
    return EmbeddedRegion(region, np.asarray(one["v"], dtype=np.float32))


def _in_seconds(seconds: float) -> Any:
    return func.now() + dt.timedelta(seconds=seconds)
