"""The whole circle with Orthanc as the PACS, by its own recipe, and send to query with dcmtk as the viewer."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydicom import dcmread

from regionmir.admin.demo.instance import Instance
from regionmir.pixels.dicomize import WrittenFilm
from tests.conftest import absent
from tests.support.end_to_end import command, find_similar, new_instance, real_films, run_tool, wait_until_final
from tests.support.orthanc import PROGRAM, RunningOrthanc, running_orthanc
from tests.support.peers import storescp
from tests.support.ports import free_port
from tests.support.validation import complaints, said_by

RECIPE = Path(__file__).resolve().parents[2] / "deploy" / "orthanc" / "regionmir.lua"
NEIGHBOURS = 6
"""Films that are here before: the first study of the archive has somebody to be similar to."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Circle:
    """RegionMIR and an Orthanc that routes to it all that it stores, whoever sent it."""

    instance: Instance
    orthanc: RunningOrthanc
    dcmtk: Path
    folder: Path
    films: tuple[WrittenFilm, ...]
    """In the archive."""
    neighbours: tuple[WrittenFilm, ...]

    def path(self, film: WrittenFilm) -> Path:
        return self.folder / "dicom" / film.file

    def count(self, statement: str) -> int:
        with psycopg.connect(self.instance.settings().require_database_url()) as connection:
            return int(connection.execute(statement).fetchone()[0])  # type: ignore[index, call-overload]

    def series(self) -> dict[str, dict[str, str]]:
        """Return by Study Instance UID the series that Orthanc has: its identifiers by modality."""
        uids = {one["ID"]: one["MainDicomTags"]["StudyInstanceUID"] for one in self._expanded("studies")}
        found: dict[str, dict[str, str]] = {}
        for one in self._expanded("series"):
            found.setdefault(uids[one["ParentStudy"]], {})[one["MainDicomTags"]["Modality"]] = one["ID"]
        return found

    def patients(self) -> dict[str, str]:
        """Return PatientID by Study Instance UID, as Orthanc files them."""
        found = self._expanded("studies")
        return {one["MainDicomTags"]["StudyInstanceUID"]: one["PatientMainDicomTags"]["PatientID"] for one in found}

    def fetch(self, series: str, path: Path) -> Path:
        (instance,) = self.orthanc.http.get(f"/series/{series}").json()["Instances"]
        path.write_bytes(self.orthanc.http.get(f"/instances/{instance}/file").content)
        return path

    def _expanded(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.orthanc.http.get(f"/{kind}?expand").json()
        return found


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory, shared_or_demo: Path | None, dcmtk: Path) -> Iterator[Circle]:
    if not PROGRAM.is_file():
        absent("Orthanc (apt-get install orthanc)")
    folder = tmp_path_factory.mktemp("circle")
    count = int(os.environ.get("REGIONMIR_TEST_FILMS", "12" if shared_or_demo is None else "50"))
    films = real_films(folder, shared_or_demo, count + NEIGHBOURS)
    hook = free_port()
    environment = {
        "REGIONMIR_RESULT_REGIONS": "RL",
        "REGIONMIR_QUIET_S": "2",
        "REGIONMIR_PACS_SYNC_S": "2",
        "REGIONMIR_PACS_HOOK_PORT": str(hook),
    }
    told = {
        "REGIONMIR_HOOK": f"http://127.0.0.1:{hook}/pacs/main/deleted",
        "REGIONMIR_AE_TITLE": "NOBODY",  # a careless rule: what we send goes back to us
    }
    with new_instance(folder / "node", environment) as instance:
        known = {"regionmir": ("REGIONMIR", instance.dicom_port)}
        with running_orthanc(folder / "orthanc", modalities=known, lua=RECIPE, environment=told) as orthanc:
            made = Circle(instance, orthanc, dcmtk, folder, films[NEIGHBOURS:], films[:NEIGHBOURS])
            _register(made)
            yield made


def _register(circle: Circle) -> None:
    port, instance = str(circle.orthanc.dicom_port), circle.instance
    at_orthanc = ("--host", "127.0.0.1", "--port", port, "--source", "127.0.0.1")
    known = ("--disclosure", "identified", "--results-to", "ORTHANC", "--results", "sr,sheet")
    command(instance, "peers", "add", "ORTHANC", *at_orthanc, *known)
    command(instance, "peers", "add", "RESEARCH", *at_orthanc, "--accepts-pseudonyms")
    command(instance, "pacs", "add", "main", "--url", circle.orthanc.url, "--ae-title", "ORTHANC")
    _send(circle, circle.neighbours, "LOADER", "REGIONMIR")
    wait_until_final(instance, NEIGHBOURS, 120)


def _send(circle: Circle, films: tuple[WrittenFilm, ...], calling: str, called: str) -> None:
    paths = [str(circle.path(film)) for film in films]
    port = str(circle.instance.dicom_port)
    run_tool(str(circle.dcmtk / "storescu"), "-aet", calling, "-aec", called, "127.0.0.1", port, *paths)


def wait_for(what: str, holds: Callable[[], bool], deadline_s: float = 180) -> None:
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.5)


