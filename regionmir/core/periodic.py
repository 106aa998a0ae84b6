"""Something done again and again on a thread of its own, whatever happens to the broker."""

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Self

import structlog

from regionmir.core.errors import Transient

_PATIENCE_S = 10.0

log = structlog.get_logger(__name__)


class Periodic:
    """Calls `action` every `interval_s` seconds, the first time after one interval, or at once if `immediately`.

    An action that raises is logged and called again at the next turn. As a context it works while the block runs.
    """

    def __init__(
        self, name: str, interval_s: float, action: Callable[[], object], *, immediately: bool = False
    ) -> None:
        self._interval_s = interval_s
        self._action = action
        self._immediately = immediately
        self._stopped = threading.Event()
        context = contextvars.copy_context()  # a thread begins with an empty one: logs would not name the process
        self._thread = threading.Thread(target=partial(context.run, self._run), name=name, daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Call the action no more; one that runs now has ten seconds to end."""
        self._stopped.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        if self._immediately:
            self._act()
        while not self._stopped.wait(self._interval_s):
            self._act()

    def _act(self) -> None:
        try:
            self._action()
        except Transient as error:
            log.warning("tried in vain", what=self._thread.name, error=str(error))
        except Exception:
            log.exception("failed", what=self._thread.name)
