"""One stage of an instance's or a question's way: timed for Prometheus and, where traces are on, a span."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from regionmir.core.errors import QueryRefused
from regionmir.monitoring.figures import STAGE_FAILED, STAGE_S
from regionmir.monitoring.tracing import span


@contextmanager
def stage(name: str, sop_instance_uid: str = "") -> Iterator[None]:
    """Time what is done inside. `sop_instance_uid`: the span is one of that instance's trace, in whichever process."""
    began = time.perf_counter()
    with span(name, sop_instance_uid):
        try:
            yield
        except QueryRefused:  # an answer, though not the one that was hoped for
            raise
        except Exception:
            STAGE_FAILED.labels(name).inc()
            raise
        finally:
            STAGE_S.labels(name).observe(time.perf_counter() - began)


@contextmanager
def stages(name: str, sop_instance_uids: Iterable[str]) -> Iterator[None]:
    """Time what is done inside as a `stage` of each of these instances at once."""
    with ExitStack() as opened:
        for uid in sop_instance_uids:
            opened.enter_context(stage(name, uid))
        yield
