"""What tokens may do outside the JSON API: by DICOMweb, on pages, and for pictures."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset

from db import api_tokens
from db.engine import Database
from tests.support.films import synthetic_film
from tests.support.web_server import WebServer, url_of, web_server

FILMS = tuple(synthetic_film(seed, rows=64, columns=48) for seed in range(3))
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"
PICTURES = ("film.png", "film.jpg", "thumbnail.jpg", "LL.jpg")


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path, url_of(database)) as server:
        server.file(*FILMS)
        server.index()
        yield server


def test_the_use_of_a_token_is_noted_outside_the_api_too(served: WebServer) -> None:
    served.sign_in("viewer")
    assert status(served, "/dicom-web/studies", JSON) == 200
    with served.site.archive.database.session() as session:
        [token] = api_tokens.listing(session)
    assert token.used_at is not None


def status(served: WebServer, path: str, accept: str = "*/*", content: bytes | None = None) -> int:
    headers = {"Accept": accept, **({"Content-Type": "application/dicom"} if content else {})}
    method = "POST" if content else "GET"
    return httpx.request(
        method, served.url + path, headers=headers, content=content, trust_env=False, timeout=60
    ).status_code


def encoded(film: Dataset) -> bytes:
    buffer = BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "scopes", [("query",), ("read",), ("write",), ("admin",), ("query", "read")], ids=lambda one: "+".join(one)
)
def test_a_token_may_do_what_its_scopes_say_whichever_way_it_comes_in(
    served: WebServer, scopes: tuple[str, ...]
) -> None:
    served.sign_in(scopes=scopes)
    name = served.site.archive.pseudonymizer.uid
    study, film, other = (
        name("study", FILMS[0].StudyInstanceUID),
        *(name("instance", one.SOPInstanceUID) for one in FILMS[:2]),
    )
    wado = f"/dicom-web/studies/{FILMS[0].StudyInstanceUID}"
    anchor = FILMS[0].AccessionNumber
    asked = {
        ("read",): [
            ("/dicom-web/studies", JSON), ("/dicom-web/instances", JSON), ("/dicom-web/sim/studies", JSON),
            (wado, DICOM), (f"{wado}/metadata", JSON), (f"{wado}/thumbnail", "image/jpeg"),
            (f"/dicom-web/sim/studies/{FILMS[0].StudyInstanceUID}/metadata", JSON),
            ("/", "*/*"), ("/live.json", "*/*"), (f"/studies/{study}", "*/*"), (f"/studies/{study}/{film}", "*/*"),
            *((f"/instances/{film}/{picture}", "*/*") for picture in PICTURES),
        ],
        ("query",): [
            (f"/dicom-web/sim/{anchor}/LLLZ/studies", JSON),
            (f"/dicom-web/sim/studies?StudyDescription=SIM%20{anchor}%20LLLZ", JSON),
        ],
        ("read", "query"): [
            (f"/studies/{study}/{film}/LLLZ", "*/*"), (f"/maps/{film}/{other}/LLLZ/query.png", "*/*"),
        ],
    }  # fmt: skip
    for needed, paths in asked.items():
        may = set(needed) <= set(scopes)
        for path, accept in paths:
            got = status(served, path, accept)
            assert (got == 403) is not may, (path, got)
            assert got in (200, 403) or (path.startswith("/maps/") and got == 404), (path, got)
    stored = status(served, "/dicom-web/studies", JSON, encoded(synthetic_film(9, rows=16, columns=16)))
    assert stored == (200 if "write" in scopes else 403)


@pytest.fixture
def kept(served: WebServer) -> str:
    """Return the code of an answer of two regions that was kept, and is asked for by another caller."""
    served.sign_in("asker")
    question = {"anchor": FILMS[0].AccessionNumber, "regions": ["LLLZ", "RLLZ"]}
    asked = httpx.post(
        f"{served.url}/api/v1/queries", headers={"Authorization": f"Bearer {served.token}"}, json=question,
        trust_env=False, timeout=60,
    )  # fmt: skip
    return str(asked.json()["code"])


@pytest.mark.parametrize(("scopes", "expected"), [(("read",), 200), (("query",), 403), (("write",), 403)])
def test_a_kept_answer_is_for_those_who_may_read_whichever_way_it_is_opened(
    served: WebServer, kept: str, scopes: tuple[str, ...], expected: int
) -> None:
    served.sign_in(scopes=scopes)
    ways = (
        f"/api/v1/result-sets/{kept}", f"/api/v1/ohif/{kept}.json", f"/dicom-web/sim/{kept}/LLLZ+RLLZ/studies",
        f"/dicom-web/sim/studies?StudyDescription=SIM%20{kept}%20LLLZ%2BRLLZ",
        f"/dicom-web/sim/studies?StudyDescription=SIM%20{kept}%20LLLZ%2BRLLZ%20%23001",
    )  # fmt: skip
    assert {way: status(served, way) for way in ways} == dict.fromkeys(ways, expected)


@pytest.mark.parametrize(
    "asked",
    ["sim/{}/LLLZ/studies", "sim/{}/LLLZ+RLLZ/studies?PatientSex=F", "sim/studies?StudyDescription=SIM%20{}%20LLLZ"],
)
def test_what_a_kept_answer_does_not_say_is_for_those_who_may_ask(served: WebServer, kept: str, asked: str) -> None:
    got = {}
    for scope in ("query", "read"):
        served.sign_in(scope, scopes=[scope])
        got[scope] = status(served, f"/dicom-web/{asked.format(kept)}", JSON)
    assert got == {"query": 200, "read": 403}


def test_codes_are_not_told_apart_by_those_who_may_not_ask(served: WebServer, kept: str) -> None:
    served.sign_in(scopes=["read"])
    for number in range(20):
        assert status(served, f"/dicom-web/sim/{number:08d}/LLLZ/studies") == 403
    assert status(served, f"/dicom-web/sim/{kept}/LLLZ+RLLZ/studies") == 429
