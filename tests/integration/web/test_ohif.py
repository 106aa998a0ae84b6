"""The viewer's data source for one answer: what the JSON API kept is what the source lists."""

from collections.abc import Iterator

import pytest

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
    answer = WebClient(api.app).get("/api/v1/ohif/00000000.json")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-result-set")
