"""From a header's attributes to the values of columns: pure functions, no database.

Whatever a sender writes must fit: a NUL, a lone surrogate, an endless PatientID or a date that is none never fails an
insert. What does not parse becomes null or stays as text.
"""

import datetime as dt
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from regionmir.core.records import InstanceHeader

MAX_TEXT = 1024
MAX_KEY = 128
"""Longer values would not fit an index entry."""

MAX_INT = 2**31 - 1


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


PATIENT_TAGS = _tags(
    "00100010 00100020 00100021 00100024 00100026 00100030 00100032 00100040 00101000 00101001 00101002 00102160 "
    "001021B0 00104000 00102201 00102202 00102292 00120062 00120063"
)
"""Patient module (PS3.3 C.7.1.1), without what belongs to the patient at the time of a study."""

STUDY_TAGS = _tags(
    "00080005 00080020 00080030 00080050 00080051 00080090 00080096 00081030 00081032 00081048 00081060 00081080 "
    "0020000D 00200010 00101010 00101020 00101030 00102180 001021C0 00321060 00321032"
)
"""General Study and Patient Study modules (PS3.3 C.7.2.1, C.7.2.2)."""

SERIES_TAGS = _tags(
    "00080021 00080031 00080060 00080068 00080070 00080080 00081010 0008103E 0008103F 00081040 00081050 00081070 "
    "00081090 00081111 00180015 00181030 00185100 0020000E 00200011 00200060 00400244 00400245 00400253 00400254 "
    "00400275"
)
"""General Series and General Equipment modules (PS3.3 C.7.3.1, C.7.5.1)."""

Attributes = Mapping[str, Any]
Value = TypeVar("Value")

_AS_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_SURROGATE_OR_NUL = re.compile("[\ud800-\udfff\0]")
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_YEARS_PER_UNIT = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """What makes two patients the same one: PatientID and issuer, or the study where PatientID is empty."""

    patient_id: str
    issuer: str
    anonymous_key: str

    @property
    def key(self) -> str:
        """`patient.key` (the table computes the same): what the pseudonym is made of."""
        return "\x1f".join((self.patient_id, self.issuer, self.anonymous_key))

    def accepts(self, other: "PatientIdentity") -> bool:
        """True if `other`, read from a new instance, is this patient: a missing issuer does not make another one."""
        if self == other:
            return True
        same_id = self.patient_id == other.patient_id and self.patient_id != ""
        return same_id and "" in (self.issuer, other.issuer)


def identity(header: InstanceHeader) -> PatientIdentity:
    """Return whose instance this is."""
    patient_id = bounded(clean(header.patient_id).strip(" "))
    if patient_id == "":
        return PatientIdentity("", "", header.study_instance_uid)
    return PatientIdentity(patient_id, bounded(clean(header.issuer_of_patient_id).strip(" ")), "")


def patient_values(attributes: Attributes) -> dict[str, Any]:
    """Return the columns of `patient` that an instance carries (without its identity)."""
    return {
        "name": person_name(attributes, "00100010"),
        "birth_date": date(attributes, "00100030"),
        "sex": word(attributes, "00100040"),
        "attributes": subset(attributes, PATIENT_TAGS),
    }


def study_values(attributes: Attributes) -> dict[str, Any]:
    """Return the columns of `study` that an instance carries."""
    return {
        "study_date": date(attributes, "00080020"),
        "study_time": text(attributes, "00080030"),
        "accession_number": bounded(text(attributes, "00080050")),
        "study_id": text(attributes, "00200010"),
        "study_description": text(attributes, "00081030"),
        "referring_physician": person_name(attributes, "00080090"),
        "attributes": subset(attributes, STUDY_TAGS),
    }


