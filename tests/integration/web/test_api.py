"""The JSON API: who may ask what, what is answered, and what happens to what it cannot use."""

import io
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from sqlalchemy import text

from db import api_tokens, audit, browse
from regionmir.web.api.contained import JSON_BYTES
from regionmir.web.api.queries import EXAMPLES
from regionmir.web.api.schemas import Question
from tests.support.api import Api, instance_id, running_api
from tests.support.fake_model import PLACES
from tests.support.filing import PSEUDONYMIZER
from tests.support.films import chest_values, synthetic_film
from tests.support.postgres import TestDatabases

ROWS, COLUMNS = 128, 96
FILMS = tuple(synthetic_film(seed, rows=ROWS, columns=COLUMNS) for seed in range(8))
LATERAL = synthetic_film(30, rows=ROWS, columns=COLUMNS, ViewPosition="LL")
CAPTURE = synthetic_film(31, rows=ROWS, columns=COLUMNS, kind="SC", BurnedInAnnotation=None)
MAX_UPLOAD = 2**18
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def api(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    url = databases.migrated()
    folder = tmp_path_factory.mktemp("api")
    with running_api(url, folder, [*FILMS, LATERAL, CAPTURE], max_upload_bytes=MAX_UPLOAD) as running:
        yield running
    databases.drop(url)


def encoded(film: Dataset) -> bytes:
    buffer = io.BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def picture(seed: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((chest_values(seed, ROWS, COLUMNS) * 255).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def problem(response: Any, status: int, code: str) -> str:
    """Return what a problem says, after checking its form."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code"}
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:regionmir:problem:{code}")
    return str(body["detail"])


def originals(film: Dataset) -> list[str]:
    values = (
        film.PatientID, film.PatientName, film.AccessionNumber, film.StudyInstanceUID, film.SeriesInstanceUID,
        film.SOPInstanceUID, film.StudyDescription, film.PatientBirthDate,
    )  # fmt: skip
    return [str(value) for value in values]


def test_the_best_hits_come_first_one_per_study_and_none_of_the_anchor(api: Api) -> None:
    found = api.ask(api.pseudonymous, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"], k=5).json()
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3, 4, 5]
    similarities = [hit["similarity"] for hit in found["hits"]]
    assert similarities == sorted(similarities, reverse=True)
    assert len({hit["instance"]["study"] for hit in found["hits"]}) == 5
    assert instance_id(FILMS[0]) not in {hit["instance"]["id"] for hit in found["hits"]}
    assert [region["region"] for region in found["hits"][0]["instance"]["regions"]] == ["LLLZ"]
    assert (found["indexed"], found["total"]) == (len(FILMS) + 1, len(FILMS) + 1)


def test_the_answer_is_the_one_of_c_find(api: Api) -> None:
    from regionmir.core.anatomy import anatomy_by_short
    from regionmir.core.identifiers import parse_ae_title
    from regionmir.core.records import Caller, Disclosure, Rights
    from regionmir.query.request import Combine, RegionQuery
    from regionmir.query.search import search

    caller = Caller(parse_ae_title("ANY"), "", Rights(find=True), Disclosure.PSEUDONYMOUS, registered=True)
    anatomies = (anatomy_by_short("RL"), anatomy_by_short("CARD"))
    query = RegionQuery(FILMS[1].AccessionNumber, anatomies, 7, Combine.RANK)
    with api.database.session() as session:
        expected = [hit.similarity for hit in search(session, query, caller, keep=False).hits]
    found = api.ask(api.pseudonymous, anchor=FILMS[1].AccessionNumber, regions=["RL", "card"], k=7, combine="rank")
    assert [hit["similarity"] for hit in found.json()["hits"]] == expected


def test_a_pseudonymous_answer_holds_nothing_of_the_originals(api: Api) -> None:
    said = api.ask(api.pseudonymous, anchor=FILMS[0].StudyInstanceUID, regions=["LLLZ"]).text
    said += api.request("GET", "/instances", api.pseudonymous).text
    assert PSEUDONYMIZER.uid("study", FILMS[1].StudyInstanceUID) in said
    for film in FILMS:
        for value in originals(film):
            assert value not in said
    assert '"original":null' in said


def test_an_identified_answer_tells_the_originals_beside_the_pseudonyms_and_is_audited(api: Api) -> None:
    found = api.ask(api.identified, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"]).json()
    assert found["anchor"]["original"]["accession_number"] == FILMS[0].AccessionNumber
    names = {hit["instance"]["original"]["sop_instance_uid"] for hit in found["hits"]}
    assert names <= {film.SOPInstanceUID for film in (*FILMS, CAPTURE)}
    for hit in found["hits"]:
        assert hit["instance"]["id"] == PSEUDONYMIZER.uid("instance", hit["instance"]["original"]["sop_instance_uid"])
    with api.database.session() as session:
        event = audit.listing(session, kinds=["similarity query"])[0]
    assert event.actor == "API:known"
    assert event.detail["result_set"] == found["code"]


def test_a_kept_answer_opens_again_as_its_reader_may_see_it(api: Api) -> None:
    asked = api.ask(api.identified, anchor=FILMS[0].AccessionNumber, regions=["CARD"]).json()
    again = api.request("GET", f"/result-sets/{asked['code'].lower()}", api.identified).json()
    assert again["hits"] == asked["hits"]
    as_stranger = api.request("GET", f"/result-sets/{asked['code']}", api.pseudonymous)
    assert [hit["instance"]["id"] for hit in as_stranger.json()["hits"]] == [
        hit["instance"]["id"] for hit in asked["hits"]
    ]
    assert FILMS[1].PatientID not in as_stranger.text
    problem(api.request("GET", "/result-sets/00000000", api.identified), 404, "unknown-anchor")


def test_filters_narrow_the_hits(api: Api) -> None:
    everyone = api.ask(api.identified, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"]).json()["hits"]
    women = api.ask(
        api.identified, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"], filters={"sex": ["F"], "modality": ["DX"]}
    ).json()["hits"]
    expected = [hit["instance"]["id"] for hit in everyone if hit["instance"]["sex"] == "F"]
    assert 0 < len(women) < len(everyone)
    assert [hit["instance"]["id"] for hit in women] == expected
    none = api.ask(api.identified, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"], filters={"age_from": 140})
    problem(none, 404, "no-hits")


def test_a_drawn_box_is_embedded_on_demand(api: Api) -> None:
    x0, y0, x1, y1 = PLACES["LLLZ"]
    box = {"x0": x0 * COLUMNS, "y0": y0 * ROWS, "x1": x1 * COLUMNS, "y1": y1 * ROWS}
    drawn = api.ask(api.pseudonymous, anchor=FILMS[2].AccessionNumber, box=box)
    assert drawn.status_code == 200, drawn.text
    assert drawn.json()["regions"] == ["LLLZ"]
    found = api.ask(api.pseudonymous, anchor=FILMS[2].AccessionNumber, regions=["LLLZ"]).json()
    assert [h["instance"]["id"] for h in drawn.json()["hits"]] == [h["instance"]["id"] for h in found["hits"]]


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ((500, 500, 600, 600), "bad-box"),
        ((10, 10, 10, 40), "bad-box"),
        ((40, 10, 10, 40), "bad-box"),
        (("nan", 10, 10, 40), "bad-value"),
    ],
)
def test_a_box_outside_the_image_or_without_area_is_refused(api: Api, box: tuple[float, ...], code: str) -> None:
    corners = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
    problem(api.ask(api.pseudonymous, anchor=FILMS[0].AccessionNumber, box=corners, regions=["LLLZ"]), 422, code)


@pytest.mark.parametrize(
    ("question", "status", "code"),
    [
        ({"regions": ["LLLZ"]}, 422, "bad-token"),
        ({"anchor": "SECRETNAME", "film": "0" * 32}, 422, "bad-token"),
        ({"anchor": "SECRETNAME", "regions": ["LLLZ"]}, 404, "unknown-anchor"),
        ({"anchor": "SECRETNAME", "regions": ["NOWHERE"]}, 422, "unknown-region"),
        ({"anchor": "SECRETNAME", "regions": ["LLLZ"], "k": 0}, 422, "bad-value"),
        ({"anchor": "SECRETNAME", "regions": ["LLLZ"], "k": 201}, 422, "bad-value"),
        ({"anchor": "SECRETNAME\0", "regions": ["LLLZ"]}, 422, "bad-value"),
        ({"anchor": "SECRETNAME" * 7, "regions": ["LLLZ"]}, 422, "bad-value"),
        ({"anchor": "SECRETNAME", "SECRETNAME": 1}, 422, "bad-value"),
        ({"anchor": LATERAL.AccessionNumber, "regions": ["LLLZ"]}, 422, "unsupported-anchor"),
        ({"anchor": FILMS[0].AccessionNumber}, 422, "region-required"),
        ({"anchor": FILMS[0].AccessionNumber, "regions": ["SVC"]}, 422, "region-off"),
    ],
)
def test_what_cannot_be_answered_says_why_and_repeats_nothing(
    api: Api, question: dict[str, Any], status: int, code: str
) -> None:
    response = api.ask(api.token(f"t{next(NUMBERS)}"), **question)
    problem(response, status, code)
    assert "SECRETNAME" not in response.text


def test_a_body_that_is_no_json_is_refused(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    response = api.request("POST", "/queries", api.pseudonymous, content=b'{"anchor": SECRET', headers=headers)
    problem(response, 400, "bad-json")
    assert "SECRET" not in response.text


def test_guessing_anchors_is_slowed_down(api: Api) -> None:
    token = api.token("guesser")
    for _ in range(20):
        problem(api.ask(token, anchor="NOSUCH", regions=["LLLZ"]), 404, "unknown-anchor")
    problem(api.ask(token, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"]), 429, "rate-limited")
    assert api.ask(api.pseudonymous, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"]).status_code == 200


def test_guessed_codes_are_written_down_and_slowed_down(api: Api) -> None:
    token = api.token("codes")
    for _ in range(20):
        problem(api.request("GET", "/result-sets/00000000", token), 404, "unknown-anchor")
    problem(api.request("GET", "/result-sets/00000000", token), 429, "rate-limited")
    with api.database.session() as session:
        events = [event for event in audit.listing(session, kinds=["anchor refused"]) if event.actor == "API:codes"]
    assert [event.detail["code"] for event in events] == ["rate-limited"] + 20 * ["unknown-anchor"]


def test_this_machine_may_ask_and_read_pseudonymously_without_a_token_and_leaves_nothing(api: Api) -> None:
    with api.database.session() as session:
        before = session.scalar(text("SELECT count(*) FROM result_set"))
    found = api.ask(anchor=FILMS[0].AccessionNumber, regions=["LLLZ"])
    assert found.json()["code"] is None
    assert found.json()["disclosure"] == "pseudonymous"
    with api.database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM result_set")) == before
    assert api.request("GET", "/instances").status_code == 200
    problem(api.request("POST", "/films", headers={"Content-Type": "image/png"}), 403, "not-allowed")


def test_a_proxy_on_this_machine_makes_nobody_local(api: Api) -> None:
    response = api.request("GET", "/instances", headers={"X-Forwarded-For": "203.0.113.7"})
    problem(response, 401, "token-required")


def test_tokens_that_do_not_count_are_refused(api: Api) -> None:
    gone, old = api.token("gone"), api.token("old", days=-1)
    with api.database.session() as session:
        assert api_tokens.revoke(session, "gone")
    problem(api.request("GET", "/instances", gone), 401, "token-unknown")
    problem(api.request("GET", "/instances", "rgn_none"), 401, "token-unknown")
    expired = api.request("GET", "/instances", old)
    assert "tokens add" in problem(expired, 401, "token-expired")
    assert "invalid_token" in expired.headers["WWW-Authenticate"]
    problem(api.request("GET", "/instances", headers={"Authorization": "Basic eDp5"}), 401, "token-required")


def test_a_token_may_do_what_its_scopes_say(api: Api) -> None:
    asking, reading = api.token("asking", scopes=["query"]), api.token("reading", scopes=["read"])
    assert api.ask(asking, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"]).status_code == 200
    assert "read" in problem(api.request("GET", "/instances", asking), 403, "not-allowed")
    assert "query" in problem(api.ask(reading, anchor="4711", regions=["LLLZ"]), 403, "not-allowed")
    assert api.request("GET", "/regions", reading).status_code == 200


def test_tokens_are_kept_as_hashes_and_their_use_is_noted(api: Api) -> None:
    token = api.token("hashed")
    assert api.request("GET", "/instances", token).status_code == 200
    with api.database.session() as session:
        rows = session.execute(text("SELECT api_token::text FROM api_token")).scalars().all()
        used = next(one.used_at for one in api_tokens.listing(session) if one.name == "hashed")
    assert token.startswith("rgn_")
    assert used is not None
    assert not any(token in row or token.removeprefix("rgn_") in row for row in rows)


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_a_picture_is_compared_and_its_file_is_gone_at_once(api: Api, kind: str) -> None:
    response = api.upload(picture(100, kind.removeprefix("image/").upper()), kind)
    assert response.is_success, response.text
    film = response.json()
    assert (film["state"], film["rows"], film["columns"]) == ("indexed", ROWS, COLUMNS)
    assert {region["region"] for region in film["regions"]} == set(PLACES)
    assert list((api.folder / "uploads").iterdir()) == []
    found = api.ask(api.pseudonymous, film=film["id"], regions=["LLLZ", "RL"], k=4).json()
    assert (len(found["hits"]), found["code"], found["anchor"]) == (4, None, None)
    assert api.request("GET", f"/instances?limit={200}", api.pseudonymous).json()["instances"][-1]["id"] != film["id"]


def test_an_uploaded_film_finds_neither_itself_nor_other_studies_of_its_patient(api: Api) -> None:
    of_patient = synthetic_film(200, rows=ROWS, columns=COLUMNS, patient=3)
    film = api.upload(encoded(of_patient)).json()
    ids = {h["instance"]["id"] for h in api.ask(api.pseudonymous, film=film["id"], regions=["RL"], k=50).json()["hits"]}
    assert instance_id(FILMS[3]) not in ids
    assert instance_id(FILMS[4]) in ids
    same = api.upload(encoded(FILMS[5])).json()
    ids = {h["instance"]["id"] for h in api.ask(api.pseudonymous, film=same["id"], regions=["RL"], k=50).json()["hits"]}
    assert instance_id(FILMS[5]) not in ids
    identified = api.upload(encoded(of_patient), token=api.identified).json()
    asked = {"film": identified["id"], "regions": ["RL"], "k": 50, "with_same_patient": True}
    assert instance_id(FILMS[3]) in {h["instance"]["id"] for h in api.ask(api.identified, **asked).json()["hits"]}


def test_an_uploaded_film_is_no_instance_and_nobody_elses(api: Api) -> None:
    before = api.request("GET", "/instances?limit=200", api.identified).json()
    film = api.upload(encoded(synthetic_film(300, rows=ROWS, columns=COLUMNS))).json()
    assert api.request("GET", "/instances?limit=200", api.identified).json() == before
    problem(api.request("GET", f"/films/{film['id']}", api.identified), 404, "unknown-film")
    problem(api.ask(api.identified, film=film["id"], regions=["RL"]), 404, "unknown-anchor")
    assert api.request("GET", f"/films/{film['id']}", api.pseudonymous).json() == film
    assert api.request("DELETE", f"/films/{film['id']}", api.pseudonymous).status_code == 204
    problem(api.request("GET", f"/films/{film['id']}", api.pseudonymous), 404, "unknown-film")


def test_a_film_that_cannot_be_searched_says_why(api: Api) -> None:
    film = api.upload(encoded(LATERAL)).json()
    assert (film["state"], film["reason"]) == ("unsupported", "lateral view")
    asked = api.ask(api.pseudonymous, film=film["id"], regions=["RL"])
    assert "lateral view" in problem(asked, 422, "unsupported-anchor")


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"no image", "application/dicom", 422, "not-an-image"),
        (b"", "application/dicom", 422, "not-an-image"),
        (b"\x89PNG\r\n\x1a\nbroken", "image/png", 422, "not-an-image"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 64, "application/dicom", 422, "not-an-image"),
        (b"{}", "application/json", 415, "unsupported-type"),
        (b"text", "text/plain", 415, "unsupported-type"),
    ],
)
def test_what_is_no_film_is_refused_and_not_kept(api: Api, content: bytes, kind: str, status: int, code: str) -> None:
    problem(api.upload(content, kind), status, code)
    folder = api.folder / "uploads"
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_huge_upload_ends_when_it_is_seen_to_be_huge(api: Api) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * MAX_UPLOAD:
            sent += 2**14
            yield b"\0" * 2**14

    problem(api.upload(endless()), 413, "too-large")
    assert sent <= MAX_UPLOAD + 2**15
    assert list((api.folder / "uploads").iterdir()) == []
    declared = {"Content-Type": "application/dicom", "Content-Length": str(2**31)}
    problem(api.request("POST", "/films", api.pseudonymous, content=b"x", headers=declared), 413, "too-large")


def test_a_huge_question_is_refused(api: Api) -> None:
    problem(api.ask(api.pseudonymous, anchor="x" * JSON_BYTES), 413, "too-large")


def test_instances_are_listed_page_by_page_with_state_and_reason(api: Api) -> None:
    path: str | None = "/instances?limit=4"
    listed: list[dict[str, Any]] = []
    while path is not None:
        page = api.request("GET", path, api.pseudonymous).json()
        assert len(page["instances"]) <= 4
        listed += page["instances"]
        path = page["next"] and page["next"].removeprefix("/api/v1")
    assert [one["id"] for one in listed] == [instance_id(film) for film in (*FILMS, LATERAL, CAPTURE)]
    lateral = listed[len(FILMS)]
    assert (lateral["state"], lateral["reason"], lateral["regions"]) == ("unsupported", "lateral view", [])
    only = api.request("GET", "/instances?state=unsupported", api.pseudonymous).json()["instances"]
    assert [one["id"] for one in only] == [instance_id(LATERAL)]


def test_pictures_come_to_those_who_may_see_them(api: Api) -> None:
    found = api.request("GET", f"/instances/{instance_id(FILMS[0])}", api.pseudonymous).json()
    for link in (found["links"]["film"], found["links"]["thumbnail"], found["links"]["regions"]["LLLZ"]):
        response = api.request("GET", link.removeprefix("/api/v1"), api.pseudonymous)
        with Image.open(io.BytesIO(response.content)) as image:
            assert f"image/{(image.format or '').lower()}" == response.headers["Content-Type"]
    hidden = api.request("GET", f"/instances/{instance_id(CAPTURE)}", api.pseudonymous).json()
    assert "burned into its pixels" in hidden["withheld"]
    assert (hidden["links"]["film"], hidden["links"]["regions"]) == (None, {})
    film = f"/instances/{instance_id(CAPTURE)}/film.png"
    problem(api.request("GET", film, api.pseudonymous), 404, "withheld")
    assert api.request("GET", film, api.identified).status_code == 200


def test_original_uids_name_nothing_in_a_url_and_only_the_identified_look_them_up(api: Api) -> None:
    problem(api.request("GET", f"/instances/{FILMS[0].SOPInstanceUID}", api.identified), 404, "unknown-instance")
    wanted = {"anchor": FILMS[0].AccessionNumber}
    found = api.request("POST", "/instances/lookup", api.identified, json=wanted).json()
    assert [one["id"] for one in found] == [instance_id(FILMS[0])]
    problem(api.request("POST", "/instances/lookup", api.pseudonymous, json=wanted), 403, "not-allowed")
    with api.database.session() as session:
        event = audit.listing(session, kinds=["instances shown"])[0]
    assert (event.actor, event.detail["how"], len(event.detail["instance_pks"])) == ("API:known", "looked up", 1)


def test_pages_of_other_origins_and_foreign_names_get_nothing(api: Api) -> None:
    headers = {"Origin": "http://elsewhere.example"}
    assert api.request("POST", "/queries", api.identified, json={}, headers=headers).status_code == 403
    assert api.request("GET", "/instances", headers={"Host": "elsewhere.example"}).status_code == 421


def test_health_needs_no_token(api: Api) -> None:
    found = api.request("GET", "/health", headers={"X-Forwarded-For": "203.0.113.7"})
    assert found.json() == {"version": "0.1.0", "ready": True, "missing": {}}


def test_an_error_that_nobody_expected_says_nothing_of_itself(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("Canary^Patient")

    monkeypatch.setattr(browse, "instance_pks", broken)
    response = api.request("GET", "/instances", api.identified)
    problem(response, 500, "internal-error")
    logged = "".join(capsys.readouterr())
    assert "ValueError" in logged
    assert "Canary" not in response.text + logged
    assert "Traceback" not in response.text + logged


def test_unknown_addresses_and_methods_are_problems_too(api: Api) -> None:
    problem(api.request("GET", "/nothing", api.identified), 404, "unknown-path")
    problem(api.request("PUT", "/queries", api.identified), 405, "method-not-allowed")


def test_the_openapi_document_describes_problems_tokens_and_examples_that_hold(api: Api) -> None:
    document = api.request("GET", "/openapi.json").json()
    assert document["servers"] == [{"url": "/api/v1"}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    ask = document["paths"]["/queries"]["post"]
    assert "application/problem+json" in ask["responses"]["4XX"]["content"]
    assert "422" not in ask["responses"]
    examples = ask["requestBody"]["content"]["application/json"]["examples"]
    assert examples == EXAMPLES
    for example in examples.values():
        Question.model_validate(example["value"])
    assert set(document["paths"]["/films"]["post"]["requestBody"]["content"]) == {
        "application/dicom", "image/png", "image/jpeg",
    }  # fmt: skip
    assert "HTTPValidationError" not in json.dumps(document)


def test_a_caller_who_asks_too_often_is_told_when_to_go_on(
    databases: TestDatabases, tmp_path: Path, redis_url: str
) -> None:
    url = databases.migrated()
    with running_api(url, tmp_path, [], redis_url=redis_url, api_requests_per_minute=1) as api:
        answers = [api.request("GET", "/instances", api.pseudonymous) for _ in range(12)]
        assert [answer.status_code for answer in answers[:10]] == [200] * 10
        problem(answers[11], 429, "too-many-requests")
        assert 1 <= int(answers[11].headers["Retry-After"]) <= 60
        assert api.request("GET", "/instances", api.identified).status_code == 200
    databases.drop(url)


def test_requests_pass_while_redis_is_away(databases: TestDatabases, tmp_path: Path) -> None:
    url = databases.migrated()
    with running_api(url, tmp_path, [], redis_url=f"redis+socket://{tmp_path}/none", api_requests_per_minute=1) as api:
        assert {api.request("GET", "/instances", api.pseudonymous).status_code for _ in range(12)} == {200}
    databases.drop(url)


def test_expired_films_are_forgotten(databases: TestDatabases, tmp_path: Path) -> None:
    from regionmir.storage.uploads import Uploads
    from workers.uploads import sweep

    url = databases.migrated()
    with running_api(url, tmp_path, []) as api:
        film = api.upload(picture(1), "image/png").json()
        with api.database.session() as session:
            session.execute(text("UPDATE uploaded_film SET expires_at = now()"))
        problem(api.request("GET", f"/films/{film['id']}", api.pseudonymous), 404, "unknown-film")
        left = tmp_path / "uploads" / ("0" * 32)
        left.write_bytes(b"of a request that was cut off")
        assert sweep(api.database, Uploads(tmp_path / "uploads"), 3600) == 1
        assert left.exists()
        assert sweep(api.database, Uploads(tmp_path / "uploads"), 0) == 0
        assert not left.exists()
    databases.drop(url)
