"""The lists of Chest ImaGenome: which film belongs to whom and to which split, and whom to avoid."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.data.errors import DataError
from models.data.tables import table_rows

SPLITS = ("train", "valid", "test")
AVOID = "images_to_avoid.csv"
_COLUMNS = ("subject_id", "study_id", "dicom_id")


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of a list."""

    file: Path
    row: int
    subject: str
    study: str
    dicom: str

    @property
    def where(self) -> str:
        return f"{self.file.name}, row {self.row}"


def listed_films(file: Path) -> Iterator[Listed]:
    """Yield the rows of a list. Raises `DataError`, also for an identifier that is not of its form."""
    for row, line in table_rows(file, _COLUMNS):
        subject, study, dicom = (line[column].strip() for column in _COLUMNS)
        if not (subject.isdecimal() and study.isdecimal() and dicom.replace("-", "").isalnum()):
            raise DataError(file, "subject_id and study_id must be numbers, dicom_id letters, digits and -", row)
        yield Listed(file, row, subject, study, dicom)


def present_splits(folder: Path) -> tuple[str, ...]:
    """Return the splits that have a list in `folder`. Raises `DataError` where none has."""
    found = tuple(split for split in SPLITS if (folder / f"{split}.csv").is_file())
    if not found:
        raise DataError(folder, f"has none of {', '.join(f'{s}.csv' for s in SPLITS)}")
    return found


def patients_to_avoid(folder: Path) -> frozenset[str]:
    """Return the patients of the gold data set, never to be trained on. Raises `DataError` where the list is absent."""
    return frozenset(one.subject for one in listed_films(folder / AVOID))


def split_sizes(folder: Path, avoid: frozenset[str]) -> dict[str, int]:
    """Return how many films each split lists. Raises `DataError` where a patient stands in two splits."""
    sizes, seen = {}, dict[str, str]()
    for split in present_splits(folder):
        sizes[split] = 0
        for one in listed_films(folder / f"{split}.csv"):
            sizes[split] += 1
            first = seen.setdefault(one.subject, split)
            if first != split and one.subject not in avoid:
                message = f"patient {one.subject!r} stands in splits {first!r} and {split!r}"
                raise DataError(one.file, message, one.row)
    return sizes
