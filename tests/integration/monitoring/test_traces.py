"""Traces: from the association that brought a film, over indexing, to the answer; off unless they are asked for."""

import hashlib
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from db import peers
from db.engine import Database
from db.peers import Peer
from regionmir.core.identifiers import AETitle
from regionmir.core.settings import load_settings
from regionmir.monitoring import tracing
from tests.support.dicom import associate, store
from tests.support.fake_model import FakeModel
from tests.support.films import synthetic_film
from tests.support.postgres import TestDatabases
from tests.support.running_node import RunningNode, running_node
from workers.answering import Answering
from workers.indexer import Indexer

SENDER = Peer(AETitle("SENDER"), "127.0.0.1", 104, can_store=True, can_find=True, results_to="SENDER")
FILM = synthetic_film(0, rows=64, columns=64)
OTHER = synthetic_film(1, rows=64, columns=64)


def _work(node: RunningNode) -> None:
    """Send two films, one of them with the wish to know what is similar; index both and answer."""
    for film, called in ((OTHER, "REGIONMIR"), (FILM, "RGN_LLLZ")):
        assoc = associate(node.peer.port, calling="SENDER", called=called)
        assert store(assoc, film).status == 0x0000
        assoc.release()
    indexer = Indexer(node.node.database, node.node.store, FakeModel(), 4, lease_s=60)
    indexer.drain()
    indexer.close()
    assert Answering(node.node.database, 3).answer_waiting() == 1


@pytest.fixture(scope="module")
def spans(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> tuple[ReadableSpan, ...]:
    """Return what was traced of two films and one answer."""
    exporter, folder, url = InMemorySpanExporter(), tmp_path_factory.mktemp("traced"), databases.migrated()
    database = Database(url, application_name="test")
    with database.session() as session:
        peers.upsert(session, SENDER)
    stop = tracing.start_tracing(load_settings(data_dir=folder, trace=True), "test", exporter)
    try:
        with running_node(database, folder) as node:
            _work(node)
    finally:
        stop()
        database.close()
        databases.drop(url)
    return exporter.get_finished_spans()


def _trace(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def test_one_trace_leads_a_film_from_its_arrival_over_indexing_to_the_answer(spans: tuple[ReadableSpan, ...]) -> None:
    (answer,) = [span for span in spans if span.name == "answer"]
    of_film = [span.name for span in spans if _trace(span) == _trace(answer)]
    assert of_film == ["keep", "file", "read", "write", "answer"]
    assert len({_trace(span) for span in spans if span.name == "keep"}) == 2  # each film has a trace of its own


def test_the_trace_of_a_film_is_linked_to_the_association_that_brought_it(spans: tuple[ReadableSpan, ...]) -> None:
    by_id = {span.context.span_id: span for span in spans if span.context is not None}
    for kept in (span for span in spans if span.name == "keep"):
        (link,) = kept.links
        request = by_id[link.context.span_id]
        assert request.name == "C-STORE"
        assert request.parent is not None
        assert _trace(request) != _trace(kept)


def test_spans_tell_nothing_of_a_patient_and_their_numbers_need_the_site_key(spans: tuple[ReadableSpan, ...]) -> None:
    told = "".join(span.to_json() for span in spans)
    for secret in (str(FILM.PatientName), str(FILM.PatientID), str(FILM.SOPInstanceUID), "SENDER"):
        assert secret not in told
    plain = int.from_bytes(hashlib.sha256(str(FILM.SOPInstanceUID).encode()).digest()[:16], "big")
    assert plain not in {_trace(span) for span in spans}


def test_nothing_is_traced_unless_the_settings_say_so(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    stop = tracing.start_tracing(load_settings(data_dir=tmp_path), "test", exporter)
    with tracing.span("read", FILM.SOPInstanceUID):
        pass
    stop()
    assert exporter.get_finished_spans() == ()
