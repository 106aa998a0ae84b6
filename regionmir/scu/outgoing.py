"""Data sets made by us, sent to one peer over one association that stays open between them."""

from collections.abc import Callable
from types import TracebackType

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from regionmir.core.errors import PeerUnavailable
from regionmir.scu.association import close_association, open_association
from regionmir.scu.commitment import (
    PUSH_MODEL,
    CommitmentReport,
    CommitmentRequest,
    ask_on,
    commitment_context,
    report_handlers,
)
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts
from regionmir.scu.sending import NotAccepted, accepted_syntaxes
from regionmir.scu.status import Status, read_status

_NATIVE = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))

_Key = tuple[str, tuple[str, ...]]


class DatasetSender:
    """One association with one peer, opened when first needed and again where the peer has ended it.

    With `reported`, storage commitment can be asked for, and reports that come over this association go there.
    """

    def __init__(
        self,
        peer: PeerAddress,
        calling_ae: str,
        *,
        reported: Callable[[CommitmentReport], None] | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._peer = peer
        self._calling_ae = calling_ae
        self._reported = reported
        self._timeouts = timeouts
        self._wanted: list[_Key] = []
        self._opened: Association | None = None
        self._messages = 0

    def __enter__(self) -> "DatasetSender":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, dataset: Dataset) -> Status:
        """Return the peer's status for one C-STORE.

        Raises `NotAccepted`, or `PeerUnavailable` and `PeerRefused` as opening an association does.
        """
        sop_class, syntaxes = _key(dataset)
        opened = self._association((sop_class, syntaxes))
        accepted = [uid for uid in accepted_syntaxes(opened, sop_class) if uid in syntaxes]
        if not accepted:
            raise NotAccepted(f"{self._peer} does not accept SOP class {sop_class}")
        if not hasattr(dataset, "file_meta"):
            dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(accepted[0])
        status = read_status(opened.send_c_store(dataset, msg_id=self._next_message()))
        if status is None:
            raise PeerUnavailable(f"{self._peer} ended the association during a C-STORE, or did not answer it in time")
        return status

    def request_commitment(self, request: CommitmentRequest) -> Status:
        """Ask the peer to keep instances for good, and return its status.

        Raises `NotAccepted` where it knows no storage commitment, and as `send` does.
        """
        opened = self._opened if self._opened is not None and self._opened.is_established else self._open()
        if not accepted_syntaxes(opened, PUSH_MODEL):
            raise NotAccepted(f"{self._peer} does not accept storage commitment")
        return ask_on(opened, request, message_id=self._next_message())

    def close(self) -> None:
        """Release the association."""
        opened, self._opened = self._opened, None
        if opened is not None:
            close_association(opened)

    def _association(self, key: _Key) -> Association:
        if key not in self._wanted:
            self.close()
            self._wanted.append(key)
        if self._opened is not None and not self._opened.is_established:
            self.close()
        return self._opened or self._open()

    def _open(self) -> Association:
        contexts = [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in self._wanted]
        if self._reported is not None:
            contexts.append(commitment_context())
        handlers = report_handlers(self._reported) if self._reported is not None else []
        self._opened = open_association(
            self._peer, self._calling_ae, contexts, handlers=handlers, timeouts=self._timeouts
        )
        return self._opened

    def _next_message(self) -> int:
        self._messages = self._messages % 65535 + 1
        return self._messages


def _key(dataset: Dataset) -> _Key:
    """Return SOP class and transfer syntaxes of the context that this data set wants."""
    meta = getattr(dataset, "file_meta", None)
    syntax = str(meta.get("TransferSyntaxUID", "")) if meta is not None else ""
    compressed = syntax not in ("", *_NATIVE)
    return str(dataset.SOPClassUID), (syntax,) if compressed else _NATIVE
