"""Figures for Prometheus: of the web process itself, and of the whole site, read from the database when asked for."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

import regionmir
from db import generations, instances, pacs, visibility
from db.figures import site_figures
from db.query_log import RecentQueries
from regionmir.core.errors import BrokerUnavailable, DatabaseUnavailable
from regionmir.monitoring.figures import REGISTRY
from regionmir.web.site import Site, SiteOf

if TYPE_CHECKING:
    from db.engine import Session

router = APIRouter()


@router.api_route("/metrics", methods=["GET", "HEAD"])
def metrics(site: SiteOf) -> Response:
    """The figures in Prometheus' text format; those that cannot be had are left out."""
    registry = CollectorRegistry()
    registry.register(SiteCollector(site))
    return Response(generate_latest(REGISTRY) + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class SiteCollector(Collector):
    """Collects the figures of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def describe(self) -> list[Metric]:
        """Nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("regionmir_build", "This program", {"version": regionmir.__version__})
        yield from self._disk()
        yield from self._broker()
        try:
            with self._site.database.session() as session:
                families = list(_of_database(session))
        except DatabaseUnavailable:
            families = []
        yield _gauge("regionmir_database_up", "Whether PostgreSQL answers", float(bool(families)))
        yield from families

    def _disk(self) -> Iterator[Metric]:
        try:
            usage = shutil.disk_usage(self._site.settings.data_dir)
        except OSError:
            return
        yield _gauge("regionmir_disk_free_bytes", "Free space where the objects are", usage.free)
        yield _gauge("regionmir_disk_total_bytes", "Size of the file system where the objects are", usage.total)

    def _broker(self) -> Iterator[Metric]:
        if self._site.queue is None:
            return
        try:
            depth = self._site.queue.depth()
        except BrokerUnavailable:
            yield _gauge("regionmir_broker_up", "Whether Redis answers", 0)
            return
        yield _gauge("regionmir_broker_up", "Whether Redis answers", 1)
        yield _gauge("regionmir_queue_depth", "Wake-ups that wait for an index worker", depth)


def _of_database(session: "Session") -> Iterator[Metric]:
    now = site_figures(session)
    yield _by_state("regionmir_instances", "Instances by state", now.instances)
    yield _by_state("regionmir_deliveries", "Results to be delivered, by state", now.deliveries)
    yield _gauge(
        "regionmir_queue_age_seconds", "How long the oldest instance waits to be indexed", now.oldest_instance_s
    )
    yield _gauge("regionmir_delivery_age_seconds", "How long the oldest delivery is overdue", now.oldest_delivery_s)
    yield _gauge("regionmir_received_recent", "Instances that came in the last five minutes", now.received)
    yield _gauge("regionmir_indexed_recent", "Instances that were indexed in the last five minutes", now.indexed.count)
    waited = GaugeMetricFamily(
        "regionmir_index_seconds_recent", "Time from arrival to indexed, last five minutes", labels=["quantile"]
    )
    waited.add_metric(["0.5"], now.indexed.median_s)
    waited.add_metric(["0.95"], now.indexed.p95_s)
    yield waited
    yield _gauge("regionmir_studies_hidden", "Studies that their PACS has deleted", visibility.count_hidden(session))
    yield _gauge("regionmir_pacs_stopped", "PACSs that wait for an operator's consent", len(pacs.stopped(session)))
    yield _gauge("regionmir_objects_bytes", "Size of all current instances", instances.total_bytes(session))
    active = generations.active(session)
    if active is not None:
        model = {"name": active.info.name, "version": active.info.version, "weights": active.info.weights_sha256[:12]}
        yield InfoMetricFamily("regionmir_model", "The model that searches use", model)
    yield from _queries(now.queries)


def _by_state(name: str, documentation: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    return family


def _queries(queries: Iterable[RecentQueries]) -> Iterator[Metric]:
    asked = GaugeMetricFamily(
        "regionmir_queries_recent", "Queries of the last five minutes", labels=["kind", "outcome"]
    )
    taken = GaugeMetricFamily(
        "regionmir_query_seconds_recent", "Time to answer, last five minutes", labels=["kind", "outcome", "quantile"]
    )
    for recent in queries:
        asked.add_metric([recent.kind, recent.outcome], recent.count)
        taken.add_metric([recent.kind, recent.outcome, "0.5"], recent.median_ms / 1000)
        taken.add_metric([recent.kind, recent.outcome, "0.95"], recent.p95_ms / 1000)
    yield asked
    yield taken


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
