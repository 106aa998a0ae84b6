"""A stored object as it leaves when whose it is was corrected: the patient's values, and what they were before."""

import datetime as dt
from collections.abc import Collection
from copy import deepcopy
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from regionmir.core.records import PatientValues
from regionmir.deid.copies import in_accepted_syntax
from regionmir.pixels.decode import read_dataset
from regionmir.pixels.quiet import broken_as

_KEYWORDS: Final = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
_UTF_8: Final = "ISO_IR 192"


def corrected(path: Path, values: PatientValues, system: str) -> FileDataset:
    """Return the instance at `path` with a patient's values, in the transfer syntax that it has; pixels are untouched.

    `system` is our AE title. Raises `BrokenImage` where the object cannot be read.
    """
    with broken_as("attributes unreadable"):
        dataset = dcmread(path)
        before = correct(dataset, values)
        if before is not None:
            _note(dataset, before, system)
        return dataset


def corrected_for(path: Path, values: PatientValues, system: str, syntax: UID, accepted: Collection[str]) -> Dataset:
    """Return the same in a transfer syntax that a receiver takes. Raises as `in_accepted_syntax` does, too."""
    return in_accepted_syntax(corrected(path, values, system), syntax, accepted)


def film_attributes(path: Path, values: PatientValues | None, max_pixels: int) -> Dataset:
    """Return the film at `path`, with a patient's values where there are some. Raises as `read_dataset` does."""
    dataset = read_dataset(path, max_pixels=max_pixels)
    if values is not None:
        with broken_as("attributes unreadable"):
            correct(dataset, values)
    return dataset


def correct(dataset: Dataset, values: PatientValues) -> Dataset | None:
    """Put a patient's values into a data set and return what they replaced, None where it had them."""
    wanted = {
        "PatientName": values.name,
        "PatientID": values.patient_id,
        "IssuerOfPatientID": values.issuer,
        "PatientBirthDate": f"{values.birth_date:%Y%m%d}" if values.birth_date else "",
        "PatientSex": values.sex,
    }
    changed = {key: value for key, value in wanted.items() if str(dataset.get(key) or "") != value}
    if not changed:
        return None
    before = Dataset()
    for keyword in changed:
        if keyword in dataset:
            before[keyword] = deepcopy(dataset[keyword])
    _make_writable(dataset, changed.values())
    for keyword, value in changed.items():
        if value or keyword != "IssuerOfPatientID":
            setattr(dataset, keyword, value)
        else:
            del dataset[keyword]
    return before


def _make_writable(dataset: Dataset, values: Collection[str]) -> None:
    """Turn all text into UTF-8 where the character set of the data set does not hold the new values."""
    declared = dataset.get("SpecificCharacterSet")
    codecs = convert_encodings(declared) if declared else []
    codec = codecs[0] if len(codecs) == 1 else "ascii"  # with code extensions: what is the same in all of them
    try:
        for value in values:
            value.encode(codec)
    except UnicodeEncodeError:
        dataset.decode()
        dataset.SpecificCharacterSet = _UTF_8


def _note(dataset: Dataset, before: Dataset, system: str) -> None:
    """Add what was replaced to Original Attributes (PS3.3 C.12.1)."""
    item = Dataset()
    item.AttributeModificationDateTime = dt.datetime.now(dt.UTC).strftime("%Y%m%d%H%M%S+0000")
    item.ModifyingSystem = system
    item.SourceOfPreviousValues = ""
    item.ReasonForTheAttributeModification = "CORRECT"
    item.ModifiedAttributesSequence = Sequence([before])
    dataset.OriginalAttributesSequence = Sequence([*(dataset.get("OriginalAttributesSequence") or []), item])
