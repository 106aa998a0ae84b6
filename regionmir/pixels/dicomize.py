"""PNG and JPEG films as DICOM objects that say what they are: secondary captures, derived, with invented identities.

Nothing is claimed that the picture does not tell: no device, no spacing, no age, no acquisition date. A finding that is
known stands in `manifest.csv` beside the objects, never in them, where an index might learn from it.
"""

import csv
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from regionmir import __version__
from regionmir.core.errors import RegionMirError
from regionmir.core.identifiers import Uid, parse_uid

IMAGES_CSV = "images.csv"
MANIFEST_CSV = "manifest.csv"
ISSUER = "REGIONMIR-DEMO"
VIEWED_AS_USUAL = ("L", "F")

_LARGEST_PIXEL_COUNT = 100_000_000
_FIRST_DAY = dt.date(2020, 1, 1)
_DAYS = 1461
_VIEWS = frozenset({"", "PA", "AP"})
_DEEP_MODES = frozenset({"I;16", "I;16L", "I;16B", "I"})


class FilmError(RegionMirError):
    """A film that could not be made into an object; the message names file and row, and the others go on."""


@dataclass(frozen=True, slots=True)
class Film:
    """One row of `images.csv`. `number` and `patient_number` count from 1 over the whole list, before any choice."""

    path: Path
    number: int
    patient_number: int
    row: int
    """Line in the list, the header being line 1; 0 if there is no list."""
    image: str
    patient: str = ""
    source: str = ""
    licence: str = ""
    finding: str = ""
    split: str = ""
    view: str = ""
    size: tuple[int, int] | None = None
    """(width, height) that the list states, if it does."""

    @property
    def where(self) -> str:
        return f"row {self.row}, {self.image}" if self.row else self.image


@dataclass(frozen=True, slots=True)
class WrittenFilm:
    """One line of `manifest.csv`."""

    file: str
    image: str
    sop_instance_uid: Uid
    study_instance_uid: Uid
    accession_number: str
    patient_id: str
    finding: str


