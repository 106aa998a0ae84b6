"""OpenTelemetry traces, off unless the setting `trace` is on; the standard `OTEL_*` variables say where spans go.

Node, index worker and light worker share no message that could carry a trace: a wake-up names no instance. So the trace
of an instance has as its number a keyed hash of the SOP Instance UID (under the site key, as pseudonyms are): every
process comes to the same number, nothing is stored, and nobody without the key can tell which instance it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

_next_trace: ContextVar[int] = ContextVar("next_trace", default=0)


class Traces:
    """The spans of one process."""

    def __init__(self, provider: "TracerProvider", trace_number: Callable[[str], int]) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("regionmir")
        self._trace_number = lru_cache(4096)(trace_number)

    @contextmanager
    def span(self, name: str, sop_instance_uid: str = "") -> Iterator[None]:
        """Do what is inside as one span: in the trace of the instance, else below the span that is open here."""
        from opentelemetry import trace

        if not sop_instance_uid:
            with self._tracer.start_as_current_span(name, record_exception=False):
                yield
            return
        number, around = self._trace_number(sop_instance_uid), trace.get_current_span().get_span_context()
        inside = around.is_valid and around.trace_id == number
        links = [trace.Link(around)] if around.is_valid and not inside else []
        chosen = _next_trace.set(number)
        try:
            started = self._tracer.start_span(name, None if inside else _nowhere(), links=links)
        finally:
            _next_trace.reset(chosen)
        with trace.use_span(started, end_on_exit=True, record_exception=False):  # its text might be a patient's
            yield

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


_traces: Traces | None = None


def span(name: str, sop_instance_uid: str = "") -> Any:
    """Return a context manager: a span where traces are on, else nothing."""
    return nullcontext() if _traces is None else _traces.span(name, sop_instance_uid)


def start_tracing(settings: Settings, process: str, exporter: "SpanExporter | None" = None) -> Callable[[], None]:
    """Trace from now on, if the settings say so; return what ends it. `exporter`: in place of the one of `OTEL_*`.

    Raises `ConfigurationError` where the packages are missing.
    """
    global _traces
    if not settings.trace:
        return _nothing
    try:
        provider = _provider(process, exporter)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"trace: {error.name} is not installed; pip install 'regionmir[trace]'") from None
    pseudonymizer = settings.pseudonymizer()
    traces = Traces(provider, lambda uid: int(pseudonymizer.uid("trace", uid).rpartition(".")[2]))
    _traces = traces

    def stop() -> None:
        global _traces
        _traces = None
        traces.close()

    return stop


def _provider(process: str, exporter: "SpanExporter | None") -> "TracerProvider":
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class InstanceTraces(RandomIdGenerator):
        """Gives a new trace the number that was chosen for it."""

        def generate_trace_id(self) -> int:
            return _next_trace.get() or super().generate_trace_id()

    resource = Resource.create({"service.name": f"regionmir-{process.replace(' ', '-')}"})
    provider = TracerProvider(resource=resource, id_generator=InstanceTraces())
    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    else:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def _nowhere() -> "Context":
    """Return a context without any open span: what starts in it is the first of its trace."""
    from opentelemetry.context import Context

    return Context()


def _nothing() -> None:
    return None
