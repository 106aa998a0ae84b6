"""Queries that start from an uploaded film: it is in no archive, so the answer is kept under no code."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.embeddings import NeighbourFilter
from db.uploads import UploadedFilm
from regionmir.core.errors import QueryRefused
from regionmir.core.records import Caller, InstanceState
from regionmir.query.anchor import unknown_anchor
from regionmir.query.request import RegionQuery
from regionmir.query.search import (
    Hit,
    active_model,
    check_regions_named,
    check_searchable,
    coverage,
    may_be_same_patient,
    nearest_studies,
)

if TYPE_CHECKING:
    from db.engine import Session


@dataclass(frozen=True, slots=True)
class FilmAnswer:
    """Hits by rank; `indexed` of `total` instances were searched."""

    indexed: int
    total: int
    hits: tuple[Hit, ...]


def search_uploaded(session: "Session", query: RegionQuery, film: UploadedFilm | None, caller: Caller) -> FilmAnswer:
    """Return the studies most like the regions of an uploaded film, best first, one hit per study.

    Films with the same pixels are no hits, nor are studies of a patient with the PatientID that the film bears.
    Raises `QueryRefused`.
    """
    film = _searchable(film)
    model = active_model(session)
    if film.model_pk != model.pk:
        raise QueryRefused("film-stale", "another model is active by now: upload the film again")
    check_regions_named(query, model)
    vectors = {}
    for anatomy in query.anatomies:
        check_searchable(anatomy, model)
        if anatomy.key not in film.vectors():
            raise QueryRefused("no-region", f"{anatomy.short} was not found in the film")
        vectors[anatomy.key] = film.vectors()[anatomy.key]
    allowed = NeighbourFilter(
        exclude_patient_pks=None if may_be_same_patient(query, caller) else film.patient_pks,
        exclude_pixel_sha256=film.pixel_sha256,
    )
    hits = nearest_studies(session, query, model, vectors, allowed)
    return FilmAnswer(*coverage(session), hits)


def _searchable(film: UploadedFilm | None) -> UploadedFilm:
    if film is None:
        raise unknown_anchor()
    if not film.is_final:
        raise QueryRefused("not-indexed", "the film is not indexed yet; ask again")
    if film.state is InstanceState.FAILED:
        raise QueryRefused("failed-anchor", f"the film could not be indexed: {film.reason}")
    if film.state is not InstanceState.INDEXED:
        raise QueryRefused("unsupported-anchor", f"the film cannot be searched: {film.reason}")
    return film