def series_values(attributes: Attributes) -> dict[str, Any]:
    """Return the columns of `series` that an instance carries."""
    return {
        "modality": word(attributes, "00080060"),
        "series_number": integer(attributes, "00200011", limit=10**12),
        "series_description": text(attributes, "0008103E"),
        "body_part": word(attributes, "00180015"),
        "attributes": subset(attributes, SERIES_TAGS),
    }


def instance_values(attributes: Attributes) -> dict[str, Any]:
    """Return the columns of `instance` that an instance carries itself."""
    return {
        "instance_number": integer(attributes, "00200013", limit=10**12),
        "view": word(attributes, "00185101"),
        "age_years": age_years(attributes),
        "rows": integer(attributes, "00280010"),
        "columns": integer(attributes, "00280011"),
        "attributes": clean(dict(attributes)),
    }


def text(attributes: Attributes, tag: str) -> str:
    """Return the value of a text attribute: values joined by a backslash, "" where absent, at most 1,024 characters."""
    return clean("\\".join(str(v) for v in _values(attributes, tag) if v is not None))[:MAX_TEXT].strip(" ")


def word(attributes: Attributes, tag: str) -> str:
    """Return the first value of a code string in capitals, at most 16 characters (PS3.5 6.2, CS)."""
    return text(attributes, tag).split("\\")[0].strip().upper()[:16]


def person_name(attributes: Attributes, tag: str) -> str:
    """Return a person's name with its component groups joined by `=` (PS3.5 6.2.1.1)."""
    names = []
    for value in _values(attributes, tag):
        groups = (
            [str(value.get(group) or "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
            if isinstance(value, dict)
            else [str(value or "")]
        )
        names.append("=".join(groups).rstrip("="))
    return clean("\\".join(names))[:MAX_TEXT].strip(" ")


def date(attributes: Attributes, tag: str) -> dt.date | None:
    """Return a date (DA; also the old form with dots), None where it is none."""
    digits = text(attributes, tag).replace(".", "")
    if not re.fullmatch(r"[0-9]{8}", digits):
        return None
    try:
        return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def integer(attributes: Attributes, tag: str, *, limit: int = MAX_INT) -> int | None:
    """Return the first value as a number between -`limit` and `limit`, else None."""
    try:
        number = int(float(text(attributes, tag).split("\\")[0]))
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= limit else None


def age_years(attributes: Attributes) -> float | None:
    """Return the patient's age: PatientAge (AS), else from birth to study; None where neither tells or it is absurd."""
    stated = _AGE.fullmatch(word(attributes, "00101010"))
    if stated:
        age = int(stated[1]) * _YEARS_PER_UNIT[stated[2]]
    else:
        birth, study = date(attributes, "00100030"), date(attributes, "00080020")
        if birth is None or study is None:
            return None
        age = (study - birth).days / 365.25
    return round(age, 3) if 0 <= age <= 150 else None


def subset(attributes: Attributes, tags: frozenset[str]) -> dict[str, Any]:
    """Return the attributes with these tags, fit for jsonb."""
    found: dict[str, Any] = clean({tag: value for tag, value in attributes.items() if tag in tags})
    return found


def bounded(value: str) -> str:
    """Return `value`, or, where it is too long for an index, its beginning and a digest: different stays different."""
    if len(value) <= MAX_KEY:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{value[: MAX_KEY - 33]}~{digest[:32]}"


def clean(value: Value) -> Value:
    """Return `value` (anything made of JSON) without what PostgreSQL cannot hold: NUL, lone surrogates, NaN."""
    return value if isinstance(value, dict) and _fits(value) else _clean(value)


def _fits(value: Any) -> bool:
    """Return whether all of a value made of JSON can stay as it is: to write it is faster than to look at each part."""
    try:
        written = _AS_JSON(value).encode()
    except ValueError:  # NaN, a lone surrogate
        return False
    return b"\\u0000" not in written


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE_OR_NUL.sub(lambda m: "" if m[0] == "\0" else "\ufffd", value)
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _values(attributes: Attributes, tag: str) -> list[Any]:
    element = attributes.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
