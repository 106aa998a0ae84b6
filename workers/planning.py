"""Results of complete studies: a report of each film, and the answers for the regions that the site always searches."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from db import generations, peers, result_films, result_sets
from db.completeness import CompleteStudy
from db.deliveries import Result
from db.engine import Database
from db.result_films import ResultFilm
from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import QueryRefused
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import Caller, Rights, lower
from regionmir.query import trail
from regionmir.query.request import RegionQuery
from regionmir.query.search import search
from regionmir.results.outbox import Plan, unregistered

if TYPE_CHECKING:
    from db.engine import Session

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StudyPlanner:
    """Plans results of complete studies. `regions` are searched in each film in which they were found."""

    database: Database
    pseudonymizer: Pseudonymizer
    regions: tuple[Anatomy, ...]
    k: int

    def plan(self, study: CompleteStudy) -> Sequence[Result]:
        """Return the results of a study: the same ones each time, and those of images that came late beside them.

        A film that was sent to a region and answered gets none: its results come with the answer that it asked for. Nor
        does one whose results were made under another model: a switch sends nothing a second time.
        """
        with self.database.session() as session:
            source = peers.get(session, study.source_ae) or unregistered(study.source_ae)
            destination = peers.get(session, study.results_to) or unregistered(study.results_to)
            model = generations.info_of(session, study.model_pk)
            films = result_films.of_studies(session, [study.study_pk], study.model_pk)
            done = result_films.asked_by_sending(session, [film.pk for film in films])
            done |= result_films.told_by_another(session, study.study_pk, study.model_pk, study.results_to)
            if model is None:
                return []
            disclosure = lower(source.disclosure, destination.disclosure)
            caller = Caller(source.ae_title, "", Rights(find=True), disclosure, registered=True)
            planned: list[Result] = []
            for film in films:
                if film.pk not in done:
                    plan = Plan(film, study.model_pk, model, disclosure, self.pseudonymizer)
                    codes = self._codes(session, film, study.model_pk, caller)
                    planned += plan.results(session, destination.results, codes)
            return planned

    def _codes(self, session: "Session", film: ResultFilm, model_pk: int, caller: Caller) -> list[str]:
        """Return the codes of the answers for the regions, of earlier ones where there are any."""
        found = {region.anatomy for region in film.regions}
        codes = (self._code(session, film, model_pk, region, caller) for region in self.regions if region in found)
        return [code for code in codes if code is not None]

    def _code(self, session: "Session", film: ResultFilm, model_pk: int, region: Anatomy, caller: Caller) -> str | None:
        earlier = result_sets.code_for(
            session,
            anchor_instance_pk=film.pk,
            model_pk=model_pk,
            anatomy_pk=region.key,
            caller_ae=caller.ae_title,
            disclosure=caller.disclosure,
        )
        if earlier is not None:
            return earlier
        started = time.perf_counter()
        try:
            answer = search(session, RegionQuery(film.sop_instance_uid, (region,), self.k), caller)
        except QueryRefused as error:  # such as no other patient's film yet
            log.info("region not answered for a complete study", why=error.code)
            return None
        trail.record_answer(session, answer, caller, duration_ms=(time.perf_counter() - started) * 1000)
        return answer.code
