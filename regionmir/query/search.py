"""The search, on one page: from a question to the studies whose region is most like the anchor's.

Every step returns what its name says or refuses with `QueryRefused`; a query is never answered by an empty success.
"""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from db import anchors, embeddings, generations, instances, result_sets
from db.anchors import AnchorInstance, AnchorStudy
from db.embeddings import Neighbour, NeighbourFilter, RegionVector
from db.find import FindSpec, Level, find
from db.generations import ActiveModel
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from regionmir.core.errors import QueryRefused
from regionmir.core.records import Caller, Disclosure, InstanceState
from regionmir.query.request import LAST, RegionQuery, Token

if TYPE_CHECKING:
    from db.engine import Session

OVERFETCH: Final = 20
"""Regions fetched beyond twice k at first: a study with several films is one hit."""

_UNFINISHED = (InstanceState.RECEIVED, InstanceState.INDEXING)
_VIEW_ORDER = {"PA": 0, "AP": 1}


@dataclass(frozen=True, slots=True)
class Hit:
    """One study and its most similar region. `similarity`: cosine, -1..1. `view` as we found it."""

    rank: int
    study_pk: int
    instance_pk: int
    region_pk: int
    similarity: float
    view: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found: hits by rank, under a code that opens the same answer later."""

    code: str
    anatomy: Anatomy
    anchor_instance_pk: int
    indexed: int
    """Instances searched, of `total` that are to be indexed: what is still waiting may be more similar."""
    total: int
    hits: tuple[Hit, ...]

    def only(self, rank: int) -> "Answer":
        """Return the answer with the hit of this rank alone. Raises `QueryRefused` where there is none."""
        found = tuple(hit for hit in self.hits if hit.rank == rank)
        if not found:
            raise _unknown_anchor()
        return replace(self, hits=found)


def answer_token(session: "Session", token: Token, caller: Caller, *, k: int, last_within_s: float) -> Answer:
    """Return the answer to a search expression as typed; with a rank it means one hit of a kept answer."""
    if token.rank is None:
        return search(session, RegionQuery(token.anchor, token.anatomy, k, last_within_s=last_within_s), caller)
    kept = reopen(session, token.anchor, caller)
    if kept is None or token.anatomy not in (None, kept.anatomy):
        raise _unknown_anchor()
    return kept.only(token.rank)


def search(session: "Session", query: RegionQuery, caller: Caller, *, keep: bool = True) -> Answer:
    """Return the studies most like the anchor's region, best first, one hit per study. Raises `QueryRefused`.

    Films of the anchor's patient and films with the anchor's pixels are no hits; equal films are one. Without `keep`
    nothing is written, and the answer has no code (pages that only read).
    """
    kept = reopen(session, query.anchor, caller)
    if kept is not None and query.anatomy in (None, kept.anatomy):
        return kept
    model = _active_model(session)
    anatomy = _searchable(query.anatomy, model)
    study, candidates = _anchor(session, query, caller, kept)
    instance, region = _anchor_region(session, candidates, model, anatomy)
    hits = _hits(session, query, caller, model, anatomy, (study, instance, region))
    if not hits:
        raise QueryRefused("no-hits", f"no other patient has an indexed {anatomy.short} yet")
    code = _keep(session, query, caller, model, anatomy, instance, hits) if keep else ""
    return Answer(code, anatomy, instance.instance_pk, *_coverage(session), hits)


def reopen(session: "Session", code: str, caller: Caller) -> Answer | None:
    """Return the answer that was given under this code, None if there is none.

    Studies that are gone are left out; for pseudonymous callers also those that by now are of the anchor's patient.
    """
    kept = result_sets.get(session, code) if result_sets.normal_code(code) else None
    if kept is None:
        return None
    hits = [Hit(**hit) for hit in kept.hits]
    spec = FindSpec(Level.STUDY, (), study_pks=tuple(hit.study_pk for hit in hits))
    patient_of = {row.study_pk: row.patient_pk for row in find(session, spec)}
    anchor = anchors.of_instance(session, kept.anchor_instance_pk)
    hidden = anchor.patient_pk if anchor and caller.disclosure is not Disclosure.IDENTIFIED else None
    shown = tuple(hit for hit in hits if patient_of.get(hit.study_pk, hidden) != hidden)
    anatomy = anatomy_by_key(kept.anatomy_pk)
    return Answer(kept.code, anatomy, kept.anchor_instance_pk, *_coverage(session), shown)


def _active_model(session: "Session") -> ActiveModel:
    model = generations.active(session)
    if model is None:
        raise QueryRefused("no-model", "nothing is indexed yet: no model is active")
    return model


def _searchable(anatomy: Anatomy | None, model: ActiveModel) -> Anatomy:
    known = " ".join(a.short for a in model.info.anatomies)
    if anatomy is None:
        raise QueryRefused("region-required", f"name a region: {known}")
    if anatomy not in model.info.anatomies:
        raise QueryRefused("region-off", f"{anatomy.short} is not searched by this model; searched: {known}")
    return anatomy


def _anchor(
    session: "Session", query: RegionQuery, caller: Caller, kept: Answer | None
) -> tuple[AnchorStudy, list[AnchorInstance]]:
    """Return the one study that the anchor names, and its indexed instances, the likeliest to show the region first."""
    if kept is not None:
        named = anchors.of_instance(session, kept.anchor_instance_pk)
        study = _one_patient([named] if named else [])
    elif query.anchor.upper() == LAST:
        study = _last(session, query, caller)
    else:
        found = anchors.find_anchor(session, query.anchor)
        study = _one_patient(found or anchors.find_anchor(session, query.anchor.upper()))
    if not study.indexed:
        raise _not_indexed(study)
    return study, sorted(study.indexed, key=lambda i: _VIEW_ORDER.get(i.view, len(_VIEW_ORDER)))


def _one_patient(studies: list[AnchorStudy]) -> AnchorStudy:
    """Return the newest indexed study. Two patients may share an accession number: then none is taken."""
    if not studies:
        raise _unknown_anchor()
    if len({study.patient_pk for study in studies}) > 1:
        raise QueryRefused("ambiguous-anchor", "the anchor names more than one patient; use the Study UID")
    return next((study for study in studies if study.indexed), studies[0])


def _last(session: "Session", query: RegionQuery, caller: Caller) -> AnchorStudy:
    """Return the newest study that the caller (or an AE configured for it) sent lately, if there is no doubt."""
    senders = {caller.ae_title, *caller.last_from}
    recent = anchors.latest_from(session, senders, query.last_within_s)
    usable = [s for s in recent if any(i.state is not InstanceState.UNSUPPORTED for i in s.instances)]
    if not usable:
        minutes = round(query.last_within_s / 60)
        raise QueryRefused("last-none", f"LAST: no film came from this AE in {minutes} minutes")
    if len({study.patient_pk for study in usable}) > 1:
        raise QueryRefused("last-ambiguous", "LAST: films of several patients came; name the study")
    if any(i.state in _UNFINISHED for study in usable for i in study.instances):
        raise QueryRefused("not-indexed", "the last study is not indexed yet; ask again")
    return usable[0]


def _anchor_region(
    session: "Session", candidates: list[AnchorInstance], model: ActiveModel, anatomy: Anatomy
) -> tuple[AnchorInstance, RegionVector]:
    for instance in candidates:
        region = embeddings.region_vector(session, instance.instance_pk, model.pk, anatomy.key)
        if region is not None:
            return instance, region
    raise QueryRefused("no-region", f"{anatomy.short} was not found in the anchor")


def _hits(
    session: "Session",
    query: RegionQuery,
    caller: Caller,
    model: ActiveModel,
    anatomy: Anatomy,
    anchor: tuple[AnchorStudy, AnchorInstance, RegionVector],
) -> tuple[Hit, ...]:
    study, instance, region = anchor
    may_be_same = query.with_same_patient and caller.disclosure is Disclosure.IDENTIFIED
    allowed = NeighbourFilter(
        exclude_patient_pk=None if may_be_same else study.patient_pk,
        exclude_study_pk=study.study_pk,
        exclude_pixel_sha256=instance.pixel_sha256,
    )
    limit = 2 * query.k + OVERFETCH
    while True:
        near = embeddings.nearest(
            session,
            model_pk=model.pk,
            anatomy_pk=anatomy.key,
            dim=model.info.dim,
            vector=region.vector,
            limit=limit,
            filters=allowed,
        )
        best = _best_per_study(near)
        if len(best) >= query.k or len(near) < limit:
            return tuple(_hit(rank, found) for rank, found in enumerate(best[: query.k], start=1))
        limit *= 4


def _best_per_study(near: list[Neighbour]) -> list[Neighbour]:
    """Return the first of each study and of each film; `near` is by falling similarity."""
    studies: set[int] = set()
    films: set[str] = set()
    best = []
    for found in near:
        if found.study_pk not in studies and found.pixel_sha256 not in films:
            best.append(found)
            films |= {found.pixel_sha256} - {""}
        studies.add(found.study_pk)
    return best


def _hit(rank: int, found: Neighbour) -> Hit:
    return Hit(rank, found.study_pk, found.instance_pk, found.region_pk, found.similarity, found.view)


def _keep(
    session: "Session",
    query: RegionQuery,
    caller: Caller,
    model: ActiveModel,
    anatomy: Anatomy,
    instance: AnchorInstance,
    hits: tuple[Hit, ...],
) -> str:
    return result_sets.create(
        session,
        model_pk=model.pk,
        anatomy_pk=anatomy.key,
        anchor_instance_pk=instance.instance_pk,
        k=query.k,
        caller_ae=caller.ae_title,
        disclosure=caller.disclosure,
        hits=[asdict(hit) for hit in hits],
    )


def _coverage(session: "Session") -> tuple[int, int]:
    """Return how many instances are indexed, of how many that are to be; what is unsupported never will be."""
    by_state = instances.counts_by_state(session)
    return by_state[InstanceState.INDEXED], sum(by_state.values()) - by_state[InstanceState.UNSUPPORTED]


def _unknown_anchor() -> QueryRefused:
    """One answer to what does not exist and to what the caller may not know of."""
    return QueryRefused("unknown-anchor", "no such anchor")


def _not_indexed(study: AnchorStudy) -> QueryRefused:
    states = {instance.state for instance in study.instances}
    if states & set(_UNFINISHED):
        return QueryRefused("not-indexed", "the anchor is not indexed yet; ask again")
    if InstanceState.FAILED in states:
        return QueryRefused("failed-anchor", "the anchor could not be indexed; see its state")
    return QueryRefused("unsupported-anchor", "the anchor has no frontal chest radiograph")
