"""Films that hold a canary wherever a patient could be named, in all forms in which films come."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from regionmir.deid.profile import all_tags
from tests.support.annotations import report
from tests.support.canaries import Canaries
from tests.support.films import save, synthetic_film

NEEDED: Final = frozenset({"SOPClassUID", "SpecificCharacterSet", "Rows", "Columns", "BitsAllocated"})
"""Of the table or not, an image is none without them."""

NO_IMAGE_GROUPS: Final = (0x0000, 0x0002, 0x0004, 0xFFFC)

IDENTITY: Final = (
    "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "PatientBirthDate", "PatientAge",
    "PatientAddress", "PatientComments", "AccessionNumber", "StudyID", "StudyDescription", "SeriesDescription",
    "ReferringPhysicianName", "OperatorsName", "InstitutionName", "StationName", "DeviceSerialNumber",
    "ImageComments", "ProtocolName", "StudyDate", "SeriesDate", "AcquisitionDateTime", "StudyTime",
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "RequestAttributesSequence",
    "ReferencedStudySequence", "OtherPatientIDsSequence", "SourceImageSequence",
)  # fmt: skip

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Form:
    """How a film comes. `whole`: with a canary in every attribute of Table E.1-1, else in those of `IDENTITY`."""

    kind: str = "DX"
    syntax: str = ExplicitVRLittleEndian
    charset: tuple[str, ...] = ("ISO_IR 192",)
    burned_in: str = "NO"
    whole: bool = False


FORMS: Final = (
    Form(whole=True),
    Form("CR", JPEG2000Lossless, ("", "ISO 2022 IR 87")),
    Form("DX", ImplicitVRLittleEndian, ("", "ISO 2022 IR 149")),
    Form("CR", JPEGBaseline8Bit, ("GB18030",)),
    Form("SC", RLELossless, ("ISO 2022 IR 6", "ISO 2022 IR 87")),
    Form("SC", burned_in="YES"),
)


def canary_films(pixels: Sequence[Pixels], canaries: Canaries) -> list[Dataset]:
    """Return a film of each form with these pixels (H, W), each of a patient of its own."""
    return [_film(number, form, canaries, pixels[number]) for number, form in enumerate(FORMS)]


def report_of(film: Dataset, canaries: Canaries) -> Dataset:
    """Return a structured report in the film's study, full of canaries of its own: it may never leave."""
    made = report(film, (10, 10, 40, 40), SpecificCharacterSet=film.SpecificCharacterSet)
    for keyword in ("SeriesDescription", "InstitutionName", "ContentCreatorName", "VerifyingOrganization"):
        canaries.put(made, keyword, f"report {keyword}")
    return made


def write_all(films: Sequence[Dataset], canaries: Canaries, folder: Path) -> list[Path]:
    """Write the films as files whose names are canaries too."""
    return [save(film, folder / f"{canaries.text(f'file name {n}')}.dcm") for n, film in enumerate(films)]


def plain_film(number: int, pixels: Pixels) -> Dataset:
    """Return a film without canaries, of a patient of its own."""
    film = synthetic_film(1000 + number, bits=8, rows=pixels.shape[0], columns=pixels.shape[1])
    _set_pixels(film, pixels)
    return film


def _film(number: int, form: Form, canaries: Canaries, pixels: Pixels) -> Dataset:
    rows, columns = pixels.shape
    film = synthetic_film(number, kind=form.kind, bits=8, rows=rows, columns=columns)
    film.BurnedInAnnotation = form.burned_in
    film.SpecificCharacterSet = list(form.charset)
    _set_pixels(film, pixels)
    for tag in _tags(form):
        place = f"film {number} {keyword_for_tag(tag) or f'{tag:08X}'}"
        canaries.put(film, tag, place, groups=True)
    canaries.private(film, f"film {number} private")
    for group in (0x6000, 0x6002):
        film.add_new(group << 16 | 0x0022, "LO", canaries.text(f"film {number} overlay {group:04X}"))
        film.add_new(group << 16 | 0x3000, "OW", canaries.text(f"film {number} overlay data {group:04X}").encode())
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.SourceApplicationEntityTitle = canaries.text(f"film {number} source AE")
    film.preamble = (canaries.text(f"film {number} preamble") * 20).encode()[:128]
    _encode(film, form, canaries.text(f"film {number} JPEG comment"), pixels)
    return film


def _tags(form: Form) -> list[int]:
    if not form.whole:
        return [tag for keyword in IDENTITY if (tag := tag_for_keyword(keyword)) is not None]
    return [
        tag for tag in sorted(all_tags()) if tag >> 16 not in NO_IMAGE_GROUPS and keyword_for_tag(tag) not in NEEDED
    ]


def _set_pixels(film: Dataset, pixels: Pixels) -> None:
    data = pixels.tobytes()
    film.PixelData = data + b"\0" * (len(data) % 2)
    film["PixelData"].VR = "OB"


def _encode(film: Any, form: Form, comment: str, pixels: Pixels) -> None:
    if form.syntax == JPEGBaseline8Bit:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95, comment=comment.encode())
        film.PixelData = encapsulate([buffer.getvalue()])
        film["PixelData"].is_undefined_length = True
        film.LossyImageCompression = "01"
        film.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    elif form.syntax in (JPEG2000Lossless, RLELossless):
        film.compress(form.syntax, generate_instance_uid=False)
    else:
        film.file_meta.TransferSyntaxUID = form.syntax
