"""C-MOVE: have a peer send instances to a third one, or to our own receiver (PS3.4 C.4.2)."""

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context

from regionmir.scu.association import association
from regionmir.scu.find import Root
from regionmir.scu.get import Progress, RetrieveAnswer, last_answer
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts

MOVE_MODELS: dict[Root, str] = {
    "patient": "1.2.840.10008.5.1.4.1.2.1.2",  # Patient Root Q/R Information Model - MOVE, PS3.4 C.6.1
    "study": "1.2.840.10008.5.1.4.1.2.2.2",  # Study Root Q/R Information Model - MOVE, PS3.4 C.6.2
}


def move(
    peer: PeerAddress,
    calling_ae: str,
    identifier: Dataset,
    destination: str,
    *,
    root: Root = "study",
    progress: Progress | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> RetrieveAnswer:
    """Have the peer send instances to the AE title `destination`, which it must know.

    Raises `PeerUnavailable`, `PeerRefused`; a refusal by status is returned.
    """
    with association(peer, calling_ae, [move_context(root)], timeouts=timeouts) as opened:
        return last_answer(opened.send_c_move(identifier, destination, MOVE_MODELS[root]), progress)


def move_context(root: Root) -> PresentationContext:
    """Return the presentation context of the request."""
    return build_context(MOVE_MODELS[root], [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
