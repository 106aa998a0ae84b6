"""C-FIND: ask a peer what it has (PS3.4 C.4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from regionmir.core.errors import PeerUnavailable
from regionmir.scu.association import association
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts
from regionmir.scu.status import Status, read_status

Root = Literal["patient", "study"]

FIND_MODELS: dict[Root, str] = {
    "patient": "1.2.840.10008.5.1.4.1.2.1.1",  # Patient Root Q/R Information Model - FIND, PS3.4 C.6.1
    "study": "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root Q/R Information Model - FIND, PS3.4 C.6.2
}


@dataclass(frozen=True, slots=True)
class FindAnswer:
    """What a C-FIND brought: the matches in the peer's order and the final status."""

    matches: tuple[Dataset, ...]
    status: Status


def find(
    peer: PeerAddress,
    calling_ae: str,
    identifier: Dataset,
    *,
    root: Root = "study",
    limit: int | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> FindAnswer:
    """Return the peer's matches; with `limit`, a C-CANCEL follows the match that reaches it.

    Raises `PeerUnavailable` or `PeerRefused`. A refusal by status is returned, not raised.
    """
    with association(peer, calling_ae, find_contexts([root]), timeouts=timeouts) as opened:
        return find_on(opened, identifier, root=root, limit=limit)


def find_contexts(roots: Sequence[Root] = ("study", "patient")) -> list[PresentationContext]:
    """Return the presentation contexts that `find_on` needs."""
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    return [build_context(FIND_MODELS[root], list(syntaxes)) for root in roots]


def find_on(
    opened: Association, identifier: Dataset, *, root: Root = "study", limit: int | None = None, message_id: int = 1
) -> FindAnswer:
    """Return the matches to a C-FIND on an open association. Raises `PeerUnavailable` if the peer goes away."""
    matches: list[Dataset] = []
    cancelled = False
    for answer, match in opened.send_c_find(identifier, FIND_MODELS[root], msg_id=message_id):
        status = read_status(answer)
        if status is None:
            raise PeerUnavailable("the peer ended the association during a C-FIND")
        if not status.is_pending:
            return FindAnswer(tuple(matches), status)
        if match is not None and (limit is None or len(matches) < limit):
            matches.append(match)
        if limit is not None and len(matches) >= limit and not cancelled:
            opened.send_c_cancel(message_id, query_model=FIND_MODELS[root])
            cancelled = True
    raise PeerUnavailable("the peer ended the association during a C-FIND")
