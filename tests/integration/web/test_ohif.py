"""The viewer's data source for one answer: what the JSON API kept is what the source lists."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from db import audit
from regionmir.core.records import Role
from regionmir.core.settings import Settings
from regionmir.web.app import make_app, make_site
from tests.support.api import Api, running_api
from tests.support.doors import url_of
from tests.support.films import synthetic_film
from tests.support.postgres import TestDatabases
from tests.support.signed_in import signed_in
from tests.support.web_client import WebClient

FILMS = tuple(synthetic_film(seed, rows=128, columns=96) for seed in range(6))


@pytest.fixture(scope="module")
def api(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    url = databases.migrated()
    with running_api(url, tmp_path_factory.mktemp("ohif"), FILMS) as running:
        yield running
    databases.drop(url)


@pytest.mark.parametrize("regions", [["LLLZ"], ["LLLZ", "CARD"]], ids=len)
def test_the_source_of_an_answer_lists_its_hits_by_rank(api: Api, regions: list[str]) -> None:
    asked = api.ask(api.pseudonymous, anchor=FILMS[0].AccessionNumber, regions=regions, k=4).json()
    client = WebClient(api.app, {"Authorization": f"Bearer {api.token(f'viewer {len(regions)}', scopes=['read'])}"})
    (source,) = client.get(f"/api/v1/ohif/{asked['code']}.json").json()["servers"]["dicomWeb"]
    assert source["qidoRoot"] == source["wadoRoot"] == f"/dicom-web/sim/{asked['code']}/{'+'.join(regions)}"
    studies = client.get(f"{source['qidoRoot']}/studies?limit=101&includefield=00081030").json()
    descriptions = [study["00081030"]["Value"][0] for study in studies]
    assert [study["0020000D"]["Value"][0] for study in studies] == [h["instance"]["study"] for h in asked["hits"]]
    assert descriptions == sorted(descriptions)  # OHIF sorts what is fewer than 101


def test_the_source_of_an_answer_is_for_those_who_may_read(api: Api) -> None:
    asked = api.ask(api.pseudonymous, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"]).json()
    path = f"/ohif/{asked['code']}.json"
    basic = {"Authorization": "Basic eDp5"}
    assert api.request("GET", path, api.token("reads", scopes=["read"])).status_code == 200
    assert api.request("GET", path, api.token("asks", scopes=["query"])).status_code == 403
    assert api.request("GET", path, "rgn_none").status_code == 401
    assert api.request("GET", path, headers={**basic, "X-Forwarded-For": "203.0.113.7"}).status_code == 403
    site = make_site(Settings(data_dir=api.folder, database_url=url_of(api.database), signin="local"))
    with_sign_in = Api(make_app(site), api.database, api.folder, "", "")
    assert with_sign_in.request("GET", path, headers=basic).status_code == 401
    person = signed_in(api.database, Role.VIEWER)
    assert with_sign_in.request("GET", path, headers=person.headers).status_code == 200
    site.close()


def test_a_code_that_was_never_given_has_no_source(api: Api) -> None:
    answer = api.request("GET", "/ohif/00000000.json", api.pseudonymous)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-anchor")


def test_guesses_at_codes_are_counted_together_whichever_way_they_come(api: Api) -> None:
    asked = api.ask(api.pseudonymous, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"]).json()
    client = WebClient(api.app, {"Authorization": f"Bearer {api.token('guesser')}"})
    ways = "/api/v1/ohif/{}.json", "/api/v1/result-sets/{}", "/dicom-web/sim/{}/LLLZ/studies"
    for number in range(21):
        answer = client.get(ways[number % 3].format(f"{number:08d}"))
        assert answer.status_code == (404 if number < 20 else 429), (number, answer.text)
    for way in ways:
        assert client.get(way.format(asked["code"])).json()["code"] == "rate-limited"
    with api.database.session() as session:
        events = audit.listing(session, kinds=["anchor refused"])
    assert sum(event.actor == "guesser" for event in events) == 14 + 2
    assert sum(event.actor == "API:guesser" for event in events) == 7 + 1


def test_guesses_of_who_has_not_signed_in_are_counted_together_too(api: Api) -> None:
    client = WebClient(api.app)
    for number in range(20):
        way = "/api/v1/result-sets/{}" if number % 2 else "/dicom-web/sim/{}/LLLZ/studies"
        assert client.get(way.format(f"{number:08d}")).status_code == 404
    assert client.get("/api/v1/ohif/00000000.json").status_code == 429


def test_the_source_of_an_answer_counts_among_the_requests_of_its_caller(
    databases: TestDatabases, tmp_path: Path, redis_url: str
) -> None:
    url = databases.migrated()
    with running_api(url, tmp_path, [], redis_url=redis_url, api_requests_per_minute=1) as one:
        paths = [f"/ohif/{number:08d}.json" for number in range(5)] + 5 * ["/instances"] + 2 * ["/ohif/00000000.json"]
        token = one.token("of this test alone")  # Redis is that of all tests
        answers = [one.request("GET", path, token) for path in paths]
    databases.drop(url)
    assert [answer.status_code for answer in answers[:10]] == 5 * [404] + 5 * [200]
    assert (answers[11].status_code, answers[11].json()["code"]) == (429, "too-many-requests")
