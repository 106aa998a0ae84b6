"""The registry of models and the partitions of their embeddings; one generation is active.

candidate -> active -> previous -> active (a rollback) or retired. All but the retired are kept up to date, so that a
switch is one transaction, and the way back is another. What each has still to look at is told by `db.analyses`.
"""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import analyses
from db.engine import Database, mapped_errors
from db.tables import ModelRow, RegionRow
from regionmir.core.anatomy import anatomy_by_key
from regionmir.core.errors import ModelError
from regionmir.core.records import GenerationInfo

_LOCK = 0x5247_4E47  # "RGNG": one process at a time registers or activates

_ACTIVE = select(ModelRow).where(ModelRow.status == "active")

ACTIVE_PK = select(ModelRow.pk).where(ModelRow.status == "active").scalar_subquery()
"""The key of the active generation in a statement, NULL before the first one is registered."""


@dataclass(frozen=True, slots=True)
class ActiveModel:
    """The generation that searches use. `folder`: where its model is; empty: in the workers' settings."""

    pk: int
    info: GenerationInfo
    folder: str = ""


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One generation with its status: candidate, active, previous or retired."""

    pk: int
    info: GenerationInfo
    status: str
    registered_at: dt.datetime
    folder: str = ""


def ensure_model(session: Session, info: GenerationInfo, folder: str = "") -> int:
    """Return the key of this generation, registered now (with its partitions) if need be.

    It becomes active where none is. `folder` says where its model is, where that was unknown. Raises `ModelError`
    where the same weights were registered with another width or other anatomies.
    """
    found = _registered(session, info)
    if found is not None:
        found.folder = found.folder or folder
        return _checked(found, info)
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    none_active = session.scalar(select(ModelRow.pk).where(ModelRow.status == "active")) is None
    values = {
        "name": info.name,
        "version": info.version,
        "weights_sha256": info.weights_sha256,
        "preprocessing_hash": info.preprocessing_hash,
        "dim": info.dim,
        "anatomy_pks": [anatomy.key for anatomy in info.anatomies],
        "status": "active" if none_active else "candidate",
        "folder": folder,
    }
    added = insert(ModelRow).values(values).on_conflict_do_nothing().returning(ModelRow.pk)
    model_pk: int | None = session.scalar(added)
    if model_pk is None:  # another process was first
        found = _registered(session, info)
        assert found is not None
        return _checked(found, info)
    _make_partitions(session, model_pk, info)
    return model_pk


def propose(session: Session, info: GenerationInfo, folder: str) -> int:
    """Return the key of this generation, which from now on looks at every instance, one that was retired anew.

    Raises `ModelError` as `ensure_model`.
    """
    model_pk = ensure_model(session, info, folder)
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    row = session.get_one(ModelRow, model_pk, populate_existing=True)
    row.folder = folder
    if row.status == "retired":
        if session.scalar(text("SELECT to_regclass(:branch)"), {"branch": branch_name(model_pk)}) is not None:
            raise ModelError(
                f"generation {model_pk} is not retired to the end: run `regionmir model retire {model_pk}`"
            )
        _make_partitions(session, model_pk, info)
        row.status = "candidate"
    session.flush()
    analyses.enqueue_missing(session, model_pk)
    return model_pk


def active(session: Session) -> ActiveModel | None:
    """Return the generation that searches use, None before the first one is registered."""
    row = session.scalar(_ACTIVE)
    return None if row is None else ActiveModel(row.pk, _info(row), row.folder)


def kept_up(session: Session) -> list[RegisteredModel]:
    """Return the generations that look at every instance, the active one first, then candidates, then the previous."""
    order = case({"active": 0, "candidate": 1}, value=ModelRow.status, else_=2)
    rows = session.scalars(select(ModelRow).where(ModelRow.status != "retired").order_by(order, ModelRow.pk))
    return [_listed(row) for row in rows]


def info_of(session: Session, model_pk: int) -> GenerationInfo | None:
    """Return what identifies this generation, whatever its status; None if there is none of this key."""
    row = session.get(ModelRow, model_pk)
    return None if row is None else _info(row)


def listing(session: Session) -> list[RegisteredModel]:
    """Return all generations, oldest first."""
    rows = session.scalars(select(ModelRow).order_by(ModelRow.pk))
    return [_listed(row) for row in rows]


def indexed(session: Session) -> dict[int, int]:
    """Return in how many instances each generation has found regions, by its key; those without are left out."""
    count = func.count(RegionRow.instance_pk.distinct())
    query = select(RegionRow.model_pk, count).group_by(RegionRow.model_pk)
    return dict(session.execute(query).all())


def activate(session: Session, model_pk: int, *, incomplete: bool = False) -> None:
    """Make this generation the one that searches use; the one before is kept up to date and can be gone back to.

    Raises `ModelError` where there is none of this key, it is retired, or it has not looked at every instance
    (unless `incomplete`: what is missing is searched as soon as it has).
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    row = ModelRow
    status = session.scalar(select(row.status).where(row.pk == model_pk))
    if status is None:
        raise ModelError(f"no generation has the number {model_pk}")
    if status == "retired":
        raise ModelError(f"generation {model_pk} is retired: embed it anew by `regionmir model embed`")
    if status == "active":
        return
    pending = 0 if incomplete else analyses.pending(session, model_pk)
    if pending:
        raise ModelError(f"generation {model_pk} has still to look at {pending} instances: wait, or say --incomplete")
    for status_now, becomes in (("previous", "candidate"), ("active", "previous")):
        session.execute(update(row).where(row.status == status_now).values(status=becomes))
    session.execute(update(row).where(row.pk == model_pk).values(status="active"))
    analyses.enqueue_missing(session, model_pk)
    analyses.adopt(session, model_pk)


