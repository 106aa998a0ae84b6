"""Rejection notes: Key Object Selection documents that reject the instances that they name (IHE IOCM, RAD-66)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset

from regionmir.core.errors import ConfigurationError, InvalidIdentifier
from regionmir.core.identifiers import Uid, parse_uid

KEY_OBJECT_SELECTION: Final = Uid("1.2.840.10008.5.1.4.1.1.88.59")

MAX_REFERENCES: Final = 100_000
"""A note that names more is taken as an ordinary document."""


class Reaction(StrEnum):
    """What a rejection note does to the instances that it names."""

    IGNORE = "ignore"
    """Nothing: note and instances are shown."""
    HIDE = "hide"
    """Both are kept and in no answer any more; an operator may show them again."""
    HIDE_FOR_GOOD = "hide-for-good"
    """The same, and nobody may show them again."""
    DELETE = "delete"
    """They are deleted. Sent again, they are new."""


@dataclass(frozen=True, slots=True)
class Title:
    """One document title of CID 7011: `why` as table `removed_instance` has it, and what it does unless told."""

    code: str
    meaning: str
    why: str
    reaction: Reaction


TITLES: Final[Mapping[str, Title]] = {
    title.code: title
    for title in (
        Title("113001", "Rejected for Quality Reasons", "quality", Reaction.HIDE),
        Title("113037", "Rejected for Patient Safety Reasons", "safety", Reaction.HIDE_FOR_GOOD),
        Title("113038", "Incorrect Modality Worklist Entry", "worklist", Reaction.HIDE_FOR_GOOD),
        Title("113039", "Data Retention Policy Expired", "retention", Reaction.DELETE),
    )
}
"""Document titles that reject (PS3.16 CID 7010, IHE RAD TF-3 4.66)."""

DEFAULT_RULES: Final = ",".join(f"{title.code}={title.reaction}" for title in TITLES.values())


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance that a note names, and of which study it says that it is."""

    study_instance_uid: Uid
    sop_instance_uid: Uid


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """A rejection note as far as it is acted upon."""

    title: Title
    references: tuple[Reference, ...]


def parse_rules(text: str) -> dict[str, Reaction]:
    """Return what each title does: `113001=ignore,113039=hide`; those that are not named keep their default.

    Raises `ConfigurationError`.
    """
    rules = {code: title.reaction for code, title in TITLES.items()}
    for word in text.replace(",", " ").split():
        code, _, reaction = word.partition("=")
        if code not in TITLES or reaction not in set(Reaction):
            raise ConfigurationError(
                f"a rule is one of {', '.join(TITLES)}, then = and one of {', '.join(Reaction)}, not {word[:40]!r}"
            )
        rules[code] = Reaction(reaction)
    return rules


def read_note(path: Path) -> RejectionNote | None:
    """Return the rejection note that a stored Key Object Selection is, None where it is none, or cannot be read."""
    try:
        dataset = dcmread(path, specific_tags=["ConceptNameCodeSequence", "CurrentRequestedProcedureEvidenceSequence"])
        return note_of(dataset)
    except Exception:  # pydicom raises many kinds on what is not as its VR says; it is then an ordinary object
        return None


def note_of(dataset: Dataset) -> RejectionNote | None:
    """Return the rejection note that a Key Object Selection is (PS3.3 A.35.4), None where it is none."""
    titles = [TITLES.get(_code(item)) for item in dataset.get("ConceptNameCodeSequence") or []]
    references = tuple(dict.fromkeys(_references(dataset)))
    if len(titles) != 1 or titles[0] is None or not 0 < len(references) <= MAX_REFERENCES:
        return None
    return RejectionNote(titles[0], references)


def _code(item: Dataset) -> str:
    """Return the value of a code of DICOM's own scheme, else nothing."""
    return str(item.get("CodeValue", "")) if item.get("CodingSchemeDesignator") == "DCM" else ""


def _references(dataset: Dataset) -> list[Reference]:
    """Return what the evidence of a note names (PS3.3 C.17.2, Hierarchical SOP Instance Reference Macro)."""
    found = []
    for study in _items(dataset, "CurrentRequestedProcedureEvidenceSequence"):
        for series in _items(study, "ReferencedSeriesSequence"):
            for item in _items(series, "ReferencedSOPSequence"):
                try:
                    uids = (study.get("StudyInstanceUID"), item.get("ReferencedSOPInstanceUID"))
                    found.append(Reference(*(parse_uid(str(uid or "")) for uid in uids)))
                except InvalidIdentifier:
                    continue
    return found


def _items(dataset: Dataset, keyword: str) -> Any:
    return dataset.get(keyword) or []
