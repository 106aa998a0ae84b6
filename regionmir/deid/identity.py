"""Who a copy says that it is of: the pseudonyms that C-FIND answers show too."""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydicom._uid_dict import UID_dictionary

from regionmir.core.identifiers import Uid
from regionmir.core.records import CopyIdentity

STUDY: Final = "study"
SERIES: Final = "series"
INSTANCE: Final = "instance"
OTHER: Final = "other"
"""Kinds of UIDs, as `Pseudonymizer.uid` and table `pseudonym` know them. OTHER: of frames of reference, devices."""

_DAY = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)

UidMap = Callable[[str, Uid], Uid]
"""Returns the pseudonym of a UID of this kind: the same at every call, everywhere."""


@dataclass(frozen=True, slots=True)
class Substitution:
    """What takes the place of everything in an instance that tells who the patient is."""

    identity: CopyIdentity
    uid_of: UidMap

    def uid(self, keyword: str, value: str) -> str:
        """Return what stands for a UID in the attribute `keyword`: itself where DICOM defines it, else a pseudonym."""
        text = value.strip(" \0")
        if not text or text in UID_dictionary:
            return text
        return self.uid_of(_kind(keyword), Uid(text))

    def date(self, text: str) -> str:
        """Return a DA or DT value as a day (YYYYMMDD) moved by the patient's days, empty where it names no day."""
        named = _DAY.match(text.strip(" \0"))
        try:
            day = dt.date(*map(int, named.groups())) + dt.timedelta(self.identity.date_shift_days) if named else None
        except (ValueError, OverflowError):
            return ""
        return "" if day is None else f"{day:%Y%m%d}"


def _kind(keyword: str) -> str:
    if keyword == "StudyInstanceUID":
        return STUDY
    if keyword == "SeriesInstanceUID":
        return SERIES
    return INSTANCE if "SOPInstanceUID" in keyword else OTHER
