"""The registry of models and the partitions of their embeddings; one generation is active."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.tables import ModelRow, RegionRow
from regionmir.core.anatomy import anatomy_by_key
from regionmir.core.errors import ModelError
from regionmir.core.records import GenerationInfo

_LOCK = 0x5247_4E47  # "RGNG": one process at a time registers or activates

_ACTIVE = select(ModelRow).where(ModelRow.status == "active")


@dataclass(frozen=True, slots=True)
class ActiveModel:
    """The generation that searches use."""

    pk: int
    info: GenerationInfo


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One generation with its status: candidate, active or retired."""

    pk: int
    info: GenerationInfo
    status: str
    registered_at: dt.datetime


def ensure_model(session: Session, info: GenerationInfo) -> int:
    """Return the key of this generation, registered now (with its partitions) if need be.

    It becomes active where none is. Raises `ModelError` where the same weights were registered with another width or
    other anatomies.
    """
    found = _registered(session, info)
    if found is not None:
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
    }
    added = insert(ModelRow).values(values).on_conflict_do_nothing().returning(ModelRow.pk)
    model_pk: int | None = session.scalar(added)
    if model_pk is None:  # another process was first
        found = _registered(session, info)
        assert found is not None
        return _checked(found, info)
    _make_partitions(session, model_pk, info)
    return model_pk


def active(session: Session) -> ActiveModel | None:
    """Return the generation that searches use, None before the first one is registered."""
    row = session.scalar(_ACTIVE)
    return None if row is None else ActiveModel(row.pk, _info(row))


def info_of(session: Session, model_pk: int) -> GenerationInfo | None:
    """Return what identifies this generation, whatever its status; None if there is none of this key."""
    row = session.get(ModelRow, model_pk)
    return None if row is None else _info(row)


def listing(session: Session) -> list[RegisteredModel]:
    """Return all generations, oldest first."""
    rows = session.scalars(select(ModelRow).order_by(ModelRow.pk))
    return [RegisteredModel(row.pk, _info(row), row.status, row.registered_at) for row in rows]


def indexed(session: Session) -> dict[int, int]:
    """Return in how many instances each generation has found regions, by its key; those without are left out."""
    count = func.count(RegionRow.instance_pk.distinct())
    query = select(RegionRow.model_pk, count).group_by(RegionRow.model_pk)
    return dict(session.execute(query).all())


def activate(session: Session, model_pk: int) -> None:
    """Make this generation the one that searches use; the one before is retired. Raises `ModelError` if unknown."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if session.scalar(select(ModelRow.pk).where(ModelRow.pk == model_pk)) is None:
        raise ModelError(f"no generation has the number {model_pk}")
    row = ModelRow
    session.execute(update(row).where(row.status == "active", row.pk != model_pk).values(status="retired"))
    session.execute(update(row).where(row.pk == model_pk).values(status="active"))


def leaf_name(model_pk: int, anatomy_pk: int) -> str:
    """Return the name of the table that holds one model's embeddings of one anatomy."""
    return f"embedding_m{int(model_pk)}_a{int(anatomy_pk)}"


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


def _info(row: ModelRow) -> GenerationInfo:
    found = tuple(anatomy_by_key(key) for key in row.anatomy_pks)
    return GenerationInfo(row.name, row.version, row.weights_sha256, row.dim, row.preprocessing_hash, found)


def _make_partitions(session: Session, model_pk: int, info: GenerationInfo) -> None:
    """Make the tables of one generation aside and attach them whole: readers of others are not held up."""
    branch, dim = f"embedding_m{int(model_pk)}", int(info.dim)
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
