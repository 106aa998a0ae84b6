"""The pages in a real browser: open, pick a region, see ten similar, draw a box, see others, send to the PACS."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from db import deliveries, peers, users
from db.engine import Database
from db.peers import Peer
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Role
from regionmir.storage import FileStore
from regionmir.web.signin.passwords import hash_password
from tests.conftest import absent
from tests.support import browser
from tests.support.answering import working
from tests.support.axe import axe_source
from tests.support.doors import url_of
from tests.support.fake_model import PLACES, FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from tests.support.live_web import live_web
from workers.indexer import Indexer

FILMS = 14
NAME, PASSWORD = "mueller", "correct horse battery"
ADMIN_PAGES = ("/admin", "/admin/deliveries", "/admin/models", "/admin/peers", "/admin/audit")


@dataclass(frozen=True, slots=True)
class Pages:
    """Where the pages are served, and the database behind them."""

    address: str
    database: Database

    def sign_in(self, page: Any) -> None:
        """Come to the list of studies by the page of sign-in."""
        page.goto(self.address)
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector(".studies")
        page.wait_for_load_state()


@pytest.fixture
def pages(database: Database, tmp_path: Path) -> Iterator[Pages]:
    pytest.importorskip("playwright")
    if not browser.CHROMIUM.exists():
        absent("Chromium (apt-get install chromium)")
    store = FileStore(tmp_path)
    for seed in range(FILMS):
        file_film(database, store, synthetic_film(seed, rows=512, columns=448))
    file_film(database, store, synthetic_film(99, ViewPosition="LL"))
    with database.session() as session:
        peers.upsert(session, Peer(AETitle("ARCHIVE"), host="127.0.0.1", port=11112, accepts_pseudonyms=True))
        users.add_local(session, NAME, hash_password(PASSWORD, NAME), Role.ADMIN, identified=False)
    indexer = Indexer(database, store, FakeModel(), 16, lease_s=60)
    indexer.drain()
    settings: dict[str, Any] = {"data_dir": tmp_path, "database_url": url_of(database), "signin": "local"}
    with working(indexer), live_web(**settings) as address:
        yield Pages(address, database)
    indexer.close()


def ranked(page: Any) -> list[str]:
    """Return the films of the hits shown, best first."""
    return [str(card.get_attribute("data-film")) for card in page.locator(".card").all()]


def test_from_the_list_to_results_in_the_pacs(pages: Pages) -> None:
    with browser.page() as page:
        page.goto(pages.address)
        browser.keep(page, "sign-in")
        pages.sign_in(page)
        assert page.locator(".study").count() == FILMS + 1
        page.locator("summary", has_text="Why others").click()
        assert "lateral view" in page.locator(".why").inner_text()
        browser.keep(page, "list")
        page.locator("a.study:has(img)").first.click()
        page.wait_for_selector("body[data-ready]")
        assert page.locator(".stage .box").count() == len(PLACES)
        browser.keep(page, "study")
        page.locator(".regions a", has_text="LLLZ").click()
        page.wait_for_selector("body[data-ready]")
        of_region = ranked(page)
        assert len(of_region) == 10
        page.wait_for_selector(".stage.query image.film[href$='film.png']")
        page.wait_for_selector(".stage.hit image.film[href$='film.png']")
        browser.keep(page, "similar")
        _draw(page)
        page.wait_for_url("**box=*")
        page.wait_for_selector(".card")
        page.wait_for_selector("body[data-ready]")
        of_box = ranked(page)
        assert len(of_box) == 10
        assert of_box != of_region
        browser.keep(page, "drawn")
        page.locator("summary", has_text="Send to PACS").click()
        page.get_by_role("button", name="ARCHIVE").click()
        page.wait_for_selector("#toast:has-text('on their way to ARCHIVE')")
        browser.keep(page, "sent")
    with pages.database.session() as session:
        (sent,) = deliveries.listing(session)
    assert (sent.destination, sent.kind, sent.state.value) == ("ARCHIVE", "sr", "waiting")


def _draw(page: Any) -> None:
    """Draw a box from the middle of the query to its lower right, by mouse."""
    page.locator("[data-tool=draw]").click()
    frame = page.locator(".stage.query").bounding_box()
    x, y = frame["x"] + frame["width"] * 0.45, frame["y"] + frame["height"] * 0.4
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 60)
    page.mouse.move(x + 120, y + 110)
    page.mouse.up()


def test_hits_side_by_side_by_keys_alone(pages: Pages) -> None:
    with browser.page() as page:
        pages.sign_in(page)
        page.goto(pages.address + str(page.locator("a.study:has(img)").first.get_attribute("href")))
        page.locator(".regions a", has_text="CARD").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready] #hit[data-rank='1']")
        page.keyboard.press("j")
        page.wait_for_selector("#hit[data-rank='2'] image.film[href$='film.png']")
        page.wait_for_url("**hit=2")
        before = [page.locator(f".stage.{side}").get_attribute("viewBox") for side in ("query", "hit")]
        page.keyboard.press("+")
        after = [page.locator(f".stage.{side}").get_attribute("viewBox") for side in ("query", "hit")]
        assert all(old != new for old, new in zip(before, after, strict=True))
        page.keyboard.press("m")
        page.wait_for_selector(".stage.hit image.map", state="attached")
        page.keyboard.press("g")
        page.wait_for_selector(".card[data-rank='2'] .said.yes")
        page.keyboard.press("i")
        assert page.locator("#hit image.film").get_attribute("filter") == "url(#window)"
        page.keyboard.press("b")
        assert not page.locator(".stage.query a:not([aria-current])").first.is_visible()
        browser.keep(page, "map")
        page.reload()
        page.wait_for_selector(".card[data-rank='2'] .said.yes")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (768, 1024)])
def test_a_study_and_its_hits_fit_the_screen(pages: Pages, width: int, height: int) -> None:
    with browser.page(width, height) as page:
        pages.sign_in(page)
        href = page.locator("a.study:has(img)").first.get_attribute("href")
        page.goto(f"{pages.address}{href}")
        page.goto(str(page.locator(".regions a").first.evaluate("link => link.href")))
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator(".stage.hit").bounding_box()["height"] > 0.35 * height
        browser.keep(page, f"similar-{width}x{height}")


def test_axe_finds_nothing_serious(pages: Pages) -> None:
    axe = axe_source()
    with browser.page() as page:
        page.goto(pages.address)
        assert _serious(page, axe) == [], "the page of sign-in"
        pages.sign_in(page)
        study = str(page.locator("a.study:has(img)").first.get_attribute("href"))
        page.goto(pages.address + study)
        region = str(page.locator(".regions a").first.get_attribute("href"))
        for path in ("/", "/?q=nobody", study, region, f"{region}?view=AP&sex=F&age_to=1", *ADMIN_PAGES, "/sign-in"):
            page.goto(pages.address + path)
            assert _serious(page, axe) == [], path


def _serious(page: Any, axe: str) -> list[tuple[str, str]]:
    """Return what axe finds serious on a page: rule and first element."""
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    return [(f["id"], f["nodes"][0]["html"]) for f in found if f["impact"] in ("serious", "critical")]
