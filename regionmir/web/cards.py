"""What a page shows of a study or an instance under a pseudonym: nothing that `regionmir.query.disclosure` drops."""

from dataclasses import dataclass

from db.browse import BrowsedInstance, BrowsedStudy, Identity
from regionmir.core.anatomy import Anatomy
from regionmir.core.geometry import Box
from regionmir.core.records import InstanceState
from regionmir.core.terms import MODALITIES, PHOTOMETRIC_INTERPRETATIONS, SEXES
from regionmir.query.disclosure import seen_view
from regionmir.web.pictures import View, why_withheld

_TOP_BAND = 90
_SEX_WORDS = {"F": "female", "M": "male", "O": "other"}


@dataclass(frozen=True, slots=True)
class InstanceCard:
    """One instance. `withheld` says why there is no picture of it; `facts` are short texts to stand in one line."""

    uid: str
    study_uid: str
    url: str
    picture_url: str
    state: str
    reason: str
    withheld: str
    has_picture: bool
    regions: int
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyCard:
    """One study with its instances."""

    url: str
    uid: str
    patient: str
    facts: tuple[str, ...]
    instances: tuple[InstanceCard, ...]
    identity: tuple[str, ...] = ()
    """Name, PatientID, accession number and date, for visitors who may know them."""

    @property
    def shown(self) -> InstanceCard | None:
        """The instance whose picture stands for the study, None where none has one."""
        return next((card for card in self.instances if card.has_picture), None)

    @property
    def withheld(self) -> str:
        """Why no picture is shown of what is indexed, empty where one is shown or nothing is indexed."""
        indexed = [card for card in self.instances if card.state == InstanceState.INDEXED]
        return "" if self.shown or not indexed else indexed[0].withheld

    @property
    def states(self) -> dict[str, int]:
        """How many instances are in each state, in the order of the instances."""
        counted: dict[str, int] = {}
        for card in self.instances:
            counted[card.state] = counted.get(card.state, 0) + 1
        return counted


@dataclass(frozen=True, slots=True)
class RegionMark:
    """One region to draw over the film (`box` in pixels of the viewed film, None where they are not known)."""

    anatomy: Anatomy
    score: float
    box: Box | None
    url: str
    chosen: bool


def study_card(study: BrowsedStudy, identity: Identity | None = None) -> StudyCard:
    """Return the card of a study; `identity` says whose it is, to those who may know."""
    cards = tuple(instance_card(instance) for instance in study.instances)
    ages = {age_band(instance.age_years) for instance in study.instances} - {""}
    sex = _SEX_WORDS[study.sex] if study.sex in SEXES else ""
    facts = tuple(fact for fact in (sex, min(ages, default="")) if fact)
    patient = study.patient or "patient without a pseudonym"
    return StudyCard(f"/studies/{study.uid}", study.uid, patient, facts, cards, _identity(identity))


def _identity(found: Identity | None) -> tuple[str, ...]:
    if found is None:
        return ()
    name = found.patient_name.split("=")[0].replace("^", " ").strip()
    date = found.study_date.isoformat() if found.study_date else ""
    return tuple(text for text in (name, found.patient_id, found.accession_number, date) if text)


def instance_card(instance: BrowsedInstance) -> InstanceCard:
    """Return the card of an instance."""
    indexed = instance.state is InstanceState.INDEXED
    withheld = why_withheld(instance)
    facts = (instance.modality if instance.modality in MODALITIES else "", seen_view(instance.view))
    return InstanceCard(
        uid=instance.uid,
        study_uid=instance.study_uid,
        url=f"/studies/{instance.study_uid}/{instance.uid}",
        picture_url=f"/instances/{instance.uid}",
        state=instance.state.value,
        reason=shown_reason(instance.reason),
        withheld=withheld,
        has_picture=indexed and not withheld,
        regions=len(instance.regions),
        facts=tuple(fact for fact in facts if fact),
    )


def region_marks(instance: BrowsedInstance, view: View | None, chosen: Anatomy | None) -> list[RegionMark]:
    """Return the regions of a film, the largest first, so that a small one lies above a large one."""
    card = instance_card(instance)
    return [
        RegionMark(
            anatomy=found.anatomy,
            score=found.score,
            box=None if view is None else view.seen(found.box),
            url=f"{card.url}/{found.anatomy.short}",
            chosen=found.anatomy == chosen,
        )
        for found in sorted(instance.regions, key=lambda found: found.box.area, reverse=True)
    ]


def age_band(years: float | None) -> str:
    """Return an age as a band of five years, everything from 90 as one; empty where it is not known."""
    if years is None:
        return ""
    first = int(min(years, _TOP_BAND)) // 5 * 5
    return f"{_TOP_BAND} years or older" if first == _TOP_BAND else f"{first} to {first + 4} years"


def shown_reason(reason: str) -> str:
    """Return why an instance is not indexed, without words that came with the object, save Defined Terms.

    The views of `analytics` say the same (`db/views/_1_values.sql`).
    """
    kind, _, value = reason.partition(" ")
    if kind == "modality" and value not in MODALITIES:
        return "another modality"
    if kind == "photometric" and value not in PHOTOMETRIC_INTERPRETATIONS:
        return "another photometric interpretation"
    return "another body part" if reason.startswith("body part ") else reason.replace("_", " ")