def test_films_stored_in_the_archive_get_report_and_sheet_under_their_patient_and_study(circle: Circle) -> None:
    circle.orthanc.upload(*(dcmread(circle.path(film)) for film in circle.films))
    uids = {film.study_instance_uid for film in circle.films}
    began = time.monotonic()
    wait_for(
        "a report and a sheet in every study",
        lambda: all({"SR", "OT"} <= set(circle.series().get(uid, {})) for uid in uids),
    )
    print(f"{len(uids)} studies: routed, indexed, report and sheet back in {time.monotonic() - began:.1f} s")
    assert circle.patients() == {film.study_instance_uid: film.patient_id for film in circle.films}
    assert {len(series) for series in circle.series().values()} == {3}


def test_what_arrived_is_well_formed_and_names_nobody_else(circle: Circle, tmp_path: Path) -> None:
    for tool in ("dciodvfy", "dsrdump"):
        if not Path("/usr/bin", tool).is_file():
            absent(f"{tool} (apt-get install dicom3tools dcmtk)")
    film = circle.films[0]
    series = circle.series()[film.study_instance_uid]
    others = [one for one in (*circle.films, *circle.neighbours) if one is not film]
    for modality in ("SR", "OT"):
        path = circle.fetch(series[modality], tmp_path / f"{modality}.dcm")
        assert complaints(said_by("/usr/bin/dciodvfy", path)) == []
        content = path.read_bytes()
        assert film.patient_id.encode() in content
        assert not any(one.patient_id.encode() in content for one in others)
    assert complaints(said_by("/usr/bin/dsrdump", tmp_path / "SR.dcm")) == []


def test_the_code_on_the_sheet_opens_the_same_answer_in_a_query(circle: Circle, tmp_path: Path) -> None:
    series = circle.series()[circle.films[0].study_instance_uid]
    sheet = dcmread(circle.fetch(series["OT"], tmp_path / "sheet.dcm"))
    code = str(sheet.SeriesDescription).split("SIM ")[1]
    answers = find_similar(circle.dcmtk, circle.instance, "RL", code, calling="ORTHANC")
    told = [answer["StudyDescription"].split()[1:4] for answer in answers]
    assert told == [[code, "RL", f"#{rank:03d}"] for rank in range(1, len(told) + 1)]
    assert len(told) >= NEIGHBOURS - 1


def test_a_film_sent_to_a_region_has_its_report_at_the_senders_destination(circle: Circle) -> None:
    arrived = circle.folder / "arrived"
    arrived.mkdir()
    with storescp(circle.dcmtk, arrived) as pacs:
        where = ("--host", "127.0.0.1", "--port", str(pacs.port), "--source", "127.0.0.1")
        known = ("--disclosure", "identified")
        command(circle.instance, "peers", "add", "RECEIVER", *where, *known)
        command(circle.instance, "peers", "add", "VIEWER", *known, "--source", "127.0.0.1", "--results-to", "RECEIVER")
        _send(circle, circle.neighbours[:1], "VIEWER", "RGN_RL")
        sent = "SELECT count(*) FROM delivery WHERE destination = 'RECEIVER' AND state = 'delivered'"
        wait_for("a report", lambda: circle.count(sent) == 1, 60)
        (path,) = arrived.iterdir()
    report = dcmread(path)
    film = circle.neighbours[0]
    assert (report.PatientID, report.StudyInstanceUID) == (film.patient_id, film.study_instance_uid)


def test_what_is_deleted_in_the_archive_is_in_no_answer(circle: Circle) -> None:
    anchor, k = circle.neighbours[0].accession_number, len(circle.films) + NEIGHBOURS

    def hits() -> set[str]:
        answers = find_similar(circle.dcmtk, circle.instance, "RL", f"{anchor} k={k}", calling="ORTHANC")
        return {answer["StudyInstanceUID"] for answer in answers}

    gone = circle.films[1].study_instance_uid
    assert gone in hits()
    circle.orthanc.delete(gone)
    wait_for("the deleted study to be gone", lambda: gone not in hits(), 60)
    assert circle.films[2].study_instance_uid in hits()


def test_a_copy_that_the_archive_routes_back_changes_nothing(circle: Circle) -> None:
    hit = circle.films[2].study_instance_uid
    before = circle.count("SELECT count(*) FROM embedding"), circle.count("SELECT count(*) FROM delivery")
    run_tool(
        str(circle.dcmtk / "movescu"), "-S", "-aet", "ORTHANC", "-aem", "RESEARCH", "-aec", "REGIONMIR",
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={hit}", "127.0.0.1",
        str(circle.instance.dicom_port),
    )  # fmt: skip
    assert any(patient.startswith("RGN-") for patient in circle.patients().values())
    own = "SELECT count(*) FROM instance WHERE reason = 'own_copy'"
    wait_for("the copy to come back", lambda: circle.count(own) == 1, 60)
    time.sleep(5)  # longer than the quiet time: nothing is made of it
    after = circle.count("SELECT count(*) FROM embedding"), circle.count("SELECT count(*) FROM delivery")
    assert after == before
    waiting = json.loads(command(circle.instance, "deliveries", "list", "--state", "dead", "--json"))
    assert waiting == []