@dataclass(frozen=True, slots=True)
class Dicomized:
    """What became of the films: objects written, and one line for each that could not be."""

    written: tuple[WrittenFilm, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Naming:
    """How objects are named and what is stated of all of them. Another `prefix` makes other patients and UIDs."""

    prefix: str = "DEMO"
    patient_orientation: Sequence[str] = field(default=VIEWED_AS_USUAL)
    """Directions of rows and columns; empty where it is not known which side is which."""
    burned_in_annotation: str = ""
    """YES, NO or "" where nobody has looked (PS3.3 C.7.6.1)."""

    def __post_init__(self) -> None:
        if not self.prefix.isalnum() or not self.prefix.isascii() or len(self.prefix) > 8:
            raise FilmError(f"prefix must be 1 to 8 letters and digits, not {self.prefix[:20]!r}")


def read_films(folder: Path) -> list[Film]:
    """Return the films that `folder`/images.csv lists; only its column `image` is required.

    Raises `FilmError` if the list is absent, has no such column, or names a file outside the folder.
    """
    path = folder / IMAGES_CSV
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "image" not in (reader.fieldnames or ()):
                raise FilmError(f"{path}: no column 'image'")
            return list(_films(folder, reader))
    except FileNotFoundError:
        raise FilmError(
            f"{path}: not found; it lists the films, one row each, with at least a column 'image'"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FilmError(f"{path}: {error}") from None


def dicomize_films(
    films: Iterable[Film],
    out_dir: Path,
    *,
    naming: Naming | None = None,
    progress: Callable[[Film], None] = lambda _film: None,
) -> Dicomized:
    """Write one object per film and `manifest.csv` into `out_dir`; a second run gives the same files.

    `progress` is called after each film. A film that cannot be read is reported in `errors`, and the others go on.
    """
    chosen = naming or Naming()
    out_dir.mkdir(parents=True, exist_ok=True)
    written: dict[str, WrittenFilm] = {}
    errors = []
    for film in films:
        try:
            if film.image in written:
                raise FilmError(f"{film.where}: listed twice")
            written[film.image] = _write(film, out_dir, chosen)
        except FilmError as error:
            errors.append(str(error))
        progress(film)
    _write_manifest(out_dir / MANIFEST_CSV, list(written.values()))
    return Dicomized(tuple(written.values()), tuple(errors))


def film_object(film: Film, naming: Naming | None = None) -> Dataset:
    """Return the secondary capture (PS3.3 A.8) made of one film. Raises `FilmError`."""
    chosen = naming or Naming()
    encoded = _read_bytes(film)
    pixels, kind = _pixels(film)
    content = sha256(encoded).hexdigest()
    dataset = Dataset()
    _set_identity(dataset, film, chosen, content)
    _set_derivation(dataset, film, kind, len(encoded), pixels.nbytes)
    dataset.Modality = "DX"  # a digital radiograph; whether by plate or panel is not known
    dataset.BodyPartExamined = "CHEST"
    if film.view:
        dataset.ViewPosition = film.view
    dataset.PatientOrientation = list(chosen.patient_orientation) or None
    if chosen.burned_in_annotation:
        dataset.BurnedInAnnotation = chosen.burned_in_annotation
    _set_pixels(dataset, pixels)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _films(folder: Path, rows: Iterable[dict[str, Any]]) -> Iterator[Film]:
    patients: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        values = {k: (v or "").strip() for k, v in row.items() if k is not None and not isinstance(v, list)}
        image = values.get("image", "")
        if not image:
            raise FilmError(f"{folder / IMAGES_CSV}, row {number + 1}: column 'image' is empty")
        if Path(image).is_absolute() or ".." in Path(image).parts:
            raise FilmError(f"{folder / IMAGES_CSV}, row {number + 1}: {image[:80]!r} is outside the folder")
        person = f"{values.get('source', '')}\x1f{values.get('patient') or image}"
        yield Film(
            path=folder / image,
            number=number,
            patient_number=patients.setdefault(person, len(patients) + 1),
            row=number + 1,
            image=image,
            patient=values.get("patient", ""),
            source=values.get("source", ""),
            licence=values.get("licence", ""),
            finding=values.get("finding", ""),
            split=values.get("split", ""),
            view=_view(folder, number + 1, values.get("view", "")),
            size=_size(folder, number + 1, values.get("width", ""), values.get("height", "")),
        )


def _view(folder: Path, row: int, text: str) -> str:
    if text.upper() not in _VIEWS:
        raise FilmError(f"{folder / IMAGES_CSV}, row {row}: view must be PA, AP or empty, not {text[:20]!r}")
    return text.upper()


def _size(folder: Path, row: int, width: str, height: str) -> tuple[int, int] | None:
    if not width and not height:
        return None
    try:
        return int(width), int(height)
    except ValueError:
        raise FilmError(f"{folder / IMAGES_CSV}, row {row}: width and height must be whole numbers") from None


def _write(film: Film, out_dir: Path, naming: Naming) -> WrittenFilm:
    dataset = film_object(film, naming)
    path = out_dir / f"{dataset.AccessionNumber}.dcm"
    try:
        dataset.save_as(path, enforce_file_format=True)
    except OSError as error:
        raise FilmError(f"{film.where}: cannot write {path}: {error.strerror}") from None
    return WrittenFilm(
        file=path.name,
        image=film.image,
        sop_instance_uid=parse_uid(dataset.SOPInstanceUID),
        study_instance_uid=parse_uid(dataset.StudyInstanceUID),
        accession_number=dataset.AccessionNumber,
        patient_id=dataset.PatientID,
        finding=film.finding,
    )


def _write_manifest(path: Path, written: Sequence[WrittenFilm]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(WrittenFilm.__slots__)
        writer.writerows([getattr(film, name) for name in WrittenFilm.__slots__] for film in written)


def _read_bytes(film: Film) -> bytes:
    try:
        return film.path.read_bytes()
    except OSError as error:
        raise FilmError(f"{film.where}: {error.strerror}") from None


def _pixels(film: Film) -> tuple[npt.NDArray[Any], str]:
    """Return grey values (rows, columns), u1 or u2 as they are, and the format (JPEG or PNG)."""
    try:
        with Image.open(film.path, formats=("JPEG", "PNG")) as picture:
            _check_size(film, picture.size)
            kind, deep = str(picture.format), picture.mode in _DEEP_MODES
            values = np.asarray(picture if deep else picture.convert("L"))
    except FilmError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FilmError(f"{film.where}: no readable PNG or JPEG ({type(error).__name__})") from None
    return values.astype(np.uint16 if deep else np.uint8), kind


def _check_size(film: Film, size: tuple[int, int]) -> None:
    if size[0] * size[1] > _LARGEST_PIXEL_COUNT or max(size) > 65535:
        raise FilmError(f"{film.where}: {size[0]} x {size[1]} pixels are too many")
    if film.size and film.size != size:
        listed = f"{film.size[0]} x {film.size[1]}"
        raise FilmError(f"{film.where}: the picture has {size[0]} x {size[1]} pixels, the list says {listed}")


def _uid(*parts: str) -> Uid:
    """Return a UID of PS3.5 B.2 that depends on `parts` only."""
    digest = sha256("\x1f".join(("regionmir dicomize", *parts)).encode()).digest()
    return parse_uid(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def _set_identity(dataset: Dataset, film: Film, naming: Naming, content: str) -> None:
    person = sha256("\x1f".join((naming.prefix, film.source, film.patient or content)).encode()).hexdigest()
    instance = (naming.prefix, film.source, film.patient, film.image, content)
    day = _FIRST_DAY + dt.timedelta(days=int(content[:8], 16) % _DAYS)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = _uid("instance", *instance)
    dataset.StudyInstanceUID = _uid("study", *instance)
    dataset.SeriesInstanceUID = _uid("series", *instance)
    dataset.PatientName = f"{naming.prefix.capitalize()}^Film {film.patient_number:04d}"
    dataset.PatientID = f"{naming.prefix}-{person[:12].upper()}"
    dataset.IssuerOfPatientID = ISSUER
    dataset.PatientBirthDate = dataset.PatientSex = ""
    if naming.burned_in_annotation == "NO":  # it speaks of the pixels too
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "identity and dates invented by regionmir dicomize"
    dataset.AccessionNumber = f"{naming.prefix}{film.number:04d}"
    dataset.StudyID = str(film.number)
    dataset.StudyDate = day.strftime("%Y%m%d")
    dataset.StudyTime = "120000"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Chest radiograph (demonstration)"
    dataset.SeriesDescription = "Frontal, derived from a picture file"
    dataset.SeriesNumber = dataset.InstanceNumber = 1


def _set_derivation(dataset: Dataset, film: Film, kind: str, encoded_bytes: int, pixel_bytes: int) -> None:
    origin = f" of source '{film.source}'" if film.source else ""
    licence = f", licence: {film.licence}" if film.licence else ""
    depth = "8-bit " if kind == "JPEG" else ""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "WSD"
    dataset.DerivationDescription = (
        f"Made from a picture file ({depth}{kind}){origin}{licence}. The acquisition is not known; grey values are"
        " those of the picture. Patient, dates and numbers are invented."
    )[:1024]
    dataset.SecondaryCaptureDeviceManufacturer = "RegionMIR"
    dataset.SecondaryCaptureDeviceManufacturerModelName = "regionmir dicomize"
    dataset.SecondaryCaptureDeviceSoftwareVersions = __version__
    if kind == "JPEG":
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = f"{pixel_bytes / encoded_bytes:.2f}"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"


def _set_pixels(dataset: Dataset, pixels: npt.NDArray[Any]) -> None:
    bits = pixels.itemsize * 8
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits  # every value, as the picture shows it
    data = pixels.astype(f"<u{pixels.itemsize}").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
