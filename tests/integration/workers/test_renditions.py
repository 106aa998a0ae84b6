"""Renditions of films: an index worker keeps them, where that is allowed, and they go with the object they are of."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import text

from db import instances, peers, removal, retention, roles
from db.engine import Database
from db.peers import Peer
from db.removal import Removal
from db.removed import Again
from db.renditions import Drawn
from db.retention import Terms
from regionmir.archive import renditions
from regionmir.archive.renditions import make_missing
from regionmir.archive.retention import Retention
from regionmir.core.identifiers import AETitle
from regionmir.core.keeping import StoragePolicy
from regionmir.pixels.decode import display_image
from regionmir.pixels.layout import DEFAULT_MAX_PIXELS
from regionmir.pixels.rendition import rendition
from regionmir.storage import FileStore
from tests.support.fake_model import FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from workers.indexer import Indexer

KEEP, REDUCED, REGIONS = StoragePolicy.KEEP, StoragePolicy.REDUCED, StoragePolicy.REGIONS


@dataclass
class Archive:
    """A database with its objects."""

    database: Database
    store: FileStore

    def index(self, *films: Dataset, source: str = "TEST", policy: StoragePolicy = KEEP) -> None:
        for film in films:
            file_film(self.database, self.store, film, source_ae=source)
        indexer = Indexer(self.database, self.store, FakeModel(), 4, lease_s=60, storage_policy=policy)
        indexer.drain()
        indexer.close()

    def kept(self) -> dict[str, bytes]:
        """Return the renditions that are kept, by the SOP Instance UID of their film."""
        query = "SELECT sop_instance_uid, jpeg FROM instance JOIN rendition ON instance_pk = pk"
        with self.database.session() as session:
            found = session.execute(text(query)).all()
            assert session.execute(text("SELECT count(*) FROM rendition")).scalar_one() == len(found)
        return {uid: bytes(jpeg) for uid, jpeg in found}

    def run(self, terms: Terms) -> None:
        """Apply retention rules to films that have come two hours ago."""
        with self.database.session() as session:
            session.execute(text("UPDATE instance SET received_at = now() - interval '2 hours'"))
        Retention(self.database, self.store, terms, DEFAULT_MAX_PIXELS).run()

    def make_missing(self, policy: StoragePolicy = KEEP) -> tuple[int, int]:
        done = make_missing(self.database, self.store, policy, DEFAULT_MAX_PIXELS)
        return done.made, done.left


@pytest.fixture
def archive(database: Database, tmp_path: Path) -> Archive:
    return Archive(database, FileStore(tmp_path))


def film(number: int, **options: object) -> Dataset:
    return synthetic_film(number, **{"rows": 128, "columns": 96, **options})


def test_every_indexed_film_has_the_rendition_that_would_be_drawn_now(archive: Archive) -> None:
    films = [film(1), film(2, rows=900, columns=700, bits=12)]
    archive.index(*films, film(3, ViewPosition="LL"))
    assert archive.kept() == {str(one.SOPInstanceUID): rendition(display_image(one)) for one in films}


def test_films_whose_pixels_may_name_a_patient_have_none(archive: Archive) -> None:
    archive.index(
        film(1, BurnedInAnnotation="YES"),
        film(2, kind="SC", BurnedInAnnotation=None),
        film(3, BurnedInAnnotation=["NO", "YES"]),
        fine := film(4, kind="SC", BurnedInAnnotation="NO"),
    )
    assert set(archive.kept()) == {fine.SOPInstanceUID}
    assert archive.make_missing() == (0, 0)
    assert set(archive.kept()) == {fine.SOPInstanceUID}


def test_where_nothing_but_regions_is_kept_there_is_none_from_the_beginning(archive: Archive) -> None:
    with archive.database.session() as session:
        peers.upsert(session, Peer(AETitle("BARE"), storage=REGIONS))
        peers.upsert(session, Peer(AETitle("WHOLE"), storage=KEEP))
    archive.index(film(1), source="BARE")
    archive.index(film(2), policy=REGIONS)
    archive.index(whole := film(3), source="WHOLE", policy=REGIONS)
    assert set(archive.kept()) == {whole.SOPInstanceUID}
    assert archive.make_missing(REGIONS) == (0, 0)


@pytest.mark.parametrize("level", ["instance", "study", "patient"])
def test_deleting_leaves_none_behind(archive: Archive, level: removal.Level) -> None:
    gone, stays = film(1), film(2)
    archive.index(gone, stays)
    with archive.database.session() as session:
        key = session.execute(text("SELECT key FROM patient WHERE patient_id = :p"), {"p": gone.PatientID}).scalar_one()
        name = {"instance": gone.SOPInstanceUID, "study": gone.StudyInstanceUID, "patient": key}[level]
        removal.remove(session, removal.named(level, str(name)), Removal("operator", "by mistake"))
    assert set(archive.kept()) == {stays.SOPInstanceUID}


def test_a_rejected_film_whose_object_is_kept_has_none(archive: Archive) -> None:
    archive.index(hidden := film(1))
    with archive.database.session() as session:
        by = Removal("operator", "bad quality", again=Again.HIDE, keep=True)
        removal.remove(session, removal.named("instance", str(hidden.SOPInstanceUID)), by)
    assert archive.kept() == {}


def test_none_outlives_its_object_and_a_reduced_copy_goes_on_with_it(archive: Archive) -> None:
    with archive.database.session() as session:
        peers.upsert(session, Peer(AETitle("BARE"), storage=REGIONS))
    archive.index(reduced := film(1))
    before = archive.kept()
    archive.index(film(2), source="LATER")
    with archive.database.session() as session:
        session.execute(text("UPDATE instance SET source_ae = 'BARE' WHERE source_ae = 'LATER'"))
    archive.run(Terms(storage=REDUCED))
    assert archive.kept() == before
    with archive.database.session() as session:
        kept = dict(session.execute(text("SELECT sop_instance_uid, kept FROM instance")).all())
    assert sorted(kept.values()) == ["nothing", "reduced"]
    assert kept[reduced.SOPInstanceUID] == "reduced"
    archive.run(Terms(storage=REGIONS))
    assert archive.kept() == {}


def test_another_version_of_a_film_takes_the_rendition_of_the_first_away_at_once(archive: Archive) -> None:
    archive.index(first := film(1))
    second = film(9)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "PatientName"):
        setattr(second, keyword, getattr(first, keyword))
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    second.PatientBirthDate, second.PatientSex = first.PatientBirthDate, first.PatientSex
    file_film(archive.database, archive.store, second)
    assert archive.kept() == {}
    archive.index()
    assert archive.kept() == {str(first.SOPInstanceUID): rendition(display_image(second))}


def test_one_that_was_drawn_from_what_is_no_longer_kept_is_not_kept(archive: Archive) -> None:
    archive.index(one := film(1))
    with archive.database.session() as session:
        found = instances.detail(session, str(one.SOPInstanceUID))
        assert found is not None
        session.execute(text("DELETE FROM rendition"))
        pk, key = found.summary.pk, found.storage_key
        assert not renditions.keep(
            session, [Drawn(pk, key.replace(key[6], "0" if key[6] != "0" else "1", 1), b"x")], KEEP
        )
        assert renditions.keep(session, [Drawn(pk, key, b"x")], KEEP)
        assert retention.reduce(session, retention.due(session, Terms(storage=REGIONS, settle_s=-60))[0], None)
        assert not renditions.keep(session, [Drawn(pk, key, b"x")], KEEP)
    assert archive.kept() == {}


def test_an_archive_indexed_before_gets_them_and_what_cannot_be_drawn_is_told(archive: Archive) -> None:
    films = [film(number) for number in range(3)]
    archive.index(*films)
    before = archive.kept()
    with archive.database.session() as session:
        session.execute(text("DELETE FROM rendition WHERE instance_pk <> (SELECT min(instance_pk) FROM rendition)"))
        session.execute(text("UPDATE rendition SET drawn_by = 'an older way', jpeg = 'old'"))
        found = instances.detail(session, str(films[2].SOPInstanceUID))
    assert found is not None
    archive.store.delete(found.storage_key)
    assert archive.make_missing() == (2, 1)
    assert archive.kept() == {uid: jpeg for uid, jpeg in before.items() if uid != films[2].SOPInstanceUID}
    assert archive.make_missing() == (0, 1)


def test_the_processes_may_keep_them_and_the_node_takes_one_away_with_a_version(
    database: Database, archive: Archive
) -> None:
    archive.index(film(1))
    admin = database.url.set(username="postgres").render_as_string(hide_password=False)
    owner = Database(admin, application_name="administrator")
    roles.apply(owner)
    with owner.session() as session:
        session.execute(text(f"SET LOCAL ROLE {roles.NODE}"))
        session.execute(text("UPDATE instance SET storage_key = 'another'"))
    owner.close()
    assert archive.kept() == {}
