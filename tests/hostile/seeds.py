"""Objects to begin with: made by our own generator, those that pydicom brings along, and real ones where there are."""

import os
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from regionmir.results.report import measurement_report
from tests.support.annotations import key_image, presentation, report
from tests.support.films import synthetic_film
from tests.support.results import source

_BOX = (10.0, 10.0, 40.0, 40.0)
_LARGEST_REAL = 1 << 20
_SYNTAXES = (RLELossless, JPEG2000Lossless, ImplicitVRLittleEndian, ExplicitVRBigEndian)


@cache
def made() -> tuple[bytes, ...]:
    """Return one object of each kind that we read: films in several encodings, annotations, results of our own."""
    film = synthetic_film(1, rows=64, columns=64)
    films = [film, *(synthetic_film(2, kind=kind, rows=48, columns=64) for kind in ("CR", "SC"))]
    films += [synthetic_film(3, rows=64, columns=64, transfer_syntax_uid=syntax) for syntax in _SYNTAXES]
    return tuple(map(written, (*films, *_marks(film))))


@cache
def annotations() -> tuple[bytes, ...]:
    """Return those that mark regions."""
    return tuple(map(written, _marks(synthetic_film(1, rows=64, columns=64))))


def _marks(film: Dataset) -> list[Dataset]:
    return [
        report(film, _BOX),
        presentation(film, _BOX),
        key_image(film),
        measurement_report(source(synthetic_film(5))),
    ]


@cache
def odd() -> tuple[tuple[str, bytes], ...]:
    """Return the files that pydicom brings along for its own tests, many of them faulty on purpose."""
    folder = Path(pydicom.__file__).parent / "data"
    return tuple((path.name, path.read_bytes()) for path in sorted(folder.rglob("*")) if _is_object(path))


@cache
def real() -> tuple[bytes, ...]:
    """Return the shared real objects that are small enough to be mutated often; none where they are absent."""
    shared = os.environ.get("REGIONMIR_SHARED_DIR") or Path(__file__).resolve().parents[3] / "shared"
    folder = Path(shared) / "data" / "dicom"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else []
    return tuple(path.read_bytes() for path in paths if path.stat().st_size <= _LARGEST_REAL)


def all_seeds() -> Iterator[bytes]:
    yield from made()
    yield from (content for _, content in odd() if len(content) <= _LARGEST_REAL and content[128:132] == b"DICM")
    yield from real()


def written(dataset: Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _is_object(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".py", ".pyc", ".json", ".txt", ".md", ".csv", ".xml", ".sh")
