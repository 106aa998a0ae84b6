"""C-GET and C-MOVE on the wire: the handler does the sub-operations and gives responses, this sends them.

pynetdicom's own service sends only data sets that it encodes itself, over one association. Ours has to send stored
bytes as they are, and over several associations where 128 presentation contexts do not suffice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE, DimseServiceType
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import QueryRetrieveServiceClass

from dicom_node.status import RETRIEVE, status_of
from regionmir.core.errors import RegionMirError, origin
from regionmir.scu.status import SubOperations

log = structlog.get_logger(__name__)

MAX_FAILED_BYTES = 65_534
"""A UI value in explicit VR has a length of 16 bits."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response to a C-GET or C-MOVE. `status` holds Status and perhaps Error Comment.

    `failed` becomes the Failed SOP Instance UID List of an Identifier; None: the response has no Identifier.
    """

    status: Dataset
    counts: SubOperations | None = None
    failed: tuple[str, ...] | None = None

    @property
    def is_pending(self) -> bool:
        return bool(self.status.Status == 0xFF00)


class RetrievingAssociation(Association):
    """An association that answers C-GET and C-MOVE through `RetrieveService`, all else as pynetdicom does."""

    def _serve_request(self, msg: DimseServiceType, context_id: int) -> None:
        context = self._accepted_cx.get(context_id)
        if not isinstance(msg, C_GET | C_MOVE) or not msg.is_valid_request or context is None or self._sent_release:
            super()._serve_request(msg, context_id)
            return
        self.dimse.cancel_req = {}
        self._is_paused = True  # the reactor waits while sub-operations use this association
        self.abort = self._abort_nonblocking  # type: ignore[method-assign]
        try:
            RetrieveService(self).SCP(msg, context)
        finally:
            self.abort = self._abort_blocking  # type: ignore[method-assign]
            self._is_paused = False
            self.dimse.cancel_req = {}


class RetrieveService(QueryRetrieveServiceClass):
    """Sends what the handlers of C-GET and C-MOVE give: any pending responses, then a final one."""

    def SCP(self, req: C_GET | C_MOVE, context: PresentationContext) -> None:  # type: ignore[override]  # noqa: N802
        """Answer one request. A response for a peer that has gone is dropped."""
        syntax = context.transfer_syntax[0]
        for response in self._responses(req, context):
            if self._is_gone():
                return
            self.dimse.send_msg(_primitive(req, response, syntax), cast(int, context.context_id))
            if not response.is_pending:
                return

    def _responses(self, req: C_GET | C_MOVE, context: PresentationContext) -> Iterator[Response]:
        event = evt.EVT_C_GET if isinstance(req, C_GET) else evt.EVT_C_MOVE
        details = {"request": req, "context": context.as_tuple, "_is_cancelled": self.is_cancelled}
        try:
            yield from cast(Iterator[Response], evt.trigger(self.assoc, event, details))
        except RegionMirError as error:
            status = status_of(error, RETRIEVE)
            peer = self.assoc.requestor.ae_title
            log.info("retrieve refused", status=f"{status.Status:04X}", why=str(error), peer=peer)
            yield Response(status)
        except Exception as error:
            log.error("retrieve failed", error=type(error).__name__, at=origin(error))
            yield Response(status_of(error, RETRIEVE))

    def _is_gone(self) -> bool:
        ended = not self.assoc.is_established or self.assoc._sent_abort
        return ended or self.assoc.acse.is_aborted()


def _primitive(req: C_GET | C_MOVE, response: Response, syntax: UID) -> C_GET | C_MOVE:
    answer = type(req)()
    answer.MessageID = req.MessageID
    answer.MessageIDBeingRespondedTo = req.MessageID
    answer.AffectedSOPClassUID = req.AffectedSOPClassUID
    answer.Status = response.status.Status
    if "ErrorComment" in response.status:
        answer.ErrorComment = response.status.ErrorComment
    if response.counts is not None:
        if response.is_pending or response.status.Status == 0xFE00:
            answer.NumberOfRemainingSuboperations = response.counts.remaining
        answer.NumberOfCompletedSuboperations = response.counts.completed
        answer.NumberOfFailedSuboperations = response.counts.failed
        answer.NumberOfWarningSuboperations = response.counts.warning
    if response.failed is not None:
        answer.Identifier = BytesIO(_failed_list(response.failed, syntax))
    return answer


def _failed_list(uids: tuple[str, ...], syntax: UID) -> bytes:
    identifier = Dataset()
    room = MAX_FAILED_BYTES // 65
    identifier.FailedSOPInstanceUIDList = list(uids[:room])
    encoded = encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    return encoded or b""
