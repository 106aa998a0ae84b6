"""Receiving C-STORE data sets: fragments go to the disk as they come, and one bad object harms no other."""

import time
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty
from threading import Lock, current_thread
from typing import TYPE_CHECKING, cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse import _RQ_TO_MESSAGE, _RSP_TO_MESSAGE, DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_FIND, C_STORE, DIMSEPrimitive
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.answers import PendingAnswers, is_pending
from dicom_node.fragments import HEAD_BYTES, Fragment, pdu
from dicom_node.status import failure, status_of
from dicom_node.store_command import LAST_OF_COMMAND, StoreCommand, StoreRequest, response, store_command
from regionmir.archive.arrival import Arrival
from regionmir.archive.errors import InvalidCommand
from regionmir.archive.status import STORE, SUCCESS
from regionmir.core.errors import InvalidUid
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.storage import FileStore

if TYPE_CHECKING:
    from pynetdicom.association import Association

log = structlog.get_logger(__name__)

MAX_QUEUED = 8
"""Requests of one association that may wait. A peer waits for each answer, as no window was negotiated (PS3.7 D.3.3.3);
one that does not would fill memory and disk."""

MAX_HELD_BYTES = 4 << 20
"""Of a message, as far as it is held in memory: its command and, but for a C-STORE, its data set. That is a query with
60,000 UIDs, or a storage commitment of 30,000 instances; its sender is not asked for its rights before it is whole."""

_COMMAND = 0b01
_LAST = 0b10
"""Bits of the message control header (PS3.8 E.2)."""


