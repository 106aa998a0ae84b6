"""C-ECHO: is the peer there, and does it know us? (PS3.4 Annex A)"""

import time
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from regionmir.core.errors import PeerUnavailable
from regionmir.scu.association import association
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts
from regionmir.scu.status import Status, read_status


@dataclass(frozen=True, slots=True)
class EchoResult:
    """The answer to a C-ECHO; seconds with and without making the association."""

    status: Status
    total_s: float
    round_trip_s: float


def echo(peer: PeerAddress, calling_ae: str, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> EchoResult:
    """Return what the peer answered to a C-ECHO. Raises `PeerUnavailable` or `PeerRefused`."""
    started = time.perf_counter()
    with association(peer, calling_ae, [echo_context()], timeouts=timeouts) as opened:
        asked = time.perf_counter()
        status = read_status(opened.send_c_echo())
        answered = time.perf_counter()
    if status is None:
        raise PeerUnavailable(f"{peer} ended the association without answering the C-ECHO")
    return EchoResult(status, answered - started, answered - asked)


def echo_context() -> PresentationContext:
    """Return the presentation context of verification."""
    return build_context(Verification, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
