"""A decoder that crashes, hangs or takes all memory, in the indexer: it costs one instance."""

from pathlib import Path

import pytest

from db import instances
from db.engine import Database
from regionmir import sandbox
from regionmir.core.records import InstanceState
from regionmir.sandbox import Limits, Sandbox
from regionmir.storage import FileStore
from tests.support import faulty_reading
from tests.support.fake_model import FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from workers import reading
from workers.indexer import Indexer

REASONS = {
    "CRASH": "decoder crashed",
    "HANG": "decoding takes too long",
    "GROW": "needs too much memory",
    "LEAVE": "decoder crashed",
}


def test_a_decoder_that_crashes_hangs_or_takes_all_memory_costs_its_instance_only(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    small = Sandbox(Limits(memory_bytes=1 << 30, call_s=6.0))
    request.addfinalizer(small.close)
    monkeypatch.setattr(sandbox, "shared", lambda: small)
    monkeypatch.setattr(reading, "_read", faulty_reading.read_or_fail)
    store = FileStore(tmp_path)
    described = ["fine", "CRASH", "fine", "HANG", "GROW", "fine", "LEAVE", "fine"]
    films = [synthetic_film(seed, rows=64, columns=64, StudyDescription=words) for seed, words in enumerate(described)]
    for film in films:
        file_film(database, store, film)
    indexer = Indexer(database, store, FakeModel(), 3, lease_s=60)
    assert indexer.drain() == len(films)
    indexer.close()
    with database.session() as session:
        found = {one.sop_instance_uid: (one.state, one.reason) for one in instances.listing(session)}
    for film, words in zip(films, described, strict=True):
        expected = (InstanceState.FAILED, REASONS[words]) if words in REASONS else (InstanceState.INDEXED, "")
        assert found[film.SOPInstanceUID] == expected
