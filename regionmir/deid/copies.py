"""The pseudonymous copy of an instance: which may be made, and how."""

from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from regionmir import sandbox
from regionmir.core.errors import RegionMirError, UnsupportedImage
from regionmir.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from regionmir.deid.attributes import deidentified
from regionmir.deid.identity import Substitution
from regionmir.deid.pixel_data import clean_pixel_data
from regionmir.pixels.eligibility import CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING, SECONDARY_CAPTURES
from regionmir.pixels.guarded import is_packed, part10, transcoded, written
from regionmir.pixels.quiet import broken_as, quiet_pydicom
from regionmir.pixels.transcode import best_target, transcode
from regionmir.sandbox import Answer

_RADIOGRAPHS: Final = frozenset({CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING})


class NoCopy(RegionMirError):
    """No pseudonymous copy is made of this instance: what it shows might tell who the patient is."""


def may_be_copied(sop_class_uid: str, burned_in_annotation: str) -> bool:
    """Return whether an instance may leave as a pseudonymous copy.

    These are CR and DX that do not say that text is burned in, and secondary captures that say that none is.
    """
    burned_in = burned_in_annotation.strip(" \0").upper()
    if sop_class_uid in _RADIOGRAPHS:
        return burned_in in ("", "NO")
    return sop_class_uid in SECONDARY_CAPTURES and burned_in == "NO"


def pseudonymous_copy(path: Path, substitution: Substitution, source_ae: str) -> FileDataset:
    """Return the de-identified copy of the Part 10 instance at `path`; `source_ae` is our AE title.

    Its transfer syntax is the stored one if that is encapsulated (see `clean_pixel_data`), else Explicit VR Little
    Endian. Raises `NoCopy`, `UnsupportedImage` or `BrokenImage`; no message holds anything of the instance.
    """
    with broken_as("attributes unreadable"):
        return _copied(_prepared(path, with_pixels=True), substitution, source_ae)


def pseudonymous_attributes(path: Path, substitution: Substitution) -> Dataset:
    """Return the attributes of the de-identified copy of the instance at `path`, without its pixels.

    Raises `NoCopy` where no copy may be made, and `BrokenImage`.
    """
    with broken_as("attributes unreadable"):
        return deidentified(_prepared(path, with_pixels=False), substitution)


def in_accepted_syntax(copy: FileDataset, stored: UID, accepted: Collection[str]) -> Dataset:
    """Return the copy in a transfer syntax that the receiver takes: the one it has, the stored one, else the best.

    Raises `UnsupportedImage` or `BrokenImage` where it can be converted to none of them.
    """
    has = copy.file_meta.TransferSyntaxUID
    if has in accepted and (has == stored or stored not in accepted or stored.is_encapsulated):
        return copy
    target = stored if stored in accepted and not stored.is_encapsulated else best_target(accepted)
    if target is None:
        raise UnsupportedImage("transfer syntax", "none is accepted that we can convert to")
    return transcoded(encoded(copy).getvalue(), target)


def encoded(copy: FileDataset) -> BytesIO:
    """Return the copy as a Part 10 file in memory."""
    with quiet_pydicom():
        file = BytesIO()
        copy.save_as(file, enforce_file_format=True)
    file.seek(0)
    return file


def _prepared(path: Path, *, with_pixels: bool) -> FileDataset:
    """Return an instance that may leave, with nothing in its pixel data beside the samples, or without those.

    What is compressed or deflated is read in the sandbox.
    """
    if not is_packed(path):
        return _cleaned(path, with_pixels)
    answer = sandbox.shared().call(_cleaned_object, path=str(path), with_pixels=with_pixels)
    if answer.values["withheld"]:
        raise _no_copy()
    return part10(answer)


def _cleaned_object(path: str, with_pixels: bool) -> Answer:
    try:
        found = written(_cleaned(Path(path), with_pixels))
    except NoCopy:
        return Answer({"withheld": True})
    return Answer({"withheld": False}, found.content)


def _cleaned(path: Path, with_pixels: bool) -> FileDataset:
    with quiet_pydicom():
        dataset = _read(path)
        _check_may_leave(dataset)
        if with_pixels:
            clean_pixel_data(dataset)
        else:
            dataset.pop("PixelData", None)
        return dataset


def _read(path: Path) -> FileDataset:
    dataset = dcmread(path)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated or syntax == ExplicitVRLittleEndian:
        return dataset
    return transcode(path, ExplicitVRLittleEndian)


def _copied(dataset: FileDataset, substitution: Substitution, source_ae: str) -> FileDataset:
    made = deidentified(dataset, substitution)
    made["PixelData"] = dataset["PixelData"]
    copy = FileDataset("", made, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True)
    copy.file_meta = _meta(made, dataset.file_meta.TransferSyntaxUID, source_ae)
    return copy


def _check_may_leave(dataset: Dataset) -> None:
    burned_in = dataset.get("BurnedInAnnotation")
    if not may_be_copied(str(dataset.SOPClassUID), "" if burned_in is None else str(burned_in)):
        raise _no_copy()


def _no_copy() -> NoCopy:
    return NoCopy("only CR, DX and SC without burned-in annotation leave as pseudonymous copies")


def _meta(made: Dataset, syntax: UID, source_ae: str) -> FileMetaDataset:
    """Return a meta group that names the copy and us, and nothing of the original (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = source_ae
    return meta
