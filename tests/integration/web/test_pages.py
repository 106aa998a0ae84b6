"""The web application over a real database with films that the fake model indexed."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from pydicom.dataset import Dataset
from sqlalchemy import text

from db import visibility
from db.engine import Database
from regionmir.core.settings import Settings
from regionmir.storage import FileStore
from regionmir.web.app import make_app, make_site
from regionmir.web.pages import STUDIES_PER_PAGE
from tests.support.fake_model import PLACES, FakeModel
from tests.support.filing import PSEUDONYMIZER, file_film
from tests.support.films import synthetic_film
from tests.support.web_client import WebClient
from workers.indexer import Indexer

SHOWN = 6


@dataclass
class Served:
    """A database with films, and a client of the application on it."""

    database: Database
    store: FileStore
    client: WebClient

    def file(self, *films: Dataset) -> None:
        for film in films:
            file_film(self.database, self.store, film)

    def index(self) -> None:
        indexer = Indexer(self.database, self.store, FakeModel(), 16, lease_s=60)
        indexer.drain()
        indexer.close()

    def page(self, path: str) -> str:
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response.text


@contextmanager
def serving(folder: Path, database_url: str) -> Iterator[WebClient]:
    site = make_site(Settings(data_dir=folder, database_url=database_url))
    yield WebClient(make_app(site))
    site.close()


def study_url(film: Dataset) -> str:
    return "/studies/" + PSEUDONYMIZER.uid("study", film.StudyInstanceUID)


def film_url(film: Dataset) -> str:
    return f"{study_url(film)}/{PSEUDONYMIZER.uid('instance', film.SOPInstanceUID)}"


def picture_url(film: Dataset) -> str:
    return "/instances/" + PSEUDONYMIZER.uid("instance", film.SOPInstanceUID)


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, database.url.set(drivername="postgresql").render_as_string(hide_password=False)) as client:
        yield Served(database, FileStore(tmp_path), client)


@pytest.fixture
def films(served: Served) -> list[Dataset]:
    films = [synthetic_film(seed, rows=128, columns=96) for seed in range(SHOWN)]
    served.file(*films)
    served.index()
    return films


def test_the_list_shows_every_study_with_state_and_thumbnail(served: Served, films: list[Dataset]) -> None:
    served.file(synthetic_film(50))
    page = served.page("/")
    assert page.count('class="study"') == SHOWN + 1
    assert page.count("/thumbnail.jpg") == SHOWN
    assert f"<b>{SHOWN}</b> indexed" in page
    assert "<b>1</b> received" in page
    for film in films:
        assert f'href="{study_url(film)}"' in page


def test_a_study_shows_its_film_and_a_box_for_every_region(served: Served, films: list[Dataset]) -> None:
    page = served.page(study_url(films[0]))
    assert page.count('class="box"') == len(PLACES)
    assert f'href="{picture_url(films[0])}/film.jpg" data-whole="{picture_url(films[0])}/film.png"' in page
    for short in PLACES:
        assert f'href="{film_url(films[0])}/{short}"' in page


def test_a_region_shows_the_similar_studies_of_other_patients_by_rank(served: Served, films: list[Dataset]) -> None:
    page = served.page(f"{film_url(films[0])}/LLLZ")
    assert re.findall(r'class="line"><span class="rank">#(\d+)</span>', page) == [str(rank) for rank in range(1, SHOWN)]
    similarities = [float(value) for value in re.findall(r'"similarity">([\d.-]+)<', page)]
    assert similarities == sorted(similarities, reverse=True)
    assert f"{SHOWN - 1} most similar of {SHOWN} films searched" in page
    assert page.count(' src="data:image/jpeg;base64,') == SHOWN - 1
    assert "probab" not in page.lower().replace("it is no probability", "")
    assert "%" not in re.sub(r"<[^>]*>", "", page)


def test_no_page_and_no_header_holds_anything_of_the_originals(served: Served, films: list[Dataset]) -> None:
    paths = [
        "/",
        study_url(films[0]),
        film_url(films[0]),
        f"{film_url(films[0])}/CARD",
        f"{picture_url(films[0])}/film.png",
        "/metrics",
    ]
    for path in paths:
        response = served.client.get(path)
        said = response.content.decode("latin-1") + str(response.headers)
        for film in films:
            for value in (
                film.PatientID, film.PatientName, film.AccessionNumber, film.StudyInstanceUID, film.SeriesInstanceUID,
                film.SOPInstanceUID, film.StudyDescription, film.PatientBirthDate, film.StudyDate, film.PatientAge,
            ):  # fmt: skip
                assert str(value) not in said


def test_originals_name_nothing(served: Served, films: list[Dataset]) -> None:
    film = films[0]
    for path in (
        f"/studies/{film.StudyInstanceUID}",
        f"{study_url(film)}/{film.SOPInstanceUID}",
        f"/instances/{film.SOPInstanceUID}/film.png",
        f"/instances/{film.SOPInstanceUID}/thumbnail.jpg",
    ):
        assert served.client.get(path).status_code == 404


def test_pages_hold_nothing_inline_and_nothing_from_elsewhere(served: Served, films: list[Dataset]) -> None:
    for path in ("/", study_url(films[0]), f"{film_url(films[0])}/CARD", "/nothing"):
        page = served.client.get(path).text
        assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.S) in ([], [""])
        assert not re.search(r"<style| on[a-z]+=", page)
        assert " style=" not in page
        assert not re.search(r'(?:href|src)="(?!/|#|data:image/jpeg;base64,)', page)
    assert served.client.get("/static/style.css").headers["Content-Type"].startswith("text/css")
    assert "url(" not in served.client.get("/static/style.css").text
    assert served.client.get("/static/study.js").headers["Content-Type"].startswith("text/javascript")
    assert served.client.get("/static/..%2Fapp.py").status_code == 404


@pytest.mark.parametrize(
    ("picture", "kind"),
    [("film.png", "PNG"), ("film.jpg", "JPEG"), ("thumbnail.jpg", "JPEG"), ("LLLZ.jpg", "JPEG")],
)
def test_pictures_are_pictures(served: Served, films: list[Dataset], picture: str, kind: str) -> None:
    response = served.client.get(f"{picture_url(films[0])}/{picture}")
    assert response.status_code == 200
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.format == kind
    assert response.headers["Cache-Control"].startswith("private")


def test_pixels_that_may_name_a_patient_are_not_shown_but_the_boxes_are(served: Served) -> None:
    capture = synthetic_film(1, kind="SC", BurnedInAnnotation=None)
    burned = [synthetic_film(2, BurnedInAnnotation="YES"), synthetic_film(4, BurnedInAnnotation=["NO", "YES"])]
    served.file(capture, *burned, synthetic_film(3))
    served.index()
    for film in (capture, *burned):
        page = served.page(f"{film_url(film)}/LLLZ")
        assert page.split('data-side="hit"')[0].count('class="box"') == len(PLACES)
        assert "burned into its pixels" in page
        assert picture_url(film) not in page
        for picture in ("film.png", "film.jpg", "thumbnail.jpg", "LLLZ.jpg"):
            assert served.client.get(f"{picture_url(film)}/{picture}").status_code == 404
    assert "not shown" in served.page("/")


def test_unsupported_and_failed_instances_say_why(served: Served) -> None:
    lateral, short = synthetic_film(1, ViewPosition="LL"), synthetic_film(2, PixelData=b"\0" * 10)
    served.file(lateral, short)
    served.index()
    assert "lateral view" in served.page(study_url(lateral))
    assert "failed" in served.page(study_url(short))
    assert "lateral view" in served.page("/")


def test_a_film_whose_object_is_gone_or_broken_has_a_page_and_no_picture(served: Served, films: list[Dataset]) -> None:
    for path in served.store.objects_dir.rglob("*.dcm"):
        path.unlink()
    assert served.client.get(f"{picture_url(films[0])}/film.png").status_code == 404
    assert "LLLZ" in served.page(film_url(films[0]))


def test_a_region_that_cannot_be_searched_says_so(served: Served, films: list[Dataset]) -> None:
    page = served.page(f"{film_url(films[0])}/SVC")
    assert "not searched by this model" in page


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/studies/2.25.1", "/studies/x", "/studies/2.25.1/2.25.2/LLLZ", "/instances/2.25.9/film.png",
     "/?page=0", "/?page=999", "/?page=x", "/instances/%00/film.png", "/studies/%2e%2e", "/docs", "/openapi.json"],
)  # fmt: skip
def test_what_is_not_there_is_a_page_that_says_so(served: Served, path: str) -> None:
    response = served.client.get(path)
    assert response.status_code == 404
    assert "Not found" in response.text
    assert "All studies" in response.text


def test_an_empty_node_says_how_to_send(served: Served) -> None:
    assert "C-STORE" in served.page("/")


def test_the_list_has_pages(served: Served) -> None:
    served.file(*(synthetic_film(seed, rows=32, columns=32) for seed in range(STUDIES_PER_PAGE + 1)))
    assert served.page("/").count('class="study"') == STUDIES_PER_PAGE
    assert served.page("/?page=2").count('class="study"') == 1
    assert served.client.get("/?page=3").status_code == 404


def test_nothing_is_written(served: Served, films: list[Dataset]) -> None:
    def rows() -> list[int]:
        tables = ("result_set", "query_log", "audit_event", "pseudonym", "instance")
        with served.database.session() as session:
            return [session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]

    before = rows()
    served.page("/")
    served.page(f"{film_url(films[0])}/LLLZ")
    assert rows() == before


def test_readiness_names_what_is_missing(served: Served) -> None:
    response = served.client.get("/readyz")
    assert response.status_code == 503
    assert "model" in response.json()["missing"]
    served.file(synthetic_film(0))
    served.index()
    assert served.client.get("/readyz").json() == {"ready": True, "missing": {}}
    assert served.client.request("HEAD", "/readyz").status_code == 200


def test_an_old_schema_is_not_ready(databases, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    url = databases.empty()
    with serving(tmp_path, url) as client:
        response = client.get("/readyz")
    databases.drop(url)
    assert response.status_code == 503
    assert "regionmir db upgrade" in response.json()["missing"]["schema"]


def test_metrics_tell_states_space_and_queries(served: Served, films: list[Dataset]) -> None:
    page = served.page("/metrics")
    assert f'regionmir_instances{{state="indexed"}} {SHOWN}.0' in page
    assert "regionmir_disk_free_bytes" in page
    assert 'regionmir_build_info{version="' in page
    assert "regionmir_database_up 1.0" in page


def test_without_the_database_pages_say_so_and_the_process_lives(tmp_path: Path) -> None:
    with serving(tmp_path, f"postgresql:///none?host={tmp_path}") as client:
        for path in ("/", "/studies/2.25.1", "/instances/2.25.1/film.png"):
            response = client.get(path)
            assert response.status_code == 503
            assert "database cannot be reached" in response.text
            assert response.headers["Retry-After"] == "5"
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert "database" in client.get("/readyz").json()["missing"]
        assert "regionmir_database_up 0.0" in client.get("/metrics").text


def test_a_study_that_was_deleted_at_the_archive_has_no_page(served: Served) -> None:
    film = synthetic_film(77, rows=64, columns=64)
    served.file(film)
    assert served.client.get(study_url(film)).status_code == 200
    with served.database.session() as session:
        visibility.hide(session, [film.StudyInstanceUID], "deleted")
    assert served.client.get(study_url(film)).status_code == 404