class NodeDimse(DIMSEServiceProvider):
    """A DIMSE provider that streams C-STORE data sets to the store instead of into memory.

    A C-STORE as everybody sends it is served and answered by the thread that reads it, while no other request of the
    association is being served: so it changes threads nowhere. Those of a peer that does not wait for answers are
    queued, and counted, from then on. One without usable UIDs gets its answer here: pynetdicom would abort the
    association.
    """

    def __init__(self, assoc: "Association", store: FileStore, limit_bytes: int, limit_s: float) -> None:
        super().__init__(assoc)
        self._store = store
        self._limit_bytes, self._limit_s = limit_bytes, limit_s
        self._began: float | None = None
        self._context_id = 0
        """Of the message that is arriving."""
        self._held_bytes = 0
        self._arrival: Arrival | None = None
        self._command: StoreCommand | None = None
        """Of the data set that is arriving, where it takes the short way."""
        self._turn = Lock()
        self._around: Context | None = None
        """Of the association's thread, once it serves: what is served here belongs to it."""
        self._ended = self._hasty = self._aborted = False
        self._answers = PendingAnswers()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Process one P-DATA of the peer."""
        self.receive_fragments((one, memoryview(data)) for one, data in primitive.presentation_data_value_list)

    def receive_fragments(self, fragments: Iterable[Fragment]) -> None:
        """Process the fragments of one PDU (called by the upper layer's thread); they are not kept."""
        if self._aborted:
            return
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
            if self._arrival is None and self.message is None:
                self._context_id, self._held_bytes = context_id, 0
            elif context_id != self._context_id:
                self._abort("one message in two presentation contexts")
            if self._aborted:
                return
            if self._arrival is not None and not data[0] & _COMMAND:
                self._arrival.write(data[1:])
                if data[0] & _LAST:
                    self._arrived(context_id)
            else:
                self._receive_command(context_id, bytes(data))

    def send_msg(self, primitive: DIMSEPrimitive, context_id: int) -> None:  # type: ignore[override]
        """Send a message; command and data set each in PDUs of their own, though one might hold both (PS3.8 9.3.5.1):
        GDCM 3.0 then loses every second answer of a C-FIND."""
        message, parts = self._encoded(primitive, context_id)
        evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": message})
        for pdata in parts:
            self.dul.send_pdu(pdata)

    @property
    def is_serving(self) -> bool:
        """Return whether the upper layer's thread serves a request: it reads nothing meanwhile."""
        return self._turn.locked()

    def begin(self) -> None:
        """Let the upper layer's thread serve requests from now on, as a part of what the calling thread does."""
        self._around = copy_context()

    def end(self) -> None:
        """Return when the upper layer's thread serves no request, and will serve none."""
        with self._turn:
            self._ended = True

    def serve(self, context_id: int, request: StoreRequest) -> None:
        """Store one instance and answer. Called by the upper layer's thread or the association's."""
        context = self.assoc._accepted_cx[context_id].as_tuple
        status = evt.trigger(self.assoc, evt.EVT_C_STORE, {"request": request, "context": context})
        self._hasty = self._hasty or (
            current_thread() is self.dul and self.dul.socket is not None and self.dul.socket.ready
        )
        if not self.assoc.is_established or self.assoc._sent_abort:
            return
        answer = response(request.command, SUCCESS)
        if status == SUCCESS and (not self.maximum_pdu_size or len(answer) + HEAD_BYTES <= self.maximum_pdu_size):
            self._send(context_id, answer)
        else:
            self._answer(context_id, request.command, failure(SUCCESS) if status == SUCCESS else cast(Dataset, status))

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
        self._aborted = True
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
        if self._arrival is not None:
            self._abort("a command in the middle of a data set")
            return
        self._held_bytes += len(data)
        if self._held_bytes > MAX_HELD_BYTES:
            self._abort("a message is too large")
            return
        context = self.assoc._accepted_cx.get(context_id)
        alone = context is not None and self.message is None and data[0] == LAST_OF_COMMAND
        self._command = store_command(data[1:]) if alone else None
        if self._command is not None:
            self._begin(context_id, self._command.sop_class_uid, self._command.sop_instance_uid)
            return
        single = P_DATA()
        single.presentation_data_value_list.append((context_id, data))
        try:
            super().receive_primitive(single)
        except Exception as error:  # a command set that does not decode; its text may be anything
            self._abort(f"undecodable DIMSE command ({type(error).__name__})")
            return
        if isinstance(self.message, C_STORE_RQ):
            try:
                self._begin(context_id, *_uids(self.message.command_set))
            except InvalidCommand as error:
                self._arrival = Arrival(self._limit_bytes)
                self._arrival.failure = error

    def _begin(self, context_id: int, sop_class_uid: Uid, sop_instance_uid: Uid) -> None:
        """Open the incoming file of a C-STORE command, or remember why not."""
        self._arrival = Arrival(self._limit_bytes)
        context = self.assoc._accepted_cx.get(context_id)
        try:
            syntax = parse_uid(str(context.transfer_syntax[0]) if context else "")
        except InvalidUid as error:
            self._arrival.failure = error
            return
        self._arrival.begin(self._store, sop_class_uid, sop_instance_uid, syntax, self.assoc.requestor.ae_title)

    def _arrived(self, context_id: int) -> None:
        """Serve the complete request here, where none before it is being served; else the association's thread does."""
        arrival, self._arrival = cast(Arrival, self._arrival), None
        command, self._command = self._command, None
        if command is None:
            self._hand_over(arrival)
            return
        request = StoreRequest(command, arrival)
        with self._turn:
            if self._around is not None and not (self._hasty or self._ended or self.msg_queue.unfinished_tasks):
                self._around.run(self.serve, context_id, request)
                return
        self.msg_queue.put((context_id, request))  # type: ignore[arg-type]

    def _hand_over(self, arrival: Arrival) -> None:
        """Hand a request that pynetdicom decoded to the association's thread."""
        message, self.message = cast(DIMSEMessage, self.message), None
        context_id = cast(int, message.context_id)
        try:
            if isinstance(arrival.failure, InvalidCommand):
                self._refuse(message, arrival.failure)
                return
            request = cast(C_STORE, message.message_to_primitive())
        except Exception as error:  # an element of the command has a value that is none
            arrival.discard()
            self._abort(f"undecodable DIMSE command ({type(error).__name__})")
            return
        request.arrival = arrival  # type: ignore[attr-defined]
        self.msg_queue.put((context_id, request))

    def _refuse(self, message: DIMSEMessage, error: InvalidCommand) -> None:
        status, peer = status_of(error, STORE), self.assoc.requestor.ae_title
        log.info("instance refused", status=f"{status.Status:04X}", why=str(error), peer=peer)
        command = StoreCommand(message.command_set.get("MessageID", 0), Uid(""), Uid(""))
        self._answer(cast(int, message.context_id), command, status)

    def _answer(self, context_id: int, command: StoreCommand, status: Dataset) -> None:
        answer = C_STORE()
        answer.MessageIDBeingRespondedTo = command.message_id
        answer.AffectedSOPClassUID = command.sop_class_uid or None
        answer.AffectedSOPInstanceUID = command.sop_instance_uid or None
        answer.Status = status.Status
        answer.ErrorComment = status.get("ErrorComment")
        self.send_msg(answer, context_id)

    def _send(self, context_id: int, command: bytes) -> None:
        """Send a command without a data set; at once, where this thread is the one that sends and nothing waits."""
        if current_thread() is self.dul and not self.dul.to_provider_queue.queue and self.dul.socket is not None:
            self.dul.socket.send(pdu(context_id, LAST_OF_COMMAND, command))
            return
        single = P_DATA()
        single.presentation_data_value_list.append((context_id, bytes([LAST_OF_COMMAND]) + command))
        self.dul.send_pdu(single)


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
