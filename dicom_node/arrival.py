"""Receiving C-STORE data sets: fragments go to the disk as they come, and one bad object harms no other."""

import time
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse import _RQ_TO_MESSAGE, _RSP_TO_MESSAGE, DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_FIND, C_STORE, DIMSEPrimitive
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.answers import PendingAnswers, is_pending
from dicom_node.fragments import Fragment
from dicom_node.status import status_of
from regionmir.archive.arrival import Arrival
from regionmir.archive.errors import InvalidCommand
from regionmir.archive.status import STORE
from regionmir.core.errors import InvalidUid, RegionMirError
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.storage import FileStore

if TYPE_CHECKING:
    from pynetdicom.association import Association

log = structlog.get_logger(__name__)

MAX_QUEUED = 8
"""Requests of one association that may wait. A peer waits for each answer, as no window was negotiated (PS3.7 D.3.3.3);
one that does not would fill memory and disk."""

_COMMAND = 0b01
_LAST = 0b10
"""Bits of the message control header (PS3.8 E.2)."""


class NodeDimse(DIMSEServiceProvider):
    """A DIMSE provider that streams C-STORE data sets to the store instead of into memory.

    A C-STORE command without usable UIDs gets its answer here: pynetdicom would abort the association.
    """

    def __init__(self, assoc: "Association", store: FileStore, limit_bytes: int, limit_s: float) -> None:
        super().__init__(assoc)
        self._store = store
        self._limit_bytes, self._limit_s = limit_bytes, limit_s
        self._began: float | None = None
        self._arrival: Arrival | None = None
        self._answers = PendingAnswers()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Process one P-DATA of the peer."""
        self.receive_fragments((one, memoryview(data)) for one, data in primitive.presentation_data_value_list)

    def receive_fragments(self, fragments: Iterable[Fragment]) -> None:
        """Process the fragments of one PDU (called by the upper layer's thread); they are not kept."""
        if self._began is None:
            self._began = time.monotonic()
        elif time.monotonic() - self._began > self._limit_s:  # it is never idle, and never done
            self._abort("a message takes too long")
            return
        if self.msg_queue.qsize() > MAX_QUEUED:
            self._abort("requests come without waiting for answers")
            return
        self._take(fragments)
        if self._arrival is None and self.message is None:
            self._began = None

    def _take(self, fragments: Iterable[Fragment]) -> None:
        for context_id, data in fragments:
            if self._arrival is not None and not data[0] & _COMMAND:
                self._arrival.write(data[1:])
                if data[0] & _LAST:
                    self._arrived()
            else:
                self._receive_command(context_id, bytes(data))

    def send_msg(self, primitive: DIMSEPrimitive, context_id: int) -> None:  # type: ignore[override]
        """Send a message; command and data set each in PDUs of their own, though one might hold both (PS3.8 9.3.5.1):
        GDCM 3.0 then loses every second answer of a C-FIND."""
        message, parts = self._encoded(primitive, context_id)
        evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": message})
        for pdata in parts:
            self.dul.send_pdu(pdata)

    def discard(self) -> None:
        """Delete a data set of which only a part arrived, and those of requests that nobody will answer."""
        left, self._arrival = [self._arrival], None
        with suppress(Empty):
            while True:
                left.append(arrival_of(self.msg_queue.get_nowait()[1]))
        for arrival in left:
            if arrival is not None:
                arrival.discard()

    def _abort(self, why: str) -> None:
        log.warning("association aborted", why=why, peer=self.assoc.requestor.ae_title)
        self.dul.event_queue.put("Evt19")

    def _encoded(self, primitive: DIMSEPrimitive, context_id: int) -> tuple[DIMSEMessage, Iterable[P_DATA]]:
        if isinstance(primitive, C_FIND) and is_pending(primitive):
            return self._answers.encoded(primitive, context_id, self.maximum_pdu_size)
        kinds = _RQ_TO_MESSAGE if primitive.MessageIDBeingRespondedTo is None else _RSP_TO_MESSAGE
        message = kinds[type(primitive)]()
        message.primitive_to_message(primitive)  # type: ignore[arg-type]
        message.context_id = context_id
        return message, message.encode_msg(context_id, self.maximum_pdu_size)

    def _receive_command(self, context_id: int, data: bytes) -> None:
        single = P_DATA()
        single.presentation_data_value_list.append((context_id, data))
        try:
            super().receive_primitive(single)
        except Exception as error:  # a command set that does not decode; its text may be anything
            self._abort(f"undecodable DIMSE command ({type(error).__name__})")
            return
        if isinstance(self.message, C_STORE_RQ):
            context = self.assoc._accepted_cx.get(context_id)
            syntax = str(context.transfer_syntax[0]) if context else ""
            self._arrival = Arrival(self._limit_bytes)
            _begin(self._arrival, self._store, self.message.command_set, syntax, self.assoc.requestor.ae_title)

    def _arrived(self) -> None:
        """Hand the complete request to the association's thread."""
        arrival, self._arrival = cast(Arrival, self._arrival), None
        message, self.message = cast(DIMSEMessage, self.message), None
        if isinstance(arrival.failure, InvalidCommand):
            self._refuse(message, arrival.failure)
            return
        request = cast(C_STORE, message.message_to_primitive())
        request.arrival = arrival  # type: ignore[attr-defined]
        self.msg_queue.put((cast(int, message.context_id), request))

    def _refuse(self, message: DIMSEMessage, error: InvalidCommand) -> None:
        response = C_STORE()
        response.MessageIDBeingRespondedTo = message.command_set.get("MessageID", 0)
        status = status_of(error, STORE)
        response.Status = status.Status
        response.ErrorComment = status.ErrorComment
        log.info("instance refused", status=f"{status.Status:04X}", why=str(error), peer=self.assoc.requestor.ae_title)
        self.send_msg(response, cast(int, message.context_id))


def arrival_of(request: object) -> Arrival | None:
    """Return the data set of a C-STORE request, or None where it came without one."""
    return getattr(request, "arrival", None)


def _uids(command: Dataset) -> tuple[Uid, Uid]:
    """Return the affected SOP Class and Instance UID of a C-STORE command. Raises `InvalidCommand`."""
    found = []
    for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID"):
        try:
            found.append(parse_uid(str(command.get(keyword) or "")))
        except InvalidUid:
            raise InvalidCommand(f"{keyword} of the command is missing or no UID") from None
    return found[0], found[1]


def _begin(arrival: Arrival, store: FileStore, command: Dataset, transfer_syntax_uid: str, source_ae: str) -> None:
    """Open the incoming file of a C-STORE command, or remember why not."""
    try:
        sop_class_uid, sop_instance_uid = _uids(command)
        syntax = parse_uid(transfer_syntax_uid)
    except RegionMirError as error:
        arrival.failure = error
        return
    arrival.begin(store, sop_class_uid, sop_instance_uid, syntax, source_ae)
