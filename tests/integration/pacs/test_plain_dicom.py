"""Back-fill from an archive that only speaks DICOM: a real Orthanc, asked by C-FIND and C-MOVE."""

import datetime as dt
from pathlib import Path

import pytest

from db import instances, pacs, peers
from db.engine import Database
from db.pacs import Pacs
from db.peers import Peer
from regionmir.core.errors import PeerUnavailable
from regionmir.core.identifiers import AETitle, parse_ae_title
from regionmir.pacs.dicom import dicom_backfill
from tests.conftest import absent
from tests.support.dicom import radiograph
from tests.support.orthanc import PROGRAM, running_orthanc
from tests.support.running_node import running_node


def test_studies_of_each_day_are_moved_to_us_and_only_those_wanted(database: Database, tmp_path: Path) -> None:
    if not PROGRAM.is_file():
        absent("Orthanc (apt-get install orthanc)")
    films = [radiograph(f"P{n}", size=8, StudyDate=f"2020010{n}", Modality="CR") for n in range(1, 6)]
    ct = radiograph("P9", size=8, StudyDate="20200102", Modality="CT")
    with running_node(database, tmp_path / "data") as node:
        known = {"us": (node.peer.ae_title, node.peer.port)}
        with running_orthanc(tmp_path / "orthanc", modalities=known) as orthanc:
            orthanc.upload(*films, ct)
            with database.session() as session:
                title = AETitle("ORTHANC")
                peers.upsert(session, Peer(title, host="127.0.0.1", port=orthanc.dicom_port, can_store=True))
                one = Pacs("old", kind="dicom", ae_title="ORTHANC", modalities=("CR", "DX"))
                pacs.upsert(session, one)
            backfill = dicom_backfill(database, one, parse_ae_title(node.peer.ae_title))
            days = list(backfill.find_studies(dt.date(2020, 1, 1), dt.date(2020, 1, 4)))
            done = backfill.import_waiting()
            again = backfill.import_waiting()
    assert [count for _, count in days] == [1, 1, 1, 1]
    assert (done.imported, done.instances, done.failed, again.imported) == (4, 4, 0, 0)
    with database.session() as session:
        filed = {found.sop_instance_uid for found in instances.listing(session)}
    assert filed == {film.SOPInstanceUID for film in films[:4]}


def test_an_archive_without_an_address_is_said_to_need_one(database: Database) -> None:
    with pytest.raises(PeerUnavailable, match="regionmir peers add"):
        dicom_backfill(database, Pacs("old", kind="dicom", ae_title="OLD"), parse_ae_title("REGIONMIR"))
