"""Threads of an association that wait for their work; pynetdicom's look for it every millisecond.

A request and its answers pass three such looks in the node, up to 1 ms each, and every open association costs 2,000
looks a second. Here the upper layer's thread waits for its socket or something to send, the reactor for a message.
"""

import select
import socket
from collections.abc import Callable, Iterable
from queue import Queue
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol, cast

import structlog
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError

from dicom_node.fragments import Fragment

if TYPE_CHECKING:
    from pynetdicom.association import Association

LONGEST_WAIT_S = 0.1
"""After this, timers and flags that nobody announces (idle time, a thread that ended) are looked at again."""

_PYNETDICOMS_DELAY_S = 0.001

_MOST_PDUS = 64
"""Read in one turn, before timers and flags are looked at again."""

log = structlog.get_logger(__name__)

_DATA_TRANSFER = "Sta6"
"""The state in which requests are answered (PS3.8 9.2.1); in all others pynetdicom's own loop is left alone."""


class Fragments(Protocol):
    """A connection that gives the fragments of its next PDU."""

    @property
    def ready(self) -> bool: ...

    def fragments(self) -> list[Fragment] | None: ...


class TakesFragments(Protocol):
    """A DIMSE provider that takes fragments as they come, and may serve what they are the end of."""

    @property
    def is_serving(self) -> bool: ...

    def receive_fragments(self, fragments: Iterable[Fragment]) -> None: ...


class NotifyingQueue(Queue[Any]):
    """A queue that calls `notify` after each item put into it."""

    def __init__(self, notify: Callable[[], None]) -> None:
        super().__init__()
        self._notify = notify

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._notify()


class Checkpoint(Event):
    """The reactor's checkpoint: `wait` returns once the reactor is not paused and has work, or after `LONGEST_WAIT_S`.

    `has_work` is asked before each wait, so that what came while the reactor was busy is not waited for.
    """

    def __init__(self, has_work: Callable[[], bool]) -> None:
        super().__init__()
        self._has_work = has_work
        self._work = Event()

    def notify(self) -> None:
        """Say that there may be work."""
        self._work.set()

    def set(self) -> None:
        """End a pause; the reactor looks around at once, it may be that it is to end."""
        super().set()
        self._work.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait as the class says; `timeout` is for the pause alone."""
        super().wait(timeout)
        if not self._has_work():
            self._work.wait(LONGEST_WAIT_S)
        self._work.clear()
        return super().wait(timeout)  # a pause may have begun meanwhile


class WaitingDul(DULServiceProvider):
    """An upper layer whose thread, in data transfer, sleeps until there is something to send or to read."""

    def __init__(self, assoc: "Association", notify_user: Callable[[], None]) -> None:
        super().__init__(assoc)
        self._notify_user = notify_user
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self.to_provider_queue = NotifyingQueue(self.wake)
        self.to_user_queue = NotifyingQueue(notify_user)

    def wake(self) -> None:
        """End the thread's wait. Safe from any thread and at any time."""
        try:
            self._waker.send(b"\0")
        except OSError:  # full: it is awake; closed: it has ended
            return

    def kill_dul(self) -> None:
        """Ask the thread to end."""
        super().kill_dul()
        self.wake()

    def idle_timer_expired(self) -> bool:
        """Return whether the peer has been silent for too long; while we serve it, it waits for us."""
        return not cast(TakesFragments, self.assoc.dimse).is_serving and super().idle_timer_expired()

    def run_reactor(self) -> None:
        """Run until the connection is closed."""
        try:
            super().run_reactor()
        except InvalidEventError:  # such as an abort of the peer that crosses our acceptance
            self._hang_up()
        finally:
            self._woken.close()
            self._waker.close()
            self._notify_user()

    def _hang_up(self) -> None:
        """End the association at once: the state machine has no way on, and its slot would stay taken."""
        log.info("association ended, its peer spoke out of turn", peer=self.assoc.requestor.ae_title)
        self.assoc.is_aborted, self.assoc.is_established = True, False
        self.assoc._kill = self._kill_thread = True
        if self.socket is not None:
            self.socket.close()

    def _process_recv_primitive(self) -> bool:
        """Queue the event of the next primitive to send, waiting for one or for the peer. Called once a turn."""
        self._wait()
        return super()._process_recv_primitive()

    def _read_pdu_data(self) -> None:
        """Read PDUs, as long as they come and nothing is to be sent. Fragments of messages go straight to the DIMSE
        provider, which changes no state (PS3.8 9.2.2: DT-2); all else takes pynetdicom's way."""
        if self.state_machine.current_state != _DATA_TRANSFER:
            super()._read_pdu_data()
            return
        connection = cast(Fragments, self.socket)
        for _ in range(_MOST_PDUS):
            try:
                fragments = connection.fragments()
            except OSError:
                self.event_queue.put("Evt17")  # transport connection closed
                return
            if fragments is None:
                super()._read_pdu_data()
                return
            cast(TakesFragments, self.assoc.dimse).receive_fragments(fragments)
            if self.to_provider_queue.queue or self.event_queue.queue or not connection.ready:
                return

    def _wait(self) -> None:
        # a turn that read fragments leaves no event, after which pynetdicom sleeps; here it is waited instead
        transferring = self.state_machine.current_state == _DATA_TRANSFER
        self._run_loop_delay = 0.0 if transferring else _PYNETDICOMS_DELAY_S
        connection = self.socket
        peer = connection.socket if connection else None
        pending = self.to_provider_queue.queue or self.event_queue.queue or self._kill_thread
        if connection is None or peer is None or pending or connection.ready:
            return
        if not transferring:
            return
        try:
            ready, _, _ = select.select([peer, self._woken], [], [], LONGEST_WAIT_S)
            if self._woken in ready:
                self._woken.recv(4096)
        except (OSError, ValueError):  # another thread closed the connection: the turn goes on to find that
            return
