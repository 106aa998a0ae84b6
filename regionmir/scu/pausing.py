"""Pausing the reactor of an association that we use.

pynetdicom's reactor takes whatever message comes, unless it is paused; a request pauses it, so that it gets the answer.
But a reactor that the request before has just let go on still counts as paused until its thread runs: on a busy machine
the next request is sent by then, and the reactor takes its answer ("Received unexpected C-FIND service message",
pynetdicom issue 875). The request then waits until it times out.
"""

from threading import Event, Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynetdicom.association import Association


class Pause(Event):
    """An association's checkpoint, at which its reactor waits: set while that may go on, cleared by who pauses it.

    What lets the reactor go on also says that it is not paused any more, in one step.
    """

    def __init__(self, assoc: "Association") -> None:
        super().__init__()
        self._assoc = assoc
        self._step = Lock()
        self.set()

    def clear(self) -> None:
        """Ask for a pause. Where the association's `_is_paused` is true afterwards, it has begun."""
        with self._step:
            super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the reactor may go on; return False after `timeout` seconds. Called by the reactor alone."""
        while super().wait(timeout):
            with self._step:
                if self.is_set():
                    self._assoc._is_paused = False
                    return True
        return False
