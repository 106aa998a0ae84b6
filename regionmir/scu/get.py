"""C-GET: have a peer send instances to us over the same association (PS3.4 C.4.3)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext, build_context

from regionmir.core.errors import InvalidIdentifier, PeerUnavailable
from regionmir.core.identifiers import parse_uid
from regionmir.scu.association import MAX_CONTEXTS, association, receiver_roles
from regionmir.scu.find import Root
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts
from regionmir.scu.status import Status, SubOperations, failed_uids, read_status, read_sub_operations

GET_MODELS: dict[Root, str] = {
    "patient": "1.2.840.10008.5.1.4.1.2.1.3",  # Patient Root Q/R Information Model - GET, PS3.4 C.6.1
    "study": "1.2.840.10008.5.1.4.1.2.2.3",  # Study Root Q/R Information Model - GET, PS3.4 C.6.2
}

FILM_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image Storage
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray Image Storage - For Processing
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image Storage
)
"""SOP classes of radiographs."""

STORED_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE Lossless
)
"""Transfer syntaxes (PS3.5 Annex A) in which a radiograph may be stored."""

Receiver = Callable[[str, bytes], int]
"""Takes the SOP Instance UID and the Part 10 file of an instance; returns the C-STORE status."""

Progress = Callable[[SubOperations], None]


@dataclass(frozen=True, slots=True)
class RetrieveAnswer:
    """How a C-GET or C-MOVE ended."""

    status: Status
    sub_operations: SubOperations
    failed: tuple[str, ...] = ()


def get(
    peer: PeerAddress,
    calling_ae: str,
    identifier: Dataset,
    receiver: Receiver,
    *,
    root: Root = "study",
    storage: Sequence[PresentationContext] | None = None,
    progress: Progress | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> RetrieveAnswer:
    """Fetch instances over the association that asks for them, and hand each to `receiver`.

    `storage`: what we take, radiographs as they are stored by default (`storage_contexts`). Raises `PeerUnavailable`,
    `PeerRefused`; a refusal by status is returned.
    """
    storage = storage_contexts() if storage is None else storage
    contexts = [get_context(root), *storage]
    assert len(contexts) <= MAX_CONTEXTS
    roles = receiver_roles([str(context.abstract_syntax) for context in storage])
    handlers = [(evt.EVT_C_STORE, _received, [receiver])]
    with association(peer, calling_ae, contexts, roles=roles, handlers=handlers, timeouts=timeouts) as opened:
        return last_answer(opened.send_c_get(identifier, GET_MODELS[root]), progress)


def get_context(root: Root) -> PresentationContext:
    """Return the presentation context of the request itself."""
    return build_context(GET_MODELS[root], [ExplicitVRLittleEndian, ImplicitVRLittleEndian])


def storage_contexts(
    sop_classes: Sequence[str] = FILM_CLASSES, syntaxes: Sequence[str] = STORED_SYNTAXES
) -> list[PresentationContext]:
    """Return one context for each SOP class and transfer syntax, so that each instance can come as it is stored."""
    return [build_context(sop_class, [syntax]) for sop_class in sop_classes for syntax in syntaxes]


def save_into(folder: Path) -> Receiver:
    """Return a receiver that writes each instance to `<folder>/<SOP Instance UID>.dcm`."""

    def save(sop_instance_uid: str, content: bytes) -> int:
        try:
            path = folder / f"{parse_uid(sop_instance_uid)}.dcm"
        except InvalidIdentifier:
            return 0xC000
        path.write_bytes(content)
        return 0x0000

    return save


def _received(event: evt.Event, receiver: Receiver) -> int:
    request = event.request
    assert isinstance(request, C_STORE)
    # no data set in memory: pynetdicom was told to write data sets to files as they come
    content = event.dataset_path.read_bytes() if request.DataSet is None else event.encoded_dataset()
    return receiver(str(request.AffectedSOPInstanceUID), content)


def last_answer(answers: Iterator[tuple[Dataset, Dataset | None]], progress: Progress | None) -> RetrieveAnswer:
    """Return the final response, telling `progress` of the others. Raises `PeerUnavailable` if there is none."""
    for answer, identifier in answers:
        status = read_status(answer)
        if status is None:
            break
        if not status.is_pending:
            return RetrieveAnswer(status, read_sub_operations(answer), failed_uids(identifier))
        if progress is not None:
            progress(read_sub_operations(answer))
    raise PeerUnavailable("the peer ended the association during a retrieve, or did not answer it in time")
