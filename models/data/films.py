"""What a reader returns: films with boxes, and who belongs to whom."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.data.errors import DataError
from regionmir.core.geometry import Box

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_KERMANY_PERSON = re.compile(r"(person\d+)_(bacteria|virus)")


@dataclass(frozen=True, slots=True)
class Film:
    """One image. An anatomy that is missing in `boxes` is unknown, not absent; so is an empty `finding`."""

    name: str
    path: Path
    width: int
    height: int
    source: str
    patient: str
    finding: str
    age_group: str
    split: str
    boxes: dict[int, Box]
    """By the anatomy's key, in image pixels."""
    origins: dict[int, str]
    """By the anatomy's key: `mask`, `derived`, `silver`, `gold` or `detected`."""
    mask: Path | None = None
    """Label map of lungs and heart (`models.data.pixels.read_mask`); None where nobody drew one."""
    findings: Mapping[int, Mapping[str, bool]] = field(default_factory=dict)
    """By the anatomy's key: what is stated of that region. A finding that is missing there is unknown, not absent."""
    listed: str = ""
    """Where the film is listed, such as `images.csv, row 3`: errors name it."""


def patient_key(patient: str) -> str:
    """Return the patient as we count: a person number seen with bacteria and with virus is taken as one child."""
    match = _KERMANY_PERSON.fullmatch(patient)
    return match[1] if match else patient


def assert_disjoint(films: Iterable[Film], file: Path) -> None:
    """Raise `DataError` where one patient stands in two splits; `films` are the rows of `file`, the first in row 2."""
    seen: dict[str, str] = {}
    for row, film in enumerate(films, start=2):
        split = seen.setdefault(film.patient, film.split)
        if split != film.split:
            raise DataError(file, f"patient {film.patient!r} stands in splits {split!r} and {film.split!r}", row)


def without_patients_of(films: Sequence[Film], others: Iterable[Film]) -> list[Film]:
    """Return the `films` whose patient (as `patient_key` counts) has no film among `others`."""
    taken = {patient_key(f.patient) for f in others}
    return [f for f in films if patient_key(f.patient) not in taken]
