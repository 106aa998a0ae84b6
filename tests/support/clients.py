"""The tests' own clients: pynetdicom's, without its race between an answer and the reactor that may take it."""

from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from regionmir.scu.pausing import Pause

_create_socket = AE._create_socket


def mend() -> None:
    """Let each `pynetdicom.AE` of this process pause its associations as `regionmir.scu` does."""
    AE._create_socket = _create_paused  # type: ignore[method-assign]


def _create_paused(ae: AE, assoc: Association, *arguments: Any) -> AssociationSocket:
    if type(ae) is AE:  # the product's subclass has to do this itself
        assoc._reactor_checkpoint = Pause(assoc)
    return _create_socket(ae, assoc, *arguments)
