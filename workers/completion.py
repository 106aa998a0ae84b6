"""Puts the results of complete studies into the outbox. Which results there are, planners say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from db import completeness, deliveries, generations
from db.completeness import CompleteStudy
from db.deliveries import Result
from db.engine import Database
from regionmir.core.errors import RegionMirError, StorageFull, Transient

AT_ONCE = 100

log = structlog.get_logger(__name__)


class ResultPlanner(Protocol):
    """Says which results a complete study has."""

    def plan(self, study: CompleteStudy) -> Sequence[Result]:
        """Return the results of a study as it is now.

        A result's SOP Instance UID must follow from its kind, its model and what it is made of: asked again about the
        same images it is the same, and nothing is sent twice; with a late image it is another.
        """


@dataclass(frozen=True, slots=True)
class Completion:
    """Looks for complete studies."""

    database: Database
    planners: Sequence[ResultPlanner]
    quiet_s: float

    def look(self) -> int:
        """Enqueue the results of every study that is complete now, and return how many results are new.

        Raises `Transient`, `StorageFull`.
        """
        if not self.planners:
            return 0
        with self.database.session() as session:
            model = generations.active(session)
            if model is None:
                return 0
            studies = completeness.complete_studies(session, model.pk, quiet_s=self.quiet_s, limit=AT_ONCE)
        return sum(self._enqueue(study) for study in studies)

    def _enqueue(self, study: CompleteStudy) -> int:
        """Enqueue all results of one study or none; a study whose results cannot be planned holds up no other.

        None, too, where another process made them meanwhile, or another model took over: it is looked at again.
        """
        try:
            planned = [result for planner in self.planners for result in planner.plan(study)]
        except (Transient, StorageFull):
            raise
        except RegionMirError as error:
            log.warning("no results of a study", why=str(error))
            planned = []
        with self.database.session() as session:
            if not completeness.is_still_due(session, study):
                return 0
            new = sum(deliveries.enqueue(session, result, study.results_to) for result in planned)
            completeness.results_made(session, study)
        return new
