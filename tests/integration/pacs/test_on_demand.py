"""What is no longer kept is fetched from the PACS that has it when somebody retrieves it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless
from sqlalchemy import text

from db import pacs, peers
from db.engine import Database
from db.pacs import Pacs
from db.peers import Peer
from db.retention import Terms
from regionmir.archive.retention import Retention
from regionmir.core.identifiers import AETitle
from regionmir.core.keeping import StoragePolicy
from regionmir.core.records import Disclosure
from regionmir.pacs.source import follower
from regionmir.scu.get import get, save_into, storage_contexts
from regionmir.storage import FileStore
from tests.conftest import absent
from tests.support.dicom import radiograph
from tests.support.find import find
from tests.support.orthanc import PROGRAM, RunningOrthanc, running_orthanc
from tests.support.running_node import RunningNode, running_node


def import_and_forget(database: Database, data: Path, orthanc: RunningOrthanc, node: RunningNode, kind: str) -> Dataset:
    """Import a film from an Orthanc, and remove its object by policy."""
    film = radiograph("P1", size=64)
    orthanc.upload(film)
    settings = node.node.settings
    one = Pacs("main", url=orthanc.url, ae_title=orthanc.title)
    with database.session() as session:
        title = AETitle(orthanc.title)
        peers.upsert(session, Peer(title, "127.0.0.1", orthanc.dicom_port, storage=StoragePolicy.REGIONS))
        viewer = Peer(AETitle("VIEWER"), can_find=True, can_retrieve=True, disclosure=Disclosure.IDENTIFIED)
        peers.upsert(session, viewer)
        pacs.upsert(session, one)
    follows = follower(settings, database, one)
    follows.begin()
    assert follows.import_all().imported == 1
    follows.api.close()
    with database.session() as session:
        session.execute(text("UPDATE instance SET state = 'unsupported', received_at = now() - interval '2 hours'"))
        session.execute(text("UPDATE pacs SET kind = :kind"), {"kind": kind})
    for path in data.glob("objects/*/*/*.dcm"):
        os.utime(path, times=(time.time() - 7200,) * 2)
    assert Retention(database, FileStore(data), Terms(), 10**8).run().files == 1
    assert not list(data.glob("objects/*/*/*.dcm"))
    return film


def retrieved(node: RunningNode, film: Dataset, folder: Path) -> tuple[int, list[Path]]:
    """Return the status of a C-GET of the film's study, and the files that came."""
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", film.StudyInstanceUID
    folder.mkdir()
    answer = get(node.peer, "VIEWER", keys, save_into(folder), storage=storage_contexts([film.SOPClassUID]))
    return answer.status.code, list(folder.iterdir())


def availability(node: RunningNode, film: Dataset) -> str:
    """Return what a C-FIND of the film's study says of where it is."""
    return find(node.peer.port, "STUDY", calling="VIEWER", StudyInstanceUID=film.StudyInstanceUID).values(
        "InstanceAvailability"
    )[0]


@contextmanager
def orthanc_and_node(database: Database, tmp_path: Path) -> Iterator[tuple[RunningOrthanc, RunningNode, Path]]:
    """Run a node, and an Orthanc that knows it."""
    if not PROGRAM.is_file():
        absent("Orthanc (apt-get install orthanc)")
    with running_node(database, tmp_path / "data") as node:
        known = {"us": (str(node.peer.ae_title), node.peer.port)}
        with running_orthanc(tmp_path / "orthanc", modalities=known) as orthanc:
            yield orthanc, node, tmp_path / "data"


@pytest.mark.parametrize("kind", ["orthanc", "dicom"])
def test_a_film_that_is_not_kept_is_fetched_and_sent_as_it_came(kind: str, database: Database, tmp_path: Path) -> None:
    with orthanc_and_node(database, tmp_path) as (orthanc, node, data):
        film = import_and_forget(database, data, orthanc, node, kind)
        assert availability(node, film) == "NEARLINE"
        status, files = retrieved(node, film, tmp_path / "got")
        assert availability(node, film) == "ONLINE"
        assert (status, len(files)) == (0x0000, 1)
        got = dcmread(files[0])
        assert (got.SOPInstanceUID, got.PixelData) == (film.SOPInstanceUID, film.PixelData)
        with database.session() as session:
            assert session.execute(text("SELECT kept, count(*) FROM instance GROUP BY kept")).all() == [("object", 1)]


def test_a_film_that_its_pacs_has_in_another_transfer_syntax_is_the_same_instance(
    database: Database, tmp_path: Path
) -> None:
    with orthanc_and_node(database, tmp_path) as (orthanc, node, data):
        film = import_and_forget(database, data, orthanc, node, "orthanc")
        orthanc.delete(film.StudyInstanceUID)
        film.compress(JPEG2000Lossless, generate_instance_uid=False)
        packed = BytesIO()
        film.save_as(packed, enforce_file_format=True)
        orthanc.http.post("/instances", content=packed.getvalue()).raise_for_status()
        status, files = retrieved(node, film, tmp_path / "got")
        assert (status, len(files)) == (0x0000, 1)
        with database.session() as session:
            now = "SELECT state, kept, transfer_syntax_uid FROM instance"
            assert session.execute(text(now)).all() == [("unsupported", "object", JPEG2000Lossless)]
            assert session.execute(text("SELECT count(*) FROM instance_version")).scalar_one() == 0


def test_a_film_that_cannot_be_fetched_is_a_failed_sub_operation(database: Database, tmp_path: Path) -> None:
    with orthanc_and_node(database, tmp_path) as (orthanc, node, data):
        film = import_and_forget(database, data, orthanc, node, "orthanc")
        orthanc.delete(film.StudyInstanceUID)
        status, files = retrieved(node, film, tmp_path / "got")
    assert status == 0xA702
    assert files == []
