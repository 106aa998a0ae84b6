"""The figures of one process, as Prometheus knows them; each says in its help text what it counts.

Labels come from closed sets: states, stages, services, DIMSE statuses. None holds a UID, a name, an address or an AE
title: titles often name a room or a person, and callers may invent any number of them.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY: Final = CollectorRegistry()
"""What `/metrics` of every process shows."""

ProcessCollector(registry=REGISTRY)

_FAST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

ASSOCIATIONS_OPEN: Final = Gauge("regionmir_associations_open", "Associations that are open now", registry=REGISTRY)
ASSOCIATIONS: Final = Counter(
    "regionmir_associations", "Associations that were asked for, by answer", ["answer"], registry=REGISTRY
)
REQUEST_S: Final = Histogram(
    "regionmir_request_seconds",
    "Time from a DIMSE request to its last response, by service and final status",
    ["service", "status"],
    buckets=_FAST_S,
    registry=REGISTRY,
)
HTTP_S: Final = Histogram(
    "regionmir_http_seconds",
    "Time from an HTTP request to the end of its answer, by method and class of status",
    ["method", "status"],
    buckets=_FAST_S,
    registry=REGISTRY,
)
STAGE_S: Final = Histogram(
    "regionmir_stage_seconds",
    "Time of one stage of an instance's or a question's way; `forward` is of a batch",
    ["stage"],
    buckets=_FAST_S,
    registry=REGISTRY,
)
STAGE_FAILED: Final = Counter("regionmir_stage_failures", "Stages that ended by an error", ["stage"], registry=REGISTRY)
RECEIVED_BYTES: Final = Counter("regionmir_received_bytes", "Bytes of data sets that were filed", registry=REGISTRY)
FINISHED: Final = Counter(
    "regionmir_instances_finished", "Instances that an index worker finished, by state", ["state"], registry=REGISTRY
)
RECALL: Final = Gauge(
    "regionmir_recall_probe",
    "Share of the exact ten nearest regions that the search by index finds, in the latest probe",
    ["anatomy"],
    registry=REGISTRY,
)
RECALL_AT: Final = Gauge(
    "regionmir_recall_probe_time_seconds", "When the latest probe of recall ended (Unix time)", registry=REGISTRY
)
