"""The Identifier of a C-GET or C-MOVE: its level, and the unique keys that say what is wanted (PS3.4 C.4.2.1.4)."""

from typing import Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from db.retrieve import Key, Wanted
from regionmir.core.errors import InvalidIdentifier
from regionmir.core.identifiers import parse_uid

_PATIENT_ROOT: Final = frozenset({"1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.1.3"})
"""Patient Root Query/Retrieve Information Model - MOVE and GET."""

_LEVELS: Final[dict[str, tuple[Key, ...]]] = {
    "PATIENT": ("PatientID",),
    "STUDY": ("PatientID", "StudyInstanceUID"),
    "SERIES": ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    "IMAGE": ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
"""Unique keys of each level and of those above it (PS3.4 C.6.1.1); the last one may be a list of UIDs."""

MAX_VALUES: Final = 10_000
"""UIDs in one list; more is no honest request."""


def read_wanted(identifier: Dataset, model_uid: str) -> Wanted:
    """Return what an Identifier of this information model asks for.

    Every unique key from the root down to the level must be there, with one value except at the level itself. At
    Study Root a PatientID beside them is no key, but clients that repeat it mean it: it must match too. All other
    attributes are ignored. Raises `InvalidIdentifier` with what is wrong.
    """
    level = _level(identifier)
    patient_root = model_uid in _PATIENT_ROOT
    if level not in _LEVELS or (level == "PATIENT" and not patient_root):
        raise InvalidIdentifier(f"QueryRetrieveLevel {level[:16]!r} is not of this model")
    keys: dict[Key, list[str]] = {}
    for key in _LEVELS[level]:
        values = _values(identifier, key)
        if not values and key == "PatientID" and not patient_root:
            continue
        if not values:
            raise InvalidIdentifier(f"{key} is needed at level {level}")
        if len(values) > 1 and (key != _LEVELS[level][-1] or key == "PatientID"):
            raise InvalidIdentifier(f"{key} must be one value at level {level}")
        keys[key] = values
    issuers = _values(identifier, "IssuerOfPatientID")
    if issuers and "PatientID" in keys:
        keys["IssuerOfPatientID"] = issuers[:1]
    return Wanted(keys)


def _level(identifier: Dataset) -> str:
    try:
        return str(identifier.get("QueryRetrieveLevel") or "").strip()
    except Exception:  # pydicom raises many kinds while it converts a broken value
        raise InvalidIdentifier("QueryRetrieveLevel cannot be read") from None


def _values(identifier: Dataset, key: Key) -> list[str]:
    try:
        value = identifier.get(key)
        values = list(value) if isinstance(value, MultiValue | list) else [value]
        texts = [str(one).strip(" \0") for one in values if one is not None and str(one).strip(" \0")]
    except Exception:  # pydicom raises many kinds while it converts a broken value, or an item of a sequence
        raise InvalidIdentifier(f"{key} cannot be read") from None
    if len(texts) > MAX_VALUES:
        raise InvalidIdentifier(f"{key} has more than {MAX_VALUES} values")
    return [_checked(key, text) for text in texts]


def _checked(key: Key, text: str) -> str:
    if not key.endswith("UID"):
        return text.replace("\0", "")
    try:
        return parse_uid(text)
    except InvalidIdentifier:
        raise InvalidIdentifier(f"{key} is no UID; wildcards are not allowed here") from None