def roll_back(session: Session) -> int:
    """Make the generation active that was so before, however far it is, and return its key.

    Raises `ModelError` if none was.
    """
    previous = session.scalar(select(ModelRow.pk).where(ModelRow.status == "previous"))
    if previous is None:
        raise ModelError("no generation answered before this one")
    activate(session, previous, incomplete=True)
    return previous


def retire(database: Database, model_pk: int) -> None:
    """Drop the embeddings of a generation; its boxes stay, since answers that were given point at them.

    Searches go on meanwhile. Where it was cut off it is run again. Raises `ModelError` for the active one.
    """
    with database.session() as session:
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        row = session.get(ModelRow, model_pk)
        if row is None or row.status == "active":
            why = "no generation has the number" if row is None else "searches use generation"
            raise ModelError(f"{why} {model_pk}")
        row.status = "retired"
        session.flush()
        analyses.forget(session, model_pk)
    with mapped_errors(), database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _drop_partitions(connection, branch_name(model_pk))


def _drop_partitions(connection: Connection, branch: str) -> None:
    """Take the tables of a generation out of `embedding`, then drop them: dropped in place, searches would wait."""
    attached = connection.scalar(_ATTACHED, {"branch": branch})
    if attached is not None:
        how = "FINALIZE" if attached == "pending" else "CONCURRENTLY"
        connection.execute(text(f"ALTER TABLE embedding DETACH PARTITION {branch} {how}"))
    connection.execute(text(f"DROP TABLE IF EXISTS {branch}"))


_ATTACHED = text(
    "SELECT CASE WHEN inhdetachpending THEN 'pending' ELSE 'attached' END FROM pg_inherits "
    "WHERE inhparent = 'embedding'::regclass AND inhrelid = to_regclass(:branch)"
)


def branch_name(model_pk: int) -> str:
    """Return the name of the table that holds one model's embeddings of all anatomies."""
    return f"embedding_m{int(model_pk)}"


def leaf_name(model_pk: int, anatomy_pk: int) -> str:
    """Return the name of the table that holds one model's embeddings of one anatomy."""
    return f"{branch_name(model_pk)}_a{int(anatomy_pk)}"


def _registered(session: Session, info: GenerationInfo) -> ModelRow | None:
    return session.scalar(
        select(ModelRow).where(
            ModelRow.weights_sha256 == info.weights_sha256, ModelRow.preprocessing_hash == info.preprocessing_hash
        )
    )


def _checked(row: ModelRow, info: GenerationInfo) -> int:
    if row.dim != info.dim or row.anatomy_pks != [anatomy.key for anatomy in info.anatomies]:
        raise ModelError(f"model {info.name} {info.version} is registered with another width or other anatomies")
    return row.pk


def _listed(row: ModelRow) -> RegisteredModel:
    return RegisteredModel(row.pk, _info(row), row.status, row.registered_at, row.folder)


def _info(row: ModelRow) -> GenerationInfo:
    found = tuple(anatomy_by_key(key) for key in row.anatomy_pks)
    return GenerationInfo(row.name, row.version, row.weights_sha256, row.dim, row.preprocessing_hash, found)


def _make_partitions(session: Session, model_pk: int, info: GenerationInfo) -> None:
    """Make the tables of one generation aside and attach them whole: readers of others are not held up."""
    branch, dim = branch_name(model_pk), int(info.dim)
    session.execute(text(f"CREATE TABLE {branch} (LIKE embedding INCLUDING DEFAULTS) PARTITION BY LIST (anatomy_pk)"))
    for anatomy in info.anatomies:
        leaf = leaf_name(model_pk, anatomy.key)
        session.execute(
            text(
                f"CREATE TABLE {leaf} PARTITION OF {branch} (CONSTRAINT {leaf}_width CHECK (vector_dims(v) = {dim})) "
                f"FOR VALUES IN ({anatomy.key})"
            )
        )
    session.execute(text(f"ALTER TABLE embedding ATTACH PARTITION {branch} FOR VALUES IN ({int(model_pk)})"))
