"""Plans results: which objects go where, under which UIDs. They are made when they are sent (`workers.results`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import deliveries, generations, peers, result_films, result_sets
from db.deliveries import Result
from db.peers import Peer
from db.result_films import ResultFilm
from regionmir.core.identifiers import AETitle
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import Disclosure, GenerationInfo, lower
from regionmir.results.making import KINDS, OF_ONE_ANSWER, telling_parts
from regionmir.results.objects import PRESENTATION, ResultKind
from regionmir.results.source import result_uid

if TYPE_CHECKING:
    from db.engine import Session


@dataclass(frozen=True, slots=True)
class Plan:
    """What results about one film have in common. `model_pk` is of the model that `model` identifies."""

    film: ResultFilm
    model_pk: int
    model: GenerationInfo
    disclosure: Disclosure
    pseudonymizer: Pseudonymizer

    def results(self, session: "Session", kinds: Collection[str], codes: Sequence[str]) -> list[Result]:
        """Return the results of these kinds; those about one answer once for each code."""
        if not self.film.regions:
            return []
        wanted = [kind for name, kind in KINDS.items() if name in kinds and (kind is not PRESENTATION or self._is_grey)]
        common = [self._result(session, kind, codes) for kind in wanted if kind.name not in OF_ONE_ANSWER]
        each = [self._result(session, kind, [code]) for code in codes for kind in wanted if kind.name in OF_ONE_ANSWER]
        return common + each

    @property
    def _is_grey(self) -> bool:
        return self.film.is_grey

    def _result(self, session: "Session", kind: ResultKind, codes: Sequence[str]) -> Result:
        image_uid = self.film.disclosed_uid(session, self.disclosure)
        parts = telling_parts(kind, self.film.regions, codes)
        uid = result_uid(self.pseudonymizer, self.model, image_uid, "instance", kind.name, *parts)
        told = () if kind is PRESENTATION else tuple(codes)  # the same boxes whatever the answer
        film = self.film
        return Result(
            kind.name,
            film.study_pk,
            film.study_instance_uid,
            self.model_pk,
            uid,
            film.pk,
            self.disclosure,
            told,
        )


@dataclass(frozen=True, slots=True)
class ResultOutbox:
    """Puts the results of an answer into the outbox (ways A and C)."""

    pseudonymizer: Pseudonymizer

    def enqueue(self, session: "Session", *, destination: str, result_set_code: str) -> None:
        """Enqueue what the destination is sent, in the lower disclosure of the asker's and its own."""
        kept = result_sets.get(session, result_set_code)
        if kept is None:
            return
        film = result_films.get(session, kept.anchor_instance_pk, kept.model_pk)
        model = generations.info_of(session, kept.model_pk)
        if film is None or model is None:
            return
        peer = peers.get(session, destination) or unregistered(destination)
        disclosure = lower(kept.disclosure, peer.disclosure)
        plan = Plan(film, kept.model_pk, model, disclosure, self.pseudonymizer)
        for result in plan.results(session, peer.results, [kept.code]):
            deliveries.enqueue(session, result, peer.ae_title)


def unregistered(ae_title: str) -> Peer:
    """Return what stands for a destination that nobody registered: its dead letters tell the operator."""
    return Peer(AETitle(ae_title))
