"""Deleting through the JSON API, and what DICOMweb gives of a patient that was corrected."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from db import audit, patients
from db.patients import By, Changes
from tests.support.api import Api, instance_id, running_api
from tests.support.filing import PSEUDONYMIZER
from tests.support.films import synthetic_film
from tests.support.postgres import TestDatabases
from tests.support.web_client import WebClient

FILMS = tuple(synthetic_film(seed, rows=128, columns=96) for seed in range(5))


@pytest.fixture(scope="module")
def api(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    url = databases.migrated()
    with running_api(url, tmp_path_factory.mktemp("api"), FILMS) as running:
        yield running
    databases.drop(url)


def remove(api: Api, token: str, level: str, name: str, **more: Any) -> Any:
    wanted = {"level": level, "id": name, "reason": "withdrew consent", **more}
    return api.request("POST", "/removals", token, json=wanted)


def hits(api: Api) -> set[str]:
    found = api.ask(api.identified, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"]).json()
    return {hit["instance"]["original"]["accession_number"] for hit in found["hits"]}


def test_only_an_admin_deletes_and_what_is_deleted_is_gone_with_its_objects(api: Api) -> None:
    admin = api.token("chief", scopes=["query", "read", "write", "admin"])
    film: Dataset = FILMS[1]
    study = PSEUDONYMIZER.uid("study", film.StudyInstanceUID)
    refused = remove(api, api.identified, "study", study)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-allowed")
    assert remove(api, admin, "study", film.StudyInstanceUID).status_code == 404, "ids are pseudonyms"

    dry = remove(api, admin, "study", study, dry_run=True)
    assert (dry.status_code, dry.json()["instances"], dry.json()["dry_run"]) == (200, 1, True)
    assert film.AccessionNumber in hits(api)

    objects = len(list(api.store.keys()))
    done = remove(api, admin, "study", study)
    assert (done.status_code, done.json()["instances"], done.json()["objects"]) == (200, 1, 1)
    assert film.AccessionNumber not in hits(api)
    assert len(list(api.store.keys())) == objects - 1
    assert api.request("GET", f"/instances/{instance_id(film)}/film.png", api.identified).status_code == 404
    assert remove(api, admin, "study", study).status_code == 404

    patient = api.request("GET", f"/instances/{instance_id(FILMS[2])}", api.identified).json()["patient"]
    assert remove(api, admin, "patient", patient, block=True).json()["patients"] == 1
    assert FILMS[2].AccessionNumber not in hits(api)
    with api.database.session() as session:
        told = audit.listing(session, kinds=["studies deleted"])
    assert [(one.actor, one.detail["again"]) for one in told] == [("chief", "refuse"), ("chief", "accept")]


def test_dicomweb_gives_a_corrected_patients_instances_with_the_right_values(api: Api) -> None:
    film: Dataset = FILMS[3]
    with api.database.session() as session:
        [found] = patients.find(session, film.PatientID)
        patients.correct(session, found.pk, Changes(name="Right^Name"), By("operator", "typing error"))
    path = f"/dicom-web/studies/{film.StudyInstanceUID}/series/{film.SeriesInstanceUID}/instances/{film.SOPInstanceUID}"
    client = WebClient(api.app)

    def get(path: str, accept: str) -> Any:
        answer = client.request("GET", path, {"Authorization": f"Bearer {api.identified}", "Accept": accept})
        assert answer.status_code == 200, answer.text
        return answer

    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"):
        got = dcmread(BytesIO(get(path, f"application/dicom; transfer-syntax={syntax}").content))
        assert (str(got.PatientName), got.file_meta.TransferSyntaxUID) == ("Right^Name", syntax)
        assert (got.pixel_array == film.pixel_array).all()
    [metadata] = get(f"{path}/metadata", "application/dicom+json").json()
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "Right^Name"}]
