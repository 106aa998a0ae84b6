"""From rows to what a caller may see: the one place of the API that knows both originals and pseudonyms."""

import datetime as dt
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from db import browse, search_rows
from db.browse import BrowsedInstance
from db.search_rows import InstanceValues, StudyValues
from db.uploads import UploadedFilm
from regionmir.core.anatomy import Anatomy
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, InstanceState
from regionmir.core.terms import MODALITIES, SEXES
from regionmir.query.disclosure import seen_view
from regionmir.query.search import Answer, Hit
from regionmir.web.api.schemas import (
    AnswerModel,
    BoxModel,
    FilmModel,
    HitModel,
    InstanceModel,
    Links,
    Original,
    RegionModel,
)
from regionmir.web.callers import Caller
from regionmir.web.cards import shown_reason
from regionmir.web.pictures import why_withheld
from regionmir.web.site import Site

if TYPE_CHECKING:
    from db.engine import Session

PATH: Final = "/api/v1"
_BAND_YEARS: Final = 5
_TOP_BAND: Final = 90


def seen_instances(
    session: "Session", site: Site, who: Caller, pks: Collection[int], only: Sequence[Anatomy] = ()
) -> dict[int, InstanceModel]:
    """Return instances by key as the caller may see them, hidden ones left out; `only`: of all regions, these."""
    found = browse.instances_by_pk(session, pks, model_pk=site.active_model_pk(session))
    values = search_rows.instances(session, pks)
    studies = search_rows.studies(session, {one.study_pk for one in found.values()})
    return {
        pk: _instance(one, studies[one.study_pk], values[pk], who, only)
        for pk, one in found.items()
        if one.study_pk in studies and pk in values
    }


def seen_answer(session: "Session", site: Site, who: Caller, answer: Answer) -> AnswerModel:
    """Return an answer as the caller may see it."""
    anchor = seen_instances(session, site, who, [answer.anchor_instance_pk]) if who.identified else {}
    return AnswerModel(
        code=answer.code or None,
        disclosure=who.disclosure,
        regions=[anatomy.short for anatomy in answer.anatomies],
        combine=answer.combine,
        box=None if answer.box is None else seen_box(answer.box),
        indexed=answer.indexed,
        total=answer.total,
        anchor=anchor.get(answer.anchor_instance_pk),
        hits=seen_hits(session, site, who, answer.hits, answer.anatomies),
    )


def seen_hits(
    session: "Session", site: Site, who: Caller, hits: Sequence[Hit], anatomies: Sequence[Anatomy]
) -> list[HitModel]:
    """Return hits by rank as the caller may see them."""
    films = seen_instances(session, site, who, [hit.instance_pk for hit in hits], anatomies)
    return [
        HitModel(rank=hit.rank, similarity=hit.similarity, instance=films[hit.instance_pk])
        for hit in hits
        if hit.instance_pk in films
    ]


def seen_film(film: UploadedFilm) -> FilmModel:
    """Return an uploaded film as its owner may see it."""
    return FilmModel(
        id=film.code,
        state=film.state,
        reason=film.reason,
        expires_at=film.expires_at,
        view=seen_view(film.view),
        rows=film.rows,
        columns=film.columns,
        regions=[_region(found.region) for found in film.regions],
    )


def seen_box(box: Box) -> BoxModel:
    """Return a box as JSON has it."""
    return BoxModel(x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1)


def _instance(
    found: BrowsedInstance, study: StudyValues, values: InstanceValues, who: Caller, only: Sequence[Anatomy]
) -> InstanceModel:
    regions = [region for region in found.regions if not only or region.anatomy in only]
    withheld = "" if who.identified else why_withheld(found)
    return InstanceModel(
        id=found.uid,
        study=found.study_uid,
        patient=study.patient_pseudonym,
        state=found.state,
        reason=found.reason if who.identified else shown_reason(found.reason),
        modality=found.modality if who.identified or found.modality in MODALITIES else "",
        view=seen_view(found.view),
        sex=study.sex if who.identified or study.sex in SEXES else "",
        age_years=_age(found.age_years, who),
        study_date=_date(study, who),
        rows=found.rows,
        columns=found.columns,
        regions=[_region(region) for region in regions],
        withheld=withheld,
        links=_links(found, regions, withheld),
        original=_original(study, values) if who.identified else None,
    )


def _region(found: DetectedRegion) -> RegionModel:
    return RegionModel(
        region=found.anatomy.short, name=found.anatomy.name, box=seen_box(found.box), score=round(found.score, 4)
    )


def _links(found: BrowsedInstance, regions: Sequence[DetectedRegion], withheld: str) -> Links:
    own = f"{PATH}/instances/{found.uid}"
    if withheld or found.state is not InstanceState.INDEXED:
        return Links(self=own)
    of_regions = {region.anatomy.short: f"{own}/regions/{region.anatomy.short}.png" for region in regions}
    return Links(self=own, film=f"{own}/film.png", thumbnail=f"{own}/thumbnail.jpg", regions=of_regions)


def _original(study: StudyValues, values: InstanceValues) -> Original:
    return Original(
        patient_id=study.patient_id,
        patient_name=study.name,
        accession_number=study.accession_number,
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=values.series_instance_uid,
        sop_instance_uid=values.sop_instance_uid,
    )


def _age(years: float | None, who: Caller) -> int | None:
    if years is None or who.identified:
        return None if years is None else int(years)
    return min(int(years), _TOP_BAND) // _BAND_YEARS * _BAND_YEARS


def _date(study: StudyValues, who: Caller) -> dt.date | None:
    if study.study_date is None or who.identified:
        return study.study_date
    try:
        return study.study_date + dt.timedelta(days=study.date_shift_days)
    except OverflowError:  # moved before the year 1
        return None
