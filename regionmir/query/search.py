"""The search, on one page: from a question to the studies whose regions are most like the anchor's.

Every step returns what its name says or refuses with `QueryRefused`; a query is never answered by an empty success.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from db import analyses, anchors, compared, embeddings, generations, instances, result_sets
from db.anchors import AnchorInstance, AnchorStudy
from db.embeddings import Neighbour, NeighbourFilter, RegionVector
from db.find import FindSpec, Level, find
from db.generations import ActiveModel
from db.patients import same_person
from db.replica import Replica
from regionmir.core.anatomy import Anatomy, anatomy_by_key
from regionmir.core.errors import QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.records import Caller, Disclosure, InstanceState, Vector
from regionmir.query.anchor import find_anchor, unknown_anchor
from regionmir.query.request import Combine, RegionQuery, Token

if TYPE_CHECKING:
    from db.engine import Session

OVERFETCH: Final = 20
"""Regions fetched beyond twice k at first: a study with several films is one hit."""

_LABEL_LENGTH: Final = 30
"""Characters of a description (LO, 64) that the names of the regions may take."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One study and its most similar film. `similarity`: cosine, -1..1, the mean over the regions asked; `region_pk`
    is of the first of them. `view` as we found it, `age_years` of the film."""

    rank: int
    study_pk: int
    instance_pk: int
    region_pk: int
    similarity: float
    view: str
    age_years: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found: hits by rank, under a code that opens the same answer later."""

    code: str
    anatomies: tuple[Anatomy, ...]
    combine: Combine
    box: Box | None
    """The drawn box that the query started from, in stored pixels of the anchor."""
    anchor_instance_pk: int
    indexed: int
    """Instances searched, of `total` that are to be indexed: what is still waiting may be more similar."""
    total: int
    hits: tuple[Hit, ...]

    @property
    def coverage(self) -> str:
        """Return how much was searched, in words."""
        return f"{self.indexed} of {self.total} indexed"

    @property
    def anatomy(self) -> Anatomy:
        """Return the region that was asked for, the first of several."""
        return self.anatomies[0]

    @property
    def label(self) -> str:
        """Return the regions by their short forms, as a description names them: `LLLZ`, `LLLZ+RLLZ`, `LLLZ+11`."""
        label = "+".join(anatomy.short for anatomy in self.anatomies)
        return label if len(label) <= _LABEL_LENGTH else f"{self.anatomy.short}+{len(self.anatomies) - 1}"

    def only(self, rank: int) -> "Answer":
        """Return the answer with the hit of this rank alone. Raises `QueryRefused` where there is none."""
        found = tuple(hit for hit in self.hits if hit.rank == rank)
        if not found:
            raise unknown_anchor()
        return replace(self, hits=found)


@dataclass(frozen=True, slots=True)
class Start:
    """What is compared: regions of one instance of one study."""

    study: AnchorStudy
    instance: AnchorInstance
    vectors: dict[int, Vector]
    """By number of the anatomy, in the order asked."""


def kept_answer(session: "Session", token: Token, caller: Caller) -> Answer | None:
    """Return the answer that a search expression opens again, None where it asks something new.

    With a rank it means one hit of a kept answer, literally as its description says. Raises `QueryRefused`.
    """
    kept = reopen(session, token.anchor, caller)
    if token.rank is not None:
        if kept is None or token.label.upper() not in ("", kept.label):
            raise unknown_anchor()
        return kept.only(token.rank)
    if kept is None or token.k is not None or token.box is not None or token.anatomies not in ((), kept.anatomies):
        return None
    return kept


