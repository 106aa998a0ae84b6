"""How long each DIMSE service takes and how it ends, for Prometheus and traces: handlers know nothing of it."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pydicom.dataset import Dataset
from pynetdicom.events import Event

from dicom_node.retrieve_service import Response
from regionmir.archive.status import PROCESSING_FAILURE, SUCCESS
from regionmir.monitoring.figures import ASSOCIATIONS, REQUEST_S
from regionmir.monitoring.tracing import span

if TYPE_CHECKING:
    from dicom_node.node import Node

_One = TypeVar("_One")


def counted(_: Event, answer: str) -> None:
    """Count an association that was accepted, rejected or aborted."""
    ASSOCIATIONS.labels(answer).inc()


def measured(service: str, handler: "Callable[[Event, Node], _One]") -> "Callable[[Event, Node], _One]":
    """Return the handler of a service with one response, measured."""

    def timed(event: Event, node: "Node") -> _One:
        began, status = time.perf_counter(), PROCESSING_FAILURE
        try:
            with span(service):
                answer = handler(event, node)
            status = _status(answer)
        finally:
            _observe(service, status, began)
        return answer

    return timed


def measured_answers(
    service: str, handler: "Callable[[Event, Node], Iterator[_One]]"
) -> "Callable[[Event, Node], Iterator[_One]]":
    """Return the handler of a service with many responses, measured from the request to the last of them."""

    def timed(event: Event, node: "Node") -> Iterator[_One]:
        began, status = time.perf_counter(), PROCESSING_FAILURE
        try:
            last = SUCCESS
            with span(service):
                for answer in handler(event, node):
                    last = _status(answer)
                    yield answer
            status = SUCCESS if _is_pending(last) else last
        finally:
            _observe(service, status, began)

    return timed


def _observe(service: str, status: int, began: float) -> None:
    REQUEST_S.labels(service, f"{status:04X}").observe(time.perf_counter() - began)


def _status(answer: Any) -> int:
    """Return the status of a response in any of the forms that handlers give."""
    if isinstance(answer, tuple):
        return _status(answer[0])
    if isinstance(answer, Response):
        return _status(answer.status)
    return int(answer.Status) if isinstance(answer, Dataset) else int(answer)


def _is_pending(status: int) -> bool:
    """Return whether more was to come: what then ends a C-FIND is Success, which pynetdicom sends itself."""
    return status in (0xFF00, 0xFF01)
