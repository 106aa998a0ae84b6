"""Makes the object of a result when it is to be sent: from the stored film, its regions and the kept answers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from db import generations, pseudonyms, result_films, result_sets
from db.deliveries import Result
from db.engine import Database
from db.result_films import ResultFilm
from db.retrieve import copy_identities
from regionmir.archive.correction import film_attributes
from regionmir.core.errors import InvalidBox, InvalidHeader, NotIndexable, ResultError, Transient
from regionmir.core.geometry import Box
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.deid.copies import NoCopy, pseudonymous_attributes
from regionmir.deid.identity import Substitution
from regionmir.pixels.decode import DisplayValues
from regionmir.query.disclosure import seen_age, seen_view
from regionmir.query.search import Answer, reopen
from regionmir.results.crops import stored_crop
from regionmir.results.making import KINDS, WITH_CROPS, disclosed_time, make_result
from regionmir.results.source import KeptAnswer, KeptHit, ResultSource, source_image
from workers.delivery import NotBuildable
from workers.pipeline import ObjectPaths

if TYPE_CHECKING:
    from db.engine import Session


class NotYetBuildable(Transient):
    """A result that can be made later: its film is being indexed again."""


_READER = Caller(AETitle("RESULTS"), "", Rights(), Disclosure.PSEUDONYMOUS, registered=True)
"""Whoever gets a result, it shows no hit that by now is of the same patient."""


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer with where the pixels of its crops are."""

    answer: Answer
    query_box: Box | None
    hits: dict[int, tuple[str, Box]]
    """Storage key and box by instance."""


@dataclass(frozen=True, slots=True)
class ResultMaker:
    """Builds every kind of result. The same rows and objects give the same bytes."""

    database: Database
    objects: ObjectPaths
    pseudonymizer: Pseudonymizer
    max_pixels: int

    def build(self, result: Result) -> Dataset:
        """Return the object under the patient and study that its disclosure says.

        Raises `NotBuildable`, or `NotYetBuildable` while its film is being indexed again.
        """
        kind = KINDS.get(result.kind)
        if kind is None or result.instance_pk is None:
            raise NotBuildable(f"no result of kind {result.kind!r} can be made of this delivery")
        with self.database.session() as session:
            film = result_films.get(session, result.instance_pk, result.model_pk)
            if film is None:
                if result_films.is_waiting(session, result.instance_pk):
                    raise NotYetBuildable("its film waits to be indexed again")
                raise NotBuildable("its film is not indexed any more")
            found = [self._answer(session, film, code, result.model_pk) for code in result.codes]
            try:
                source = self._source(session, film, result)
            except (NoCopy, InvalidHeader, NotIndexable, FileNotFoundError) as error:
                raise NotBuildable(f"its film cannot be read: {type(error).__name__}") from None
        try:
            answers = [self._kept(film, one, with_crops=kind in WITH_CROPS) for one in found]
            return make_result(kind, source, answers)
        except (ResultError, NotIndexable, InvalidBox) as error:
            raise NotBuildable(str(error)) from None

    def _source(self, session: "Session", film: ResultFilm, result: Result) -> ResultSource:
        model = generations.info_of(session, result.model_pk)
        kept = [result_sets.get(session, code) for code in result.codes]
        made = max([one.created_at for one in kept if one is not None], default=film.received_at)
        assert model is not None  # a foreign key says so
        return ResultSource(
            source_image(self._attributes(session, film, result.disclosure)),
            film.regions,
            model,
            disclosed_time(made, result.disclosure, film.date_shift_days),
            self.pseudonymizer,
        )

    def _attributes(self, session: "Session", film: ResultFilm, disclosure: Disclosure) -> Dataset:
        """Return the film's attributes as the result bears them: its own, or those of its de-identified copy."""
        path = self.objects.path(film.storage_key)
        if disclosure is Disclosure.IDENTIFIED:
            return film_attributes(path, film.corrected, self.max_pixels)

        def uid_of(kind: str, uid: Uid) -> Uid:
            return pseudonyms.uid_for(session, kind, uid, self.pseudonymizer)

        identity = copy_identities(session, [film.pk])[film.pk]
        return pseudonymous_attributes(path, Substitution(identity, uid_of))

    def _answer(self, session: "Session", film: ResultFilm, code: str, model_pk: int) -> _Found:
        answer = reopen(session, code, _READER)
        if answer is None or answer.anchor_instance_pk != film.pk:
            raise NotBuildable(f"no answer {code} about this film is kept")
        hits = result_films.regions_of_hits(
            session, [hit.instance_pk for hit in answer.hits], model_pk, answer.anatomy.key
        )
        own = next((region.box for region in film.regions if region.anatomy == answer.anatomy), None)
        return _Found(answer, answer.box or own, hits)

    def _kept(self, film: ResultFilm, found: _Found, *, with_crops: bool) -> KeptAnswer:
        """Return an answer as far as it may leave; `with_crops`: the result shows pixels."""
        answer = found.answer
        crop = None
        if with_crops and found.query_box is not None:
            crop = self._cut(film.storage_key, found.query_box, of_hit=False)
        hits = tuple(
            KeptHit(
                hit.rank,
                hit.similarity,
                seen_view(hit.view),
                seen_age(hit.age_years),
                self._crop(found, hit.instance_pk) if with_crops else None,
            )
            for hit in answer.hits
        )
        return KeptAnswer(answer.code, answer.anatomy, crop, hits, answer.coverage, len(answer.anatomies) - 1)

    def _crop(self, found: _Found, instance_pk: int) -> DisplayValues | None:
        """Return the region of a hit, None where it may not be shown, or its film cannot be read any more."""
        if instance_pk not in found.hits:
            return None
        key, box = found.hits[instance_pk]
        try:
            return self._cut(key, box, of_hit=True)
        except (NotIndexable, InvalidBox, FileNotFoundError):
            return None

    def _cut(self, key: str, box: Box, *, of_hit: bool) -> DisplayValues | None:
        return stored_crop(self.objects.path(key), box, of_hit=of_hit, max_pixels=self.max_pixels)
