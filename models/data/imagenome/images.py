"""Where the film of a study lies in a copy of MIMIC-CXR-JPG or MIMIC-CXR."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.data.errors import DataError

_NAMES = ("mimic-cxr-jpg", "mimic-cxr")
_LEVELS_UP = 4


@dataclass(frozen=True, slots=True)
class MimicImages:
    """Films below `root`/files, named as in `files/p10/p10000032/s50414267/<dicom_id>.jpg` (or `.dcm`)."""

    root: Path

    def path(self, subject: str, study: str, dicom: str) -> Path | None:
        """Return the file of a film, JPEG before DICOM; None where neither is there."""
        folder = self.root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"
        return next((p for p in (folder / f"{dicom}.jpg", folder / f"{dicom}.dcm") if p.is_file()), None)


def find_images(dataset: Path, told: Path | None = None) -> MimicImages:
    """Return the films of MIMIC-CXR(-JPG): in `told`, else in `dataset`/files, else in a copy in or beside a parent.

    Raises `DataError` that says where it looked for them.
    """
    candidates = [told] if told is not None else list(_candidates(dataset.absolute()))
    for root in candidates:
        if any((root / "files").glob("p1[0-9]")):
            return MimicImages(root)
    looked = told / "files" if told is not None else f"{dataset}/files and in mimic-cxr-jpg or mimic-cxr beside it"
    raise DataError(dataset, f"has no films: none below {looked}; make a link `files` to those of MIMIC-CXR-JPG")


def _candidates(dataset: Path) -> Iterator[Path]:
    for base in (dataset, *dataset.parents[:_LEVELS_UP]):
        yield base
        for name in _NAMES:
            yield base / name
            yield from sorted((base / name).glob("*"), reverse=True)  # the newest version first
