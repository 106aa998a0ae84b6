"""What a process tells of itself: figures for Prometheus, spans for OpenTelemetry; nothing of what is a patient's."""

from collections.abc import Iterator
from contextlib import contextmanager

from regionmir.core.settings import Settings
from regionmir.monitoring.exporter import Exporter
from regionmir.monitoring.tracing import start_tracing

__all__ = ["monitored"]


@contextmanager
def monitored(settings: Settings, process: str, number: int = 0) -> Iterator[None]:
    """Tell figures and, if the settings say so, traces of this process until the block ends.

    `process`: one of `exporter.PROCESSES`; `number`: of several processes of a node, which. Raises
    `ConfigurationError` where traces are wanted and cannot be had.
    """
    stop_tracing = start_tracing(settings, process)
    try:
        with Exporter(settings, process, number):
            yield
    finally:
        stop_tracing()