def search(
    session: "Session",
    query: RegionQuery,
    caller: Caller,
    *,
    keep: bool = True,
    drawn: Vector | None = None,
    replica: Replica | None = None,
) -> Answer:
    """Return the studies most like the anchor's regions, best first, one hit per study. Raises `QueryRefused`.

    Films of the anchor's patient, also of one that differs in having no issuer, and films with the anchor's pixels are
    no hits; equal films are one. Without `keep` nothing is written, and the answer has no code (pages that only read).
    `drawn`: the embedding of `query.box`. `replica`: where neighbours are looked for first.
    """
    kept = reopen(session, query.anchor, caller)
    query = completed(query, kept)
    model = active_model(session)
    for anatomy in query.anatomies:
        check_searchable(anatomy, model)
    study, candidates = find_anchor(session, query, caller, kept.anchor_instance_pk if kept else None)
    start = _start(session, query, model, study, candidates, drawn)
    allowed = NeighbourFilter(
        exclude_patient_pks=None if may_be_same_patient(query, caller) else same_person(session, study.patient_pk),
        exclude_study_pk=study.study_pk,
        exclude_pixel_sha256=start.instance.pixel_sha256,
        view=query.view or None,
        finding=query.finding or None,
    )
    hits = _nearest_studies(session, replica, query, model, start.vectors, allowed)
    answer = Answer("", query.anatomies, query.combine, query.box, start.instance.instance_pk, *coverage(session), hits)
    return replace(answer, code=_keep(session, answer, query.k, caller, model)) if keep else answer


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
    hides = anchor is not None and caller.disclosure is not Disclosure.IDENTIFIED
    hidden = same_person(session, anchor.patient_pk) if anchor and hides else ()
    shown = tuple(hit for hit in hits if hit.study_pk in patient_of and patient_of[hit.study_pk] not in hidden)
    asked = kept.asked
    indexed, total = asked.get("searched") or coverage(session)
    return Answer(
        kept.code,
        tuple(anatomy_by_key(key) for key in asked.get("anatomies", [kept.anatomy_pk])),
        Combine(asked.get("combine", Combine.SIMILARITY)),
        Box(*asked["box"]) if "box" in asked else None,
        kept.anchor_instance_pk,
        indexed,
        total,
        shown,
    )


def active_model(session: "Session") -> ActiveModel:
    """Return the generation that searches use. Raises `QueryRefused` before there is one."""
    model = generations.active(session)
    if model is None:
        raise QueryRefused("no-model", "nothing is indexed yet: no model is active")
    return model


def check_searchable(anatomy: Anatomy, model: ActiveModel) -> None:
    """Return if the model finds this anatomy. Raises `QueryRefused`."""
    if anatomy not in model.info.anatomies:
        known = " ".join(a.short for a in model.info.anatomies)
        raise QueryRefused("region-off", f"{anatomy.short} is not searched by this model; searched: {known}")


def check_regions_named(query: RegionQuery, model: ActiveModel) -> None:
    """Return if the query names a region. Raises `QueryRefused`."""
    if not query.anatomies:
        raise QueryRefused("region-required", "name a region: " + " ".join(a.short for a in model.info.anatomies))


def check_looked_at(session: "Session", model: ActiveModel, instance_pks: Collection[int]) -> None:
    """Return if the model has looked at these instances: another may have indexed them. Raises `QueryRefused`."""
    if analyses.has_unseen(session, model.pk, instance_pks):
        raise QueryRefused("not-indexed", "the anchor is not indexed by the new model yet; ask again")


def completed(query: RegionQuery, kept: Answer | None) -> RegionQuery:
    """Return the query with what a kept answer, whose code is its anchor, says where it says nothing itself."""
    if kept is not None and not query.anatomies:
        return replace(query, anatomies=kept.anatomies, box=query.box or kept.box)
    return query


def _start(
    session: "Session",
    query: RegionQuery,
    model: ActiveModel,
    study: AnchorStudy,
    candidates: list[AnchorInstance],
    drawn: Vector | None,
) -> Start:
    """Return the first instance of the anchor in which every region was found, with their embeddings."""
    check_regions_named(query, model)
    if drawn is not None:
        return Start(study, candidates[0], {query.anatomies[0].key: drawn})
    missing = ""
    for instance in candidates:
        found = {a: embeddings.region_vector(session, instance.instance_pk, model.pk, a.key) for a in query.anatomies}
        if all(found.values()):
            return Start(study, instance, {a.key: _vector(region) for a, region in found.items()})
        missing = missing or next(a.short for a, region in found.items() if region is None)
    check_looked_at(session, model, [instance.instance_pk for instance in candidates])
    raise QueryRefused("no-region", f"{missing} was not found in the anchor")


def _vector(region: RegionVector | None) -> Vector:
    assert region is not None
    return region.vector


