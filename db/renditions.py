"""Renditions of films, kept as rows (`regionmir.archive.renditions` says which): found, kept, and missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.browse import BURNED_IN_ANNOTATION
from db.retrieve import joined_values
from db.tables import InstanceRow, PeerRow, RenditionRow
from regionmir.core.identifiers import Uid
from regionmir.core.keeping import Kept, StoragePolicy
from regionmir.core.records import InstanceState

MayKeep = Callable[[str, str], bool]
"""Says by SOP Class UID and values of BurnedInAnnotation whether the pixels of a film may be kept."""


class Drawn(NamedTuple):
    """The rendition of an instance, drawn from the object `storage_key`."""

    instance_pk: int
    storage_key: str
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Unrendered:
    """An indexed film without a rendition."""

    pk: int
    sop_instance_uid: Uid
    storage_key: str


def find(session: Session, instance_pk: int, drawn_by: str) -> bytes | None:
    """Return the rendition of an instance, None where none is kept that was drawn so."""
    return find_several(session, [instance_pk], drawn_by).get(instance_pk)


def find_several(session: Session, instance_pks: Sequence[int], drawn_by: str) -> dict[int, bytes]:
    """Return by instance the renditions that are kept of these and were drawn so."""
    row = RenditionRow
    query = select(row.instance_pk, row.jpeg).where(row.instance_pk.in_(instance_pks), row.drawn_by == drawn_by)
    return dict(session.execute(query).all())


def keep(
    session: Session, drawn: Sequence[Drawn], drawn_by: str, *, policy: StoragePolicy, may_keep: MayKeep
) -> set[int]:
    """Keep renditions, and return the keys of the instances whose ones may be kept.

    One may not where the object has gone or was replaced meanwhile, where its AE's storage policy (`policy` for those
    without one) keeps nothing but regions, and where `may_keep` forbids it. The instances stay locked until the
    commit, so that whoever takes an object away comes before, or after and deletes the rendition.
    """
    of = {one.instance_pk: one for one in drawn}
    if not of:
        return set()
    row = InstanceRow
    query = (
        select(row.pk, row.storage_key, row.sop_class_uid, row.attributes[BURNED_IN_ANNOTATION])
        .where(row.pk.in_(of), row.kept != Kept.NOTHING, ~_keeps_only_regions(policy))
        .order_by(row.pk)
        .with_for_update(read=True, of=row)
    )
    found = [
        of[pk]
        for pk, storage_key, sop_class, burned_in in session.execute(query)
        if storage_key == of[pk].storage_key and may_keep(sop_class, joined_values(burned_in))
    ]
    if found:
        statement = insert(RenditionRow)
        new = statement.excluded
        session.execute(
            statement.on_conflict_do_update(
                index_elements=[RenditionRow.instance_pk],
                set_={"drawn_by": new.drawn_by, "jpeg": new.jpeg},
                where=RenditionRow.drawn_by != new.drawn_by,
            ),
            [{"instance_pk": one.instance_pk, "drawn_by": drawn_by, "jpeg": one.jpeg} for one in found],
        )
    return {one.instance_pk for one in found}


def missing(
    session: Session, drawn_by: str, *, policy: StoragePolicy, may_keep: MayKeep, after: int, limit: int
) -> tuple[list[Unrendered], int]:
    """Return films that are to have a rendition and have none, behind the key `after`, and the last key looked at.

    Of so many films at most; 0: there are no more.
    """
    row = InstanceRow
    columns = (row.pk, row.sop_instance_uid, row.storage_key, row.sop_class_uid, row.attributes[BURNED_IN_ANNOTATION])
    query = select(*columns).where(row.pk > after, *_without(drawn_by, policy)).order_by(row.pk).limit(limit)
    found: list[Any] = list(session.execute(query))
    films = [
        Unrendered(pk, Uid(uid), key)
        for pk, uid, key, sop_class, burned_in in found
        if may_keep(sop_class, joined_values(burned_in))
    ]
    return films, found[-1].pk if found else 0


def count_missing(session: Session, drawn_by: str, *, policy: StoragePolicy) -> int:
    """Return how many films have no rendition, with those whose pixels may not be kept."""
    query = select(func.count()).select_from(InstanceRow).where(*_without(drawn_by, policy))
    return session.scalar(query) or 0


def _without(drawn_by: str, policy: StoragePolicy) -> tuple[ColumnElement[bool], ...]:
    there = select(RenditionRow.instance_pk).where(
        RenditionRow.instance_pk == InstanceRow.pk, RenditionRow.drawn_by == drawn_by
    )
    indexed = InstanceRow.state == InstanceState.INDEXED
    return indexed, InstanceRow.kept != Kept.NOTHING, ~_keeps_only_regions(policy), ~there.exists()


def _keeps_only_regions(policy: StoragePolicy) -> ColumnElement[bool]:
    of_peer = select(PeerRow.storage).where(PeerRow.ae_title == InstanceRow.source_ae).scalar_subquery()
    return func.coalesce(of_peer, policy.value) == StoragePolicy.REGIONS.value
