"""The regions of a film as a presentation state: found below a study at `RGN_*`, and retrieved there with the film.

It is made when it is sent and kept nowhere. Its UIDs follow from film, model and regions: it is the same object in
every answer, and the one that a destination of results is sent. `RGN_<region>` draws that region, `RGN_ALL` all.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from db import generations, result_films
from db.find import Condition, FindRow, FindSpec, Level, Numbers, OneOf, Test, Wildcard, find, level_of
from db.generations import ActiveModel
from db.result_films import ResultFilm
from db.retrieve import Wanted, copy_identities, find_instances
from regionmir.archive.copies import pseudonym_of
from regionmir.archive.correction import film_attributes
from regionmir.core.anatomy import AE_PREFIX, ALL_REGIONS_AE, anatomy_by_ae_title
from regionmir.core.identifiers import Uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import CopyIdentity, DetectedRegion, Disclosure
from regionmir.deid.copies import may_be_copied, pseudonymous_attributes
from regionmir.deid.identity import Substitution
from regionmir.query.matching import FindRequest
from regionmir.results.making import disclosed_time, telling_parts
from regionmir.results.objects import PRESENTATION
from regionmir.results.presentation import region_boxes
from regionmir.results.source import ResultSource, result_uid, source_image
from regionmir.scu.sending import Outgoing

if TYPE_CHECKING:
    from db.engine import Session
    from dicom_node.node import Node

BOXES_CLASS: Final = str(PRESENTATION.sop_class_uid)

_MAX_FILMS: Final = 1000


@dataclass(frozen=True, slots=True)
class RegionBoxes:
    """One presentation state that is wanted. `told_uid`: its UID as the caller knows it; `sent_uid`: as it is sent."""

    film: ResultFilm
    regions: tuple[DetectedRegion, ...]
    model: ActiveModel
    identity: CopyIdentity | None
    """Of the pseudonymous copy of the film, where that is what is sent."""
    told_uid: Uid
    sent_uid: Uid

    def outgoing(self, node: "Node") -> Outgoing:
        """Return what a C-STORE of it needs."""
        place = partial(node.store.path, self.film.storage_key)
        return Outgoing(place, Uid(BOXES_CLASS), self.sent_uid, Uid(ExplicitVRLittleEndian), copied=True)

    def made(self, node: "Node", accepted: Collection[str]) -> Dataset:
        """Return the object in one of the accepted transfer syntaxes (none is compressed)."""
        disclosure = Disclosure.PSEUDONYMOUS if self.identity else Disclosure.IDENTIFIED
        when = disclosed_time(self.film.received_at, disclosure, self.film.date_shift_days)
        image = source_image(self._attributes(node))
        state = region_boxes(ResultSource(image, self.regions, self.model.info, when, node.pseudonymizer))
        if str(ExplicitVRLittleEndian) not in accepted:
            state.file_meta.TransferSyntaxUID = UID(next(iter(accepted)))
        return state

    def _attributes(self, node: "Node") -> Dataset:
        path = node.store.path(self.film.storage_key)
        if self.identity is None:
            return film_attributes(path, self.film.corrected, node.settings.max_pixels)
        substitution = Substitution(self.identity, lambda kind, uid: pseudonym_of(node, kind, uid))
        return pseudonymous_attributes(path, substitution)


def box_rows(session: "Session", pseudonymizer: Pseudonymizer, request: FindRequest, called: str) -> list[FindRow]:
    """Return the presentation states, or their series, that a query below a study at `RGN_*` matches."""
    below = request.level in (Level.SERIES, Level.IMAGE)
    model = generations.active(session) if below and called.startswith(AE_PREFIX) else None
    if model is None or request.matches_nothing:
        return []
    spec = request.spec(limit=None)
    of_study = FindSpec(
        Level.STUDY,
        tuple(field for field in spec.fields if level_of(field.tag).depth <= Level.STUDY.depth),
        tuple(one for one in spec.conditions if _is_above(one)),
        _MAX_FILMS,
    )
    studies = {row.study_pk: row for row in find(session, of_study) if row.study_pk is not None}
    conditions = [one for one in spec.conditions if not _is_above(one)]
    rows = []
    for film, regions in _drawable(result_films.of_studies(session, studies, model.pk), called):
        image_uid = film.disclosed_uid(session, request.disclosure)
        own = _own_values(pseudonymizer, model, image_uid, regions)
        if all(_passes(condition, own) for condition in conditions):
            study = studies[film.study_pk]
            rows.append(FindRow(study.patient_pk, film.study_pk, {**study.values, **own}))
    return rows


def wanted_boxes(
    session: "Session", node: "Node", wanted: Wanted, called: str, *, caller: Disclosure, sent: Disclosure
) -> list[RegionBoxes]:
    """Return the presentation states that a retrieve at `RGN_*` means; its keys are what the caller knows.

    None of a film that may not leave in the disclosure in which it would be `sent`.
    """
    model = generations.active(session) if called.startswith(AE_PREFIX) else None
    if model is None or "StudyInstanceUID" not in wanted.keys:
        return []
    of_study = {key: value for key, value in wanted.keys.items() if key not in ("SeriesInstanceUID", "SOPInstanceUID")}
    stored = find_instances(session, Wanted(of_study), caller, limit=_MAX_FILMS)
    if sent is Disclosure.PSEUDONYMOUS:
        stored = [one for one in stored if may_be_copied(one.sop_class_uid, one.burned_in_annotation)]
    pks = [one.pk for one in stored]
    identities = copy_identities(session, pks) if sent is Disclosure.PSEUDONYMOUS else {}
    found = []
    for film, regions in _drawable(result_films.of_instances(session, pks, model.pk), called):
        known = _own_values(node.pseudonymizer, model, film.disclosed_uid(session, caller), regions)
        if all(known[tag] in wanted.keys.get(key, [known[tag]]) for key, tag in _RETRIEVE_KEYS.items()):
            sent_as = _own_values(node.pseudonymizer, model, film.disclosed_uid(session, sent), regions)
            identity = identities.get(film.pk)
            found.append(RegionBoxes(film, regions, model, identity, known[_SOP_INSTANCE], sent_as[_SOP_INSTANCE]))
    return found


_SERIES, _SOP_INSTANCE = "0020000E", "00080018"
_RETRIEVE_KEYS: Final[dict[Any, str]] = {"SeriesInstanceUID": _SERIES, "SOPInstanceUID": _SOP_INSTANCE}


def _drawable(films: Sequence[ResultFilm], called: str) -> list[tuple[ResultFilm, tuple[DetectedRegion, ...]]]:
    """Return the grey films with the regions that are drawn at this AE title."""
    anatomy = anatomy_by_ae_title(called)
    found = []
    for film in films:
        regions = tuple(one for one in film.regions if called == ALL_REGIONS_AE or one.anatomy == anatomy)
        if regions and film.is_grey:
            found.append((film, regions))
    return found


def _own_values(
    pseudonymizer: Pseudonymizer, model: ActiveModel, image_uid: Uid, regions: Sequence[DetectedRegion]
) -> dict[str, Any]:
    """Return what the state says of itself, by tag."""
    named = (PRESENTATION.name, *telling_parts(PRESENTATION, regions, ()))
    return {
        _SERIES: result_uid(pseudonymizer, model.info, image_uid, "series", *named),
        "00080060": PRESENTATION.modality,
        "00200011": PRESENTATION.series_number,
        "0008103E": "RegionMIR boxes",
        "00180015": "CHEST",
        "00201209": 1,
        _SOP_INSTANCE: result_uid(pseudonymizer, model.info, image_uid, "instance", *named),
        "00080016": BOXES_CLASS,
        "00200013": 1,
        "00700080": "REGIONS",
    }


def _is_above(condition: Condition) -> bool:
    return level_of(condition.field.tag).depth <= Level.STUDY.depth


def _passes(condition: Condition, own: Mapping[str, Any]) -> bool:
    value = own.get(condition.field.tag)
    return value is not None and condition.time is None and any(_is_passed(one, value) for one in condition.tests)


def _is_passed(test: Test, value: str | int) -> bool:
    if isinstance(test, OneOf):
        return str(value) in test.values
    if isinstance(test, Wildcard):
        pattern = re.escape(test.text).replace(r"\*", ".*").replace(r"\?", ".")
        return re.fullmatch(pattern, str(value)) is not None
    return isinstance(test, Numbers) and value in test.values