def _nearest_studies(
    session: "Session",
    replica: Replica | None,
    query: RegionQuery,
    model: ActiveModel,
    vectors: dict[int, Vector],
    allowed: NeighbourFilter,
) -> tuple[Hit, ...]:
    """Return `nearest_studies` of the replica; of the primary where it is away, has nothing yet, or is out of date."""
    if replica is not None:
        try:
            found = replica.ask(lambda there: nearest_studies(there, query, model, vectors, allowed))
        except QueryRefused:  # it may lag behind
            found = None
        if found is not None and _may_be_shown(session, found, allowed):
            return found
    return nearest_studies(session, query, model, vectors, allowed)


def _may_be_shown(session: "Session", hits: tuple[Hit, ...], allowed: NeighbourFilter) -> bool:
    """Return whether by now too every hit's study is there, and none is of the patients who are no hits."""
    spec = FindSpec(Level.STUDY, (), study_pks=tuple(hit.study_pk for hit in hits))
    patients = [row.patient_pk for row in find(session, spec)]
    return len(patients) == len(hits) and not set(allowed.exclude_patient_pks or ()).intersection(patients)


def nearest_studies(
    session: "Session",
    query: RegionQuery,
    model: ActiveModel,
    vectors: dict[int, Vector],
    allowed: NeighbourFilter,
) -> tuple[Hit, ...]:
    """Return up to `query.k` studies by falling similarity to `vectors`, by anatomy. Raises `QueryRefused` for none."""
    limit = 2 * query.k + OVERFETCH
    while True:
        near = _near(session, query, model, vectors, allowed, limit)
        best = _best_per_study(near)
        if best and (len(best) >= query.k or len(near) < limit):
            return tuple(_hit(rank, found) for rank, found in enumerate(best[: query.k], start=1))
        if len(near) < limit:
            raise _no_hits(query)
        limit *= 4


def may_be_same_patient(query: RegionQuery, caller: Caller) -> bool:
    """Return whether other studies of the anchor's patient may be hits."""
    return query.with_same_patient and caller.disclosure is Disclosure.IDENTIFIED


def _near(
    session: "Session",
    query: RegionQuery,
    model: ActiveModel,
    vectors: dict[int, Vector],
    allowed: NeighbourFilter,
    limit: int,
) -> list[Neighbour]:
    """Return films near the start: one region by the index, with filters that it can hold; else by comparing all."""
    common: dict[str, Any] = {"model_pk": model.pk, "dim": model.info.dim, "limit": limit}
    by_column = compared.leaf_filters(allowed, query.narrow) if len(vectors) == 1 else None
    if by_column is not None:
        ((anatomy_pk, vector),) = vectors.items()
        return embeddings.nearest(session, anatomy_pk=anatomy_pk, vector=vector, filters=by_column, **common)
    by_rank = query.combine is Combine.RANK
    return compared.nearest_films(
        session, vectors=vectors, conditions=query.narrow, by_rank=by_rank, filters=allowed, **common
    )


def _best_per_study(near: list[Neighbour]) -> list[Neighbour]:
    """Return the first of each study and of each film; `near` has the best first."""
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
    return Hit(rank, found.study_pk, found.instance_pk, found.region_pk, found.similarity, found.view, found.age_years)


def _keep(session: "Session", answer: Answer, k: int, caller: Caller, model: ActiveModel) -> str:
    asked: dict[str, Any] = {
        "anatomies": [a.key for a in answer.anatomies],
        "combine": answer.combine.value,
        "searched": [answer.indexed, answer.total],
    }
    if answer.box is not None:
        asked["box"] = answer.box.as_tuple()
    return result_sets.create(
        session,
        model_pk=model.pk,
        anatomy_pk=answer.anatomy.key,
        anchor_instance_pk=answer.anchor_instance_pk,
        k=k,
        caller_ae=caller.ae_title,
        disclosure=caller.disclosure,
        hits=[asdict(hit) for hit in answer.hits],
        asked=asked,
    )


def coverage(session: "Session") -> tuple[int, int]:
    """Return how many instances are indexed, of how many that are to be; what is unsupported never will be."""
    by_state = instances.counts_by_state(session)
    return by_state[InstanceState.INDEXED], sum(by_state.values()) - by_state[InstanceState.UNSUPPORTED]


def _no_hits(query: RegionQuery) -> QueryRefused:
    names = "+".join(anatomy.short for anatomy in query.anatomies)
    if query.narrow or query.view or query.finding:
        return QueryRefused("no-hits", f"no other patient's {names[:20]} passes the filters")
    return QueryRefused("no-hits", f"no other patient has an indexed {names[:20]} yet")
