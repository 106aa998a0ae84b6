"""What a C-FIND request says beside its keys: information model, called AE title, what was negotiated."""

from typing import Any, Final, cast

from pydicom.uid import UID
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from regionmir.core.errors import RegionMirError
from regionmir.query.keys import InvalidKey, Keys, read_keys
from regionmir.query.matching import Root

ROOTS: Final = {
    PatientRootQueryRetrieveInformationModelFind: Root.PATIENT,
    StudyRootQueryRetrieveInformationModelFind: Root.STUDY,
}

_COMBINED_DATE_TIME: Final = 1
"""Index of the second byte of the application information: combined date-time matching (PS3.4 C.5.1.1)."""


def read_identifier(event: Event) -> Keys:
    """Return the keys of a C-FIND request. Raises `InvalidIdentifier` where it cannot be read."""
    try:
        return read_keys(event.identifier)
    except RegionMirError:
        raise
    except Exception:  # whatever pydicom raises on broken bytes; nothing of it is shown, it may quote a value
        raise InvalidKey("the Identifier cannot be decoded") from None


def read_root(event: Event) -> Root:
    """Return the information model that the request asks by. Raises `InvalidKey`."""
    root = ROOTS.get(UID(str(event.request.AffectedSOPClassUID)))
    if root is None:
        raise InvalidKey("this information model is not served")
    return root


def called_ae(event: Event) -> str:
    """Return the AE title that the association called, without padding."""
    return str(cast(A_ASSOCIATE, event.assoc.requestor.primitive).called_ae_title).strip()


def accept_extended(event: Event) -> dict[UID, bytes]:
    """Answer extended negotiation (EVT_SOP_EXTENDED, PS3.4 C.5.1.1): combined date-time matching is done, nothing else.

    Relational queries, fuzzy matching of names, time zones and enhanced conversion are declined.
    """
    offered: dict[UID, bytes] = cast(Any, event).app_info
    return {uid: _accepted(asked) for uid, asked in offered.items() if uid in ROOTS}


def is_combined(event: Event) -> bool:
    """Return whether StudyDate and StudyTime are to be matched as one instant."""
    asked = event.assoc.acceptor.sop_class_extended.get(UID(str(event.request.AffectedSOPClassUID)), b"")
    return len(asked) > _COMBINED_DATE_TIME and asked[_COMBINED_DATE_TIME] == 1


def _accepted(asked: bytes) -> bytes:
    return bytes(int(n == _COMBINED_DATE_TIME and value == 1) for n, value in enumerate(asked))
