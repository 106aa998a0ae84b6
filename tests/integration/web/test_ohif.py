"""The viewer's data source for one answer: what the JSON API kept is what the source lists."""

from collections.abc import Iterator

import pytest

from tests.support.api import Api, running_api
from tests.support.films import synthetic_film
from tests.support.postgres import TestDatabases
from tests.support.web_client import WebClient

FILMS = tuple(synthetic_film(seed, rows=128, columns=96) for seed in range(6))


@pytest.fixture(scope="module")
def api(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    url = databases.migrated()
    with running_api(url, tmp_path_factory.mktemp("ohif"), FILMS) as running:
        yield running
    databases.drop(url)


def test_the_source_of_an_answer_lists_its_hits_by_rank(api: Api) -> None:
    asked = api.ask(api.pseudonymous, anchor=FILMS[0].AccessionNumber, regions=["LLLZ"], k=4).json()
    client = WebClient(api.app)
    (source,) = client.get(f"/api/v1/ohif/{asked['code']}.json").json()["servers"]["dicomWeb"]
    assert source["qidoRoot"] == source["wadoRoot"] == f"/dicom-web/sim/{asked['code']}/LLLZ"
    studies = client.get(f"{source['qidoRoot']}/studies?limit=101&includefield=00081030").json()
    descriptions = [study["00081030"]["Value"][0] for study in studies]
    assert [study["0020000D"]["Value"][0] for study in studies] == [h["instance"]["study"] for h in asked["hits"]]
    assert descriptions == sorted(descriptions)  # OHIF sorts what is fewer than 101


def test_a_code_that_was_never_given_has_no_source(api: Api) -> None:
    answer = WebClient(api.app).get("/api/v1/ohif/00000000.json")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-result-set")
