"""What a query starts from: the one study that an anchor names, for this caller, or why there is none."""

from typing import TYPE_CHECKING

from db import anchors
from db.anchors import AnchorInstance, AnchorStudy
from db.patients import same_person
from regionmir.core.errors import QueryRefused
from regionmir.core.records import Caller, InstanceState
from regionmir.query.request import LAST, RegionQuery

if TYPE_CHECKING:
    from db.engine import Session

_UNFINISHED = (InstanceState.RECEIVED, InstanceState.INDEXING)
_VIEW_ORDER = {"PA": 0, "AP": 1}


def find_anchor(
    session: "Session", query: RegionQuery, caller: Caller, kept_instance_pk: int | None
) -> tuple[AnchorStudy, list[AnchorInstance]]:
    """Return the one study that the anchor names, and its indexed instances, the likeliest to show the region first.

    `kept_instance_pk`: the anchor is the code of an answer that started from this instance. Raises `QueryRefused`.
    """
    if kept_instance_pk is not None:
        named = anchors.of_instance(session, kept_instance_pk)
        study = _one_patient(session, [named] if named else [])
    elif query.anchor.upper() == LAST:
        study = _last(session, query, caller)
    else:
        found = anchors.find_anchor(session, query.anchor)
        study = _one_patient(session, found or anchors.find_anchor(session, query.anchor.upper()))
    if not study.indexed:
        raise _not_indexed(study)
    return study, sorted(study.indexed, key=lambda i: _VIEW_ORDER.get(i.view, len(_VIEW_ORDER)))


def unknown_anchor() -> QueryRefused:
    """One answer to what does not exist and to what the caller may not know of."""
    return QueryRefused("unknown-anchor", "no such anchor")


def _one_patient(session: "Session", studies: list[AnchorStudy]) -> AnchorStudy:
    """Return the newest indexed study. Two patients may share an accession number: then none is taken."""
    if not studies:
        raise unknown_anchor()
    if _several_patients(session, studies):
        raise QueryRefused("ambiguous-anchor", "the anchor names more than one patient; use the Study UID")
    return next((study for study in studies if study.indexed), studies[0])


def _several_patients(session: "Session", studies: list[AnchorStudy]) -> bool:
    """Return whether some of the studies are not of the same patient; a missing issuer makes no other one."""
    pks = {study.patient_pk for study in studies}
    return len(pks) > 1 and any(not pks.issubset(same_person(session, pk)) for pk in pks)


def _last(session: "Session", query: RegionQuery, caller: Caller) -> AnchorStudy:
    """Return the newest study that the caller (or an AE configured for it) sent lately, if there is no doubt."""
    senders = {caller.ae_title, *caller.last_from}
    recent = anchors.latest_from(session, senders, query.last_within_s)
    usable = [s for s in recent if any(i.state is not InstanceState.UNSUPPORTED for i in s.instances)]
    if not usable:
        minutes = round(query.last_within_s / 60)
        raise QueryRefused("last-none", f"LAST: no film came from this AE in {minutes} minutes")
    if _several_patients(session, usable):
        raise QueryRefused("last-ambiguous", "LAST: films of several patients came; name the study")
    if any(i.state in _UNFINISHED for study in usable for i in study.instances):
        raise QueryRefused("not-indexed", "the last study is not indexed yet; ask again")
    return usable[0]


def _not_indexed(study: AnchorStudy) -> QueryRefused:
    states = {instance.state for instance in study.instances}
    if states & set(_UNFINISHED):
        return QueryRefused("not-indexed", "the anchor is not indexed yet; ask again")
    if InstanceState.FAILED in states:
        return QueryRefused("failed-anchor", "the anchor could not be indexed; see its state")
    return QueryRefused("unsupported-anchor", "the anchor has no frontal chest radiograph")
