"""The last net before a log line is written: what looks like a patient is taken out of it.

Nothing of a patient is passed to a logger on purpose; this is for what libraries and exceptions bring along. It knows
names in their DICOM form, elements of patients as tools print them, rows that PostgreSQL quotes, and keys by name.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from structlog.typing import EventDict, WrappedLogger

MASK: Final = "[removed]"

_KEYS: Final = frozenset(
    {
        "accession_number",
        "accessionnumber",
        "birth_date",
        "other_patient_ids",
        "patient",
        "patient_birth_date",
        "patient_id",
        "patient_name",
        "patientbirthdate",
        "patientid",
        "patientname",
        "person_name",
        "referring_physician",
    }
)

_PERSON: Final = re.compile(
    r"(?:[^\W\d_a-z][\w'’.-]* ){0,2}[^\W\d_][\w'’.-]*\^+[^\W\d_][\w'’.-]*(?:[ ^=]+[^\W\d_a-z][\w'’.-]*)*"
)
"""`Family^Given`, in any script (PS3.5 6.2.1)."""

_ELEMENT: Final = re.compile(
    r"(\((?:0010, ?[0-9A-Fa-f]{4}|0008, ?(?:0050|0080|0081|0090|1048|1050|1060|1070))\)[^\n:\[]{0,60})(:|\[)[^\n]*"
)
"""(0010,0010) Patient's Name PN: 'x', and (0010,0010) PN [x]."""

_ROW: Final = re.compile(r"(DETAIL:|Failing row contains|Key \([^)]*\)=|CONTEXT: +COPY|\[parameters: )[^\n]*")
"""What PostgreSQL and its drivers quote of a row."""


def scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return the event without what looks like a patient's: a processor of structlog, the last before the renderer."""
    for key, value in event.items():
        event[key] = MASK if key.lower() in _KEYS and value else scrubbed(value)
    return event


def scrubbed(value: Any) -> Any:
    """Return a value with every text in it cleaned; numbers and other kinds as they are."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, Mapping):
        return {k: MASK if str(k).lower() in _KEYS and v else scrubbed(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [scrubbed(one) for one in value]
    if isinstance(value, BaseException):
        return _clean(repr(value))
    return value


def _clean(text: str) -> str:
    if "^" in text:
        text = _PERSON.sub(MASK, text)
    if "(0010" in text or "(0008" in text:
        text = _ELEMENT.sub(rf"\1\2 {MASK}", text)
    if ":" in text or "=" in text:
        text = _ROW.sub(rf"\1 {MASK}", text)
    return text
