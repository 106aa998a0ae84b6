"""Pending answers of a C-FIND on the wire: their commands are equal, so the command of the first serves for all.

pynetdicom builds and encodes the Command Set anew for each answer, which costs more than its Identifier does.
"""

from collections.abc import Iterator
from typing import cast

from pynetdicom.dimse_messages import C_FIND_RSP
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.status import PENDING, PENDING_WITHOUT_OPTIONAL_KEYS

_HEADER_BYTES = 6
"""Item length, context ID and message control header of a fragment (PS3.8 9.3.5.1, E.2)."""

_COMMAND, _LAST = 0b01, 0b10
"""Bits of the message control header (PS3.8 E.2)."""

_Key = tuple[object, ...]


def is_pending(response: C_FIND) -> bool:
    """Return whether this is a response with an Identifier and nothing else to say."""
    plain = response.ErrorComment is None and response.OffendingElement is None
    return bool(response.Status in (PENDING, PENDING_WITHOUT_OPTIONAL_KEYS) and response.Identifier and plain)


class PendingAnswers:
    """The answers of one association."""

    def __init__(self) -> None:
        self._of: _Key = ()
        self._message = C_FIND_RSP()
        self._command = b""

    def encoded(self, response: C_FIND, context_id: int, limit_bytes: int) -> tuple[C_FIND_RSP, Iterator[P_DATA]]:
        """Return a pending response as a message and as fragments, each of a PDU of at most `limit_bytes` (0: any)."""
        self._prepare(response)
        self._message.context_id = context_id
        self._message.data_set = response.Identifier
        return self._message, self._fragments(context_id, limit_bytes)

    def _prepare(self, response: C_FIND) -> None:
        """Make the Command Set (Implicit VR Little Endian, PS3.7 6.3.1), if it is another than that of the last."""
        key = (response.AffectedSOPClassUID, response.MessageIDBeingRespondedTo, response.Status)
        if key != self._of:
            message = C_FIND_RSP()
            message.primitive_to_message(response)
            self._message, self._command = message, cast(bytes, encode(message.command_set, True, True))
            self._of = key

    def _fragments(self, context_id: int, limit_bytes: int) -> Iterator[P_DATA]:
        identifier = cast(bytes, self._message.data_set.getvalue())  # type: ignore[union-attr]
        for kind, content in ((_COMMAND, self._command), (0, identifier)):
            size = limit_bytes - _HEADER_BYTES if limit_bytes else len(content)
            for at in range(0, len(content), size):
                last = _LAST if at + size >= len(content) else 0
                part = P_DATA()
                part.presentation_data_value_list.append((context_id, bytes([kind | last]) + content[at : at + size]))
                yield part
