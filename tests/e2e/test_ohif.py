"""OHIF in Chromium, served by us and asking us: lists, films of kinds that viewers stumble over, similar studies."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion
from regionmir.results.report import measurement_report
from regionmir.web.viewers import SIDE_BY_SIDE
from tests.conftest import absent
from tests.support import browser, ohif, results
from tests.support.api import Api, running_api, serving
from tests.support.filing import PSEUDONYMIZER
from tests.support.films import chest_values, synthetic_film
from tests.support.postgres import TestDatabases

ROWS, COLUMNS = 512, 448
OTHERS = range(2, 12)
WITHHELD = 50
K = 5
REGIONS = tuple(
    DetectedRegion(anatomy_by_short(short), Box(*corners), 0.9)
    for short, corners in {"LLLZ": (250, 300, 380, 420), "CARD": (180, 230, 330, 410)}.items()
)


def film(seed: int, **attributes: object) -> Dataset:
    return synthetic_film(seed, rows=ROWS, columns=COLUMNS, **attributes)


def inverted(seed: int) -> Dataset:
    """Return a MONOCHROME1 film that looks as `seed` does; its pixel spacing is zero, as old digitisers write it."""
    made = film(seed, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", PixelSpacing=[0, 0])
    made.PixelData = (np.uint16(4095) - np.frombuffer(made.PixelData, np.uint16)).tobytes()
    return made


JPEG_2000, MONOCHROME1 = film(0, transfer_syntax_uid=JPEG2000Lossless), inverted(1)
FILMS = (JPEG_2000, MONOCHROME1, *(film(seed) for seed in OTHERS), film(WITHHELD, BurnedInAnnotation="YES"))
REPORT = measurement_report(results.source(JPEG_2000, regions=REGIONS))


@dataclass(frozen=True, slots=True)
class Viewer:
    """Where the viewer is, and the site behind it."""

    address: str
    api: Api

    def answer(self) -> tuple[str, int]:
        """Ask for what is similar to the film that came as JPEG 2000; return the answer's code and its best hit."""
        asked = self.api.ask(self.api.identified, anchor=JPEG_2000.AccessionNumber, regions=["LLLZ"], k=K).json()
        best = asked["hits"][0]["instance"]["study"]
        return asked["code"], next(seed for seed in (1, *OTHERS) if study(seed) == best)


@pytest.fixture(scope="module")
def viewer(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    pytest.importorskip("playwright")
    if not browser.CHROMIUM.exists():
        absent("Chromium (apt-get install chromium)")
    url, folder = databases.migrated(), tmp_path_factory.mktemp("viewer")
    ohif.install_viewer(folder)
    with running_api(url, folder, (*FILMS, REPORT)) as api, serving(api.app) as address:
        yield Viewer(address, api)
    databases.drop(url)


def study(seed: int) -> str:
    """Return the UID of a film's study under its pseudonym."""
    return PSEUDONYMIZER.uid("study", film(seed).StudyInstanceUID)


@pytest.mark.slow
def test_without_sign_in_films_are_seen_and_what_is_withheld_is_said(viewer: Viewer) -> None:
    with browser.page(expected=("403", "request failed", "not-allowed")) as page:
        page.goto(f"{viewer.address}/ohif/viewer?StudyInstanceUIDs={study(0)}", wait_until="commit")
        ohif.settled(page)
        page.get_by_role("alert").get_by_text("Not all is shown").wait_for()  # our report stays behind
        page.get_by_role("button", name="Close").click()
        assert ohif.shows(page, 0, chest_values(0, ROWS, COLUMNS)), "the film that came as JPEG 2000"
        browser.keep(page, "ohif-jpeg2000")
        page.goto(f"{viewer.address}/ohif/viewer?StudyInstanceUIDs={study(1)}", wait_until="commit")
        assert ohif.shows(page, 0, chest_values(1, ROWS, COLUMNS)), "the film that came as MONOCHROME1"
        browser.keep(page, "ohif-monochrome1")
        page.goto(f"{viewer.address}/ohif/viewer?StudyInstanceUIDs={study(WITHHELD)}", wait_until="commit")
        page.get_by_role("alert").get_by_text("without burned-in annotation").wait_for()
        assert page.get_by_role("alert").bounding_box()["height"] > 600, "nothing else is there to be seen"
        browser.keep(page, "ohif-withheld")


@pytest.mark.slow
def test_a_token_in_the_description_lists_similar_studies_in_their_order(viewer: Viewer) -> None:
    with browser.page() as page:
        page.goto(f"{viewer.address}/ohif/?datasources=similar", wait_until="commit")
        page.get_by_text("RGN-").nth(len(FILMS) - 1).wait_for()
        page.locator("input").last.fill(f"SIM {study(0)} LLLZ")
        ohif.descriptions(page, 10)
        page.get_by_role("button", name="Description").click()
        assert [line.split()[3] for line in ohif.descriptions(page, 10)] == [f"#{rank:03d}" for rank in range(1, 11)]
        browser.keep(page, "ohif-similar")


@pytest.mark.slow
def test_query_and_hit_of_one_answer_stand_side_by_side_with_the_boxes_of_our_report(viewer: Viewer) -> None:
    code, hit = viewer.answer()
    source = f"url=/api/v1/ohif/{code}.json"
    asked = "&".join(f"StudyInstanceUIDs={film(seed).StudyInstanceUID}" for seed in (0, hit))
    with browser.page(token=viewer.api.identified) as page:
        page.goto(f"{viewer.address}/ohif/?datasources=answer&{source}", wait_until="commit")
        assert all(f" {code} " in line for line in ohif.descriptions(page, K))
        browser.keep(page, "ohif-answer")
        compare = f"{asked}&hangingProtocolId={SIDE_BY_SIDE}"
        page.goto(f"{viewer.address}/ohif/viewer/answer?{source}&{compare}", wait_until="commit")
        ohif.settled(page, tour=False)
        assert ohif.shows(page, 0, chest_values(0, ROWS, COLUMNS)), "the query"
        assert ohif.shows(page, 1, chest_values(hit, ROWS, COLUMNS)), "the hit"
        page.locator("svg text", has_text="Detection score").nth(len(REGIONS) - 1).wait_for()
        browser.keep(page, "ohif-side-by-side")
