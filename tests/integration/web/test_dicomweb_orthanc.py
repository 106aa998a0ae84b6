"""Orthanc's DICOMweb plug-in as a peer: it queries and retrieves from us, and sends to us."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless

from db import instances
from db.engine import Database
from tests.conftest import absent
from tests.support.films import synthetic_film
from tests.support.orthanc import PROGRAM, RunningOrthanc, running_orthanc
from tests.support.web_server import WebServer, url_of, web_server

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path / "web", url_of(database)) as server:
        server.sign_in()
        yield server


@pytest.fixture
def orthanc(served: WebServer, tmp_path: Path) -> Iterator[RunningOrthanc]:
    if not PROGRAM.is_file() or not PLUGIN.is_file():
        absent("Orthanc with its DICOMweb plug-in (apt-get install orthanc orthanc-dicomweb)")
    server = {"Url": f"{served.dicomweb}/", "ChunkedTransfers": True, "HasWadoRsUniversalTransferSyntax": True}
    dicomweb = {"Servers": {"regionmir": server}}
    with running_orthanc(tmp_path / "orthanc", plugins=[PLUGIN], configuration={"DicomWeb": dicomweb}) as running:
        yield running


def test_orthanc_finds_and_retrieves_our_studies(served: WebServer, orthanc: RunningOrthanc) -> None:
    films = [
        synthetic_film(1, rows=32, columns=32),
        synthetic_film(2, rows=32, columns=32, transfer_syntax_uid=JPEG2000Lossless),
    ]
    served.file(*films)
    asked = {"Uri": "/studies", "Arguments": {"PatientID": films[1].PatientID}}
    [found] = orthanc.http.post("/dicom-web/servers/regionmir/qido", json=asked).raise_for_status().json()
    assert films[1].StudyInstanceUID in str(found)
    wanted = {"Resources": [{"Study": film.StudyInstanceUID} for film in films], "Synchronous": True}
    orthanc.http.post("/dicom-web/servers/regionmir/retrieve", json=wanted).raise_for_status()
    assert orthanc.study_uids() == {film.StudyInstanceUID for film in films}


def test_orthanc_sends_its_studies_to_us(served: WebServer, orthanc: RunningOrthanc) -> None:
    film = synthetic_film(3, rows=512, columns=512)
    orthanc.upload(film)
    study = orthanc.study_id(film.StudyInstanceUID)
    asked = {"Resources": [study], "Synchronous": True}
    orthanc.http.post("/dicom-web/servers/regionmir/stow", json=asked).raise_for_status()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with served.site.archive.database.session() as session:
            filed = [one.sop_instance_uid for one in instances.listing(session)]
        if filed:
            break
        time.sleep(0.1)
    assert filed == [film.SOPInstanceUID]
