"""The search for leaks finds one that is planted, wherever it is; without one it finds none."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from db.engine import Database
from db.find import Field
from dicom_node import find_similar
from regionmir.archive import copies
from regionmir.query import disclosure, trail
from regionmir.web import pages
from tests.support.canary_films import FORMS
from tests.support.films import chest_values
from tests.support.leak_site import PLAIN, Site, thread_site
from tests.support.leak_walk import WAYS, Walk, Way, get_film, move_film, ordinary, original_key, read_pages, similar

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.plants_leaks]


@pytest.fixture(scope="module")
def site(databases: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    pixels = [(chest_values(n, 96, 96) * 255).astype(np.uint8) for n in range(PLAIN + len(FORMS))]
    url = databases.migrated()
    database = Database(url, application_name="test")
    with thread_site(database, pixels, tmp_path_factory.mktemp("node")) as made:
        yield made
    database.close()
    databases.drop(url)


def test_nothing_leaks_and_every_way_brings_something(site: Site) -> None:
    walk = Walk(site, 7)
    walk.run(120)
    assert (walk.leaks, walk.matched) == ([], [])
    assert set(walk.asked) == set(WAYS)
    assert {"ordinary", "similar", "below a hit", "get", "move", "web"} <= set(+walk.answered)


def an_attribute_that_answers_show(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setitem(disclosure.PSEUDONYMOUS, "00081030", Field("00081030"))


def a_profile_that_keeps_an_attribute(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    made = copies.pseudonymous_copy

    def leaking(path: Path, *arguments: Any) -> Dataset:
        copy = made(path, *arguments)
        copy.ImageComments = "kept: " + site.canaries.texts["film 0 ImageComments"]
        return copy

    monkeypatch.setattr(copies, "pseudonymous_copy", leaking)


def a_comment_that_repeats_what_it_refuses(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    made = find_similar.failure
    text = site.canaries.texts["film 1 AccessionNumber"]
    monkeypatch.setattr(find_similar, "failure", lambda status, comment: made(status, f"{text}: {comment}"[:64]))


def a_log_line_with_an_accession_number(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    import structlog

    made = trail.record_find

    def leaking(*arguments: Any, **values: Any) -> None:
        structlog.get_logger().info("asked", accession=site.canaries.texts["film 2 AccessionNumber"])
        made(*arguments, **values)

    monkeypatch.setattr(trail, "record_find", leaking)


def a_page_with_a_date_of_birth(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    day = site.canaries.texts["film 0 PatientBirthDate day"]
    made = pages.page

    def leaking(*arguments: Any, **values: Any) -> Any:
        page = made(*arguments, **values)
        page.headers["X-Born"] = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        return page

    monkeypatch.setattr(pages, "page", leaking)


@pytest.mark.parametrize(
    ("plant", "way", "where"),
    [
        (an_attribute_that_answers_show, ordinary, "StudyDescription in what the node sent"),
        (an_attribute_that_answers_show, ordinary, "StudyDescription in values as decoded"),
        (a_profile_that_keeps_an_attribute, get_film, "ImageComments in what the node sent"),
        (a_profile_that_keeps_an_attribute, move_film, "ImageComments in what arrived at the destination"),
        (a_profile_that_keeps_an_attribute, move_film, "ImageComments in objects at the destination"),
        (a_comment_that_repeats_what_it_refuses, similar, "AccessionNumber in what the node sent"),
        (a_log_line_with_an_accession_number, ordinary, "AccessionNumber in logs"),
        (a_page_with_a_date_of_birth, read_pages, "PatientBirthDate day in values as decoded"),
    ],
)
def test_a_planted_leak_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch, plant: Callable[..., None], way: Way, where: str
) -> None:
    plant(monkeypatch, site)
    walk = Walk(site, 11)
    for _ in range(40):
        walk.take(way.__name__, way)
        if any(leak.endswith(where) for leak in walk.leaks):
            break
    assert any(leak.endswith(where) for leak in walk.leaks), walk.leaks


def test_an_original_that_matches_as_a_key_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(disclosure.PSEUDONYMOUS, "00080050", Field("00080050"))
    walk = Walk(site, 11)
    walk.originals = [one for one in walk.originals if one[1].keyword == "AccessionNumber"]
    for _ in range(len(walk.originals)):
        walk.take("original as a key", original_key)
    assert walk.matched
