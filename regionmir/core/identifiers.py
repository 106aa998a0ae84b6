"""Checked identifiers: a value of these types has been parsed once and is trusted inside."""

import re
from typing import NewType

from regionmir.core.errors import InvalidAETitle, InvalidUid

Uid = NewType("Uid", str)
"""A DICOM unique identifier: digits and dots, at most 64 characters (PS3.5 9.1)."""

AETitle = NewType("AETitle", str)
"""An application entity title: 1 to 16 characters, no backslash or control character (PS3.5 6.2)."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


def parse_uid(text: str) -> Uid:
    """Return `text` as a `Uid`.

    Leading zeros in a component are tolerated, as archives are full of them. Raises `InvalidUid`.
    """
    if len(text) > 64 or not _UID.fullmatch(text):  # fullmatch: "1.2\n" is no UID
        raise InvalidUid(f"not a DICOM UID: {text[:80]!r}")
    return Uid(text)


def parse_ae_title(text: str) -> AETitle:
    """Return `text`, without the padding spaces of the wire, as an `AETitle`. Raises `InvalidAETitle`."""
    title = text.strip(" ")
    if not title or not _AE_TITLE.fullmatch(title):
        raise InvalidAETitle(f"not an AE title (1 to 16 printable ASCII characters): {text[:40]!r}")
    return AETitle(title)
