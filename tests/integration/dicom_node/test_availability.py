"""Instance Availability in answers to C-FIND: what is kept, what a PACS still has, and what nobody has."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from db import pacs, peers
from db.pacs import Pacs
from db.peers import Peer
from regionmir.core.identifiers import AETitle
from tests.support.find import KNOWN, PATIENT_ROOT, STUDY_ROOT, FindNode, find, find_node
from tests.support.postgres import TestDatabases
from tests.support.records import header
from tests.support.seed import SeedFilm

FILMS = [SeedFilm(header(study="1.2.1", series=f"1.2.1.{n}", sop=f"1.2.1.{n}.1", patient_id="P1")) for n in (1, 2)]
FILMS.append(SeedFilm(header(study="1.2.2", series="1.2.2.1", sop="1.2.2.1.1", patient_id="P1")))


@pytest.fixture
def node(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FindNode]:
    with find_node(databases, tmp_path_factory.mktemp("node"), FILMS) as running:
        run(running, "UPDATE instance SET kept = 'reduced' WHERE sop_instance_uid = '1.2.1.2.1'")
        yield running


def run(node: FindNode, statement: str) -> None:
    with node.database.session() as session:
        session.execute(text(statement))


def availability(node: FindNode, level: str, root: str = STUDY_ROOT, **keys: str) -> list[str]:
    found = find(node.port, level, root, calling=KNOWN, **keys)
    assert found.status == 0x0000
    return found.values("InstanceAvailability")


def every_level(node: FindNode) -> dict[str, list[str]]:
    """Return what the patient, both studies, the two series of the first and the film of its second say."""
    studies = find(node.port, "STUDY", calling=KNOWN, StudyInstanceUID="")
    by_uid = {row.StudyInstanceUID: row.InstanceAvailability for row in studies.rows}
    return {
        "PATIENT": availability(node, "PATIENT", PATIENT_ROOT, PatientID="P1"),
        "STUDY": [by_uid["1.2.1"], by_uid["1.2.2"]],
        "SERIES": availability(node, "SERIES", StudyInstanceUID="1.2.1", SeriesInstanceUID=""),
        "IMAGE": availability(node, "IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.2", SOPInstanceUID=""),
    }


def levels_with(worst: str) -> dict[str, list[str]]:
    return {"PATIENT": [worst], "STUDY": [worst, "ONLINE"], "SERIES": ["ONLINE", worst], "IMAGE": [worst]}


def test_the_least_of_what_is_below_is_told_at_every_level(node: FindNode) -> None:
    assert every_level(node) == levels_with("UNAVAILABLE")


@pytest.mark.parametrize("kind", ["orthanc", "dicom"])
def test_what_a_pacs_has_is_nearline_as_long_as_it_has_it_and_can_be_asked(node: FindNode, kind: str) -> None:
    with node.database.session() as session:
        pacs.upsert(session, Pacs("main", kind, url="http://127.0.0.1:1" if kind == "orthanc" else "", ae_title="PACS"))
    run(
        node,
        "INSERT INTO pacs_study (pacs, study_instance_uid, remote_id, state, reason) "
        "VALUES ('main', '1.2.1', '', 'imported', '')",
    )
    if kind == "dicom":
        assert every_level(node) == levels_with("UNAVAILABLE"), "its address is not known"
        with node.database.session() as session:
            peers.upsert(session, Peer(AETitle("PACS"), "127.0.0.1", 104))
    assert every_level(node) == levels_with("NEARLINE")
    run(node, "UPDATE pacs_study SET state = 'gone'")
    assert every_level(node) == levels_with("UNAVAILABLE")
