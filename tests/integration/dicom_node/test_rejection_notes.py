"""Rejection notes sent by dcmtk's storescu: what they reject leaves every answer, and stays away."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from db import audit, commitments, instances, removed
from db.removed import RemovedInstance
from regionmir.archive.removing import remove_objects
from regionmir.core.keeping import StoragePolicy
from regionmir.core.records import Disclosure
from tests.support.annotations import rejection_note
from tests.support.fake_model import FakeModel
from tests.support.films import save, synthetic_film
from tests.support.find import KNOWN, FindNode, find, find_node
from tests.support.postgres import TestDatabases
from workers.indexer import Indexer

FILMS = [synthetic_film(seed) for seed in range(6)]
LATE = synthetic_film(20)
SECOND = synthetic_film(21, StudyInstanceUID=FILMS[4].StudyInstanceUID, patient=4)


@dataclass
class Archive:
    """A node with a worker that works when it is told to, and senders: PACS may correct, MODALITY may not."""

    node: FindNode
    folder: Path
    dcmtk: Path
    indexer: Indexer

    def send(self, *objects: Dataset, calling: str = "PACS") -> str:
        paths = [save(made, self.folder / f"{made.SOPInstanceUID}.dcm") for made in objects]
        command = [str(self.dcmtk / "storescu"), "-v", "-aet", calling, "-aec", "REGIONMIR", "127.0.0.1"]
        run = subprocess.run([*command, str(self.node.port), *map(str, paths)], capture_output=True, timeout=60)
        self.indexer.drain()
        return (run.stdout + run.stderr).decode()

    def similar(self) -> set[str]:
        """Return the accession numbers of what is similar to the first film."""
        wanted = {"StudyDescription": f"SIM {FILMS[0].AccessionNumber} LLLZ", "AccessionNumber": ""}
        found = find(self.node.port, "STUDY", calling=KNOWN, called="RGN_LLLZ", **wanted)
        return set(found.values("AccessionNumber")) - {FILMS[0].AccessionNumber}

    def listed(self) -> set[str]:
        """Return the Study Instance UIDs that an ordinary query answers."""
        return set(find(self.node.port, "STUDY", calling=KNOWN, StudyInstanceUID="").values("StudyInstanceUID"))

    def taken_out(self, made: Dataset) -> RemovedInstance | None:
        with self.node.database.session() as session:
            return removed.get(session, made.SOPInstanceUID)

    def is_filed(self, made: Dataset) -> bool:
        with self.node.database.session() as session:
            return bool(instances.present(session, [made.SOPInstanceUID]))


@pytest.fixture(scope="module")
def archive(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory, dcmtk: Path) -> Iterator[Archive]:
    with find_node(databases, tmp_path_factory.mktemp("node")) as node:
        rights: dict[str, Any] = {"can_store": True, "disclosure": Disclosure.IDENTIFIED}
        node.register("PACS", **rights, can_correct=True)
        node.register("MODALITY", **rights)
        indexer = Indexer(node.database, node.node.store, FakeModel(), 4, lease_s=60)
        made = Archive(node, tmp_path_factory.mktemp("sent"), dcmtk, indexer)
        made.send(*FILMS, SECOND)
        yield made
        indexer.close()


def test_a_rejected_film_vanishes_from_answers_and_stays_away_when_it_is_sent_again(archive: Archive) -> None:
    assert FILMS[1].AccessionNumber in archive.similar()
    note = rejection_note("113001", FILMS[1])
    assert "Success" in archive.send(note)
    assert FILMS[1].AccessionNumber not in archive.similar()
    assert FILMS[1].StudyInstanceUID not in archive.listed(), "neither the film nor the note is shown"
    for made, why in ((FILMS[1], "quality"), (note, "note")):
        found = archive.taken_out(made)
        assert found is not None
        assert (found.why, found.is_kept, found.for_good, found.note_uid) == (why, True, False, note.SOPInstanceUID)
    assert "Success" in archive.send(FILMS[1], note, calling="MODALITY")
    assert not archive.is_filed(FILMS[1])
    with archive.node.database.session() as session:
        kept = commitments.kept(session, [FILMS[1].SOPInstanceUID, note.SOPInstanceUID], StoragePolicy.KEEP)
        told = audit.listing(session, kinds=["instances hidden"])
    assert len(kept) == 2, "its storage is still committed to"
    assert any(FILMS[1].PatientID in one.message and 'EventActionCode="D"' in one.message for one in told)


def test_what_is_rejected_before_it_comes_is_hidden_when_it_comes(archive: Archive) -> None:
    archive.send(rejection_note("113037", LATE))
    assert "Success" in archive.send(LATE, calling="MODALITY")
    assert not archive.is_filed(LATE)
    found = archive.taken_out(LATE)
    assert found is not None
    assert (found.why, found.is_kept, found.for_good) == ("safety", True, True)


def test_a_note_of_a_sender_that_may_not_correct_is_stored_and_does_nothing(archive: Archive) -> None:
    note = rejection_note("113001", FILMS[2])
    assert "Success" in archive.send(note, calling="MODALITY")
    assert archive.is_filed(note)
    assert FILMS[2].AccessionNumber in archive.similar()
    with archive.node.database.session() as session:
        [told] = audit.listing(session, kinds=["rejection refused"])
    assert told.detail == {"note": note.SOPInstanceUID, "why": "no right to correct"}
    assert 'csd-code="110113"' in told.message


def test_a_film_whose_retention_has_ended_is_deleted_and_new_when_it_comes_again(archive: Archive) -> None:
    before = len(list(archive.node.node.store.keys()))
    note = rejection_note("113039", FILMS[3])
    archive.send(note)
    assert FILMS[3].AccessionNumber not in archive.similar()
    assert remove_objects(archive.node.database, archive.node.node.store) == 1
    assert len(list(archive.node.node.store.keys())) == before, "one went, the note came"
    archive.send(FILMS[3], calling="MODALITY")
    assert FILMS[3].AccessionNumber in archive.similar()


def test_one_film_of_a_study_is_rejected_and_the_other_stays(archive: Archive) -> None:
    archive.send(rejection_note("113038", SECOND))
    assert not archive.is_filed(SECOND)
    assert archive.is_filed(FILMS[4])
    assert FILMS[4].StudyInstanceUID in archive.listed()


def test_a_note_rejects_nothing_of_another_patient(archive: Archive) -> None:
    note = rejection_note("113037", FILMS[4], FILMS[5])
    archive.send(note)
    assert not archive.is_filed(FILMS[4])
    assert archive.is_filed(FILMS[5])
    with archive.node.database.session() as session:
        assert audit.listing(session, kinds=["rejection refused"])[0].detail["why"] == "1 instances of another patient"
