"""Synthetic chest-like radiographs as DICOM objects: drawn from a seed, with invented identities."""

import datetime as dt
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

DX_FOR_PRESENTATION = UID("1.2.840.10008.5.1.4.1.1.1.1")
SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7")

_SOP_CLASSES = {"DX": DX_FOR_PRESENTATION, "CR": ComputedRadiographyImageStorage, "SC": SECONDARY_CAPTURE}
_FIRST_DAY = dt.date(2020, 1, 1)


def synthetic_uid(*parts: object) -> UID:
    """Return a UID (PS3.5 B.2) that depends on `parts` only."""
    digest = sha256("\x1f".join(map(str, ("regionmir-tests", *parts))).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def chest_values(seed: int, rows: int = 256, columns: int = 256) -> npt.NDArray[np.float32]:
    """Return display values (rows, columns), 0..1, of a drawn frontal chest: the heart lies on the image's right."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    y, x = y / rows, x / columns

    def ellipse(cx: float, cy: float, rx: float, ry: float, softness: float) -> npt.NDArray[np.float32]:
        distance = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
        return np.asarray(np.clip((1 - distance) / softness + 0.5, 0, 1), np.float32)

    jitter = random.uniform(-0.02, 0.02, 12)
    body = ellipse(0.5, 0.62, 0.49, 0.66, 0.04)
    right = ellipse(0.30 + jitter[0], 0.47 + jitter[1], 0.16 + jitter[2], 0.33 + jitter[3], 0.08)
    left = ellipse(0.70 + jitter[4], 0.47 + jitter[5], 0.15 + jitter[6], 0.33 + jitter[7], 0.08)
    heart = ellipse(0.57 + jitter[8], 0.62 + jitter[9], 0.15 + jitter[10], 0.15 + jitter[11], 0.12)
    spine = np.exp(-(((x - 0.5) / 0.045) ** 2)).astype(np.float32)
    clavicles = np.exp(-(((y - 0.17 - 0.25 * np.abs(x - 0.5)) / 0.015) ** 2)).astype(np.float32)
    ribs = np.sin((y - 0.7 * (x - 0.5) ** 2) * 50 + random.uniform(0, 6)).astype(np.float32)

    lungs = np.maximum(right, left) * (1 - 0.9 * heart)
    values = 0.62 * body - 0.45 * lungs + 0.04 * ribs * body + 0.22 * spine * body + 0.14 * clavicles * body
    values += 0.2 * heart * body + random.normal(0, 0.012, (rows, columns)).astype(np.float32)
    return np.asarray(np.clip(values, 0, 1), np.float32)


def synthetic_film(
    seed: int,
    *,
    kind: str = "DX",
    rows: int = 256,
    columns: int = 256,
    bits: int = 12,
    patient: int | None = None,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    **attributes: Any,
) -> Dataset:
    """Return a frontal chest radiograph (`kind` DX, CR or SC) drawn from `seed`, ready to be sent or saved.

    Two seeds are two studies; `patient` (default: the seed) puts several under one invented patient. `attributes` are
    DICOM keywords that replace the defaults; None removes one. Compressed syntaxes: RLE, JPEG 2000 (lossless).
    """
    person = seed if patient is None else patient
    values = chest_values(seed, rows, columns)
    stored = np.round(values * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    film = Dataset()
    film.SpecificCharacterSet = "ISO_IR 192"
    film.ImageType = ["DERIVED", "SECONDARY"]
    film.SOPClassUID = _SOP_CLASSES[kind]
    film.SOPInstanceUID = synthetic_uid("instance", seed)
    day = (_FIRST_DAY + dt.timedelta(days=seed % 1000)).strftime("%Y%m%d")
    film.StudyDate = film.SeriesDate = film.ContentDate = day
    film.StudyTime = film.SeriesTime = film.ContentTime = f"{8 + seed % 10:02d}{seed % 60:02d}00"
    film.AccessionNumber = f"SYN{seed:06d}"
    film.Modality = "DX" if kind == "SC" else kind
    if kind == "SC":
        film.ConversionType = "SYN"
    film.Manufacturer = "RegionMIR tests"
    film.ReferringPhysicianName = "Invented^Referrer"
    film.StudyDescription = "Thorax synthetic"
    film.SeriesDescription = "Frontal"
    film.PatientName = f"Synthetic^Patient {person:04d}"
    film.PatientID = f"SYN-{person:04d}"
    film.PatientBirthDate = f"{1940 + person % 60}0615"
    film.PatientSex = "FM"[person % 2]
    film.PatientAge = f"{80 - person % 60:03d}Y"
    film.BodyPartExamined = "CHEST"
    film.ViewPosition = "PA" if seed % 3 else "AP"
    film.StudyInstanceUID = synthetic_uid("study", seed)
    film.SeriesInstanceUID = synthetic_uid("series", seed)
    film.StudyID = str(seed)
    film.SeriesNumber = 1
    film.InstanceNumber = 1
    film.PatientOrientation = ["L", "F"]
    film.BurnedInAnnotation = "NO"
    film.LossyImageCompression = "00"
    film.SamplesPerPixel = 1
    film.PhotometricInterpretation = "MONOCHROME2"
    film.Rows, film.Columns = rows, columns
    film.BitsAllocated = 8 if bits <= 8 else 16
    film.BitsStored, film.HighBit, film.PixelRepresentation = bits, bits - 1, 0
    film.WindowCenter, film.WindowWidth = str(2 ** (bits - 1)), str(2**bits)
    film.PresentationLUTShape = "IDENTITY"
    _set_pixels(film, stored, UID(transfer_syntax_uid))
    for keyword, value in attributes.items():
        if value is None:
            film.pop(keyword, None)
        else:
            setattr(film, keyword, value)
    film.file_meta.MediaStorageSOPClassUID = film.get("SOPClassUID", "")
    film.file_meta.MediaStorageSOPInstanceUID = film.get("SOPInstanceUID", "")
    return film


def write_film(path: Path, seed: int, **options: Any) -> Path:
    """Write `synthetic_film(seed, **options)` as a Part 10 file, making its folder, and return `path`."""
    return save(synthetic_film(seed, **options), path)


def write_films(folder: Path, count: int, *, first_seed: int = 0, **options: Any) -> list[Path]:
    """Write `count` films of as many patients into `folder` and return their paths."""
    return [
        write_film(folder / f"film{seed:05d}.dcm", seed, **options) for seed in range(first_seed, first_seed + count)
    ]


def save(film: Dataset, path: Path) -> Path:
    """Write any data set that has a file meta group as a Part 10 file and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save_as(path, enforce_file_format="SOPInstanceUID" in film and "SOPClassUID" in film)
    return path


def _set_pixels(film: Dataset, stored: npt.NDArray[Any], transfer_syntax: UID) -> None:
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = stored.tobytes()
    film.PixelData = data + b"\0" * (len(data) % 2)
    film["PixelData"].VR = "OB" if film.BitsAllocated == 8 else "OW"
    if transfer_syntax.is_compressed and not transfer_syntax.is_deflated:
        film.compress(transfer_syntax, generate_instance_uid=False)
        return
    film.file_meta.TransferSyntaxUID = transfer_syntax
    if not transfer_syntax.is_little_endian and film.BitsAllocated == 16:
        film.PixelData = stored.byteswap().tobytes()
