"""The page of similar studies in Chromium: 5,000 studies, one region asked, every picture drawn for the first time.

Times run, by the browser's own clock, from the navigation: to the largest paint of what stands in the page at first,
the ranked hits beside the query, both films coarse; until all of these pictures are there; and until both films have
come in full, which are asked for then. A thumbnail's time runs until the browser has loaded it: of one that is asked
for from then on, with its wait for a connection; of one that stands in the page from the page's first byte, and what
the server took to draw all of them (`Server-Timing`) is added to each.

The films that are seen (88, native, 2048 x 1792) are filed as the node does and indexed by the index worker's own code,
which keeps their renditions; nothing is filled in by hand. A second web process then answers the same questions with
the renditions deleted, as of an archive that was indexed before they were kept.
"""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from db import browse
from db.engine import Database
from regionmir.storage import FileStore
from tests.benchmarks.report import Figure
from tests.support import browser
from tests.support.fake_model import FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from tests.support.live_web import live_web
from tests.support.postgres import TestDatabases, throw_away_server
from tests.support.seed import many_films, seed
from workers.indexer import Indexer

STUDIES = 5000
ASKED = 8
FILM_PX = (2048, 1792)
PAINT_MS, THUMBNAIL_MS = 500, 100
_LOADED = """
  window.loaded = new Map();
  document.addEventListener('load', event => loaded.set(event.target.src, performance.now()), true);
"""
_TIMES = """() => new Promise(done => {
  const asked = performance.getEntriesByType('resource');
  const page = performance.getEntriesByType('navigation')[0];
  const drawn = page.serverTiming.find(one => one.name === 'pictures').duration;
  const asked_for = new Map(asked.map(one => [one.name, one.startTime]));
  const of = (name) => asked.filter(one => one.name.endsWith(name));
  const told = (list) => {
    const painted = list.getEntries().filter(one => !one.url.endsWith('.png')).map(one => one.startTime);
    done({
      paint: Math.max(...painted),
      pictures: page.loadEventStart,
      films: Math.max(...of('/film.png').map(one => one.responseEnd)),
      thumbnails: [...document.querySelectorAll('.strip img')].map(
        one => loaded.get(one.src) - (asked_for.get(one.src) ?? page.responseStart - drawn)),
    });
  };
  new PerformanceObserver(told).observe({type: 'largest-contentful-paint', buffered: true});
})"""


def figures() -> Iterator[Figure]:
    """Give the first useful paint and the thumbnails' times; nothing where there is no Chromium."""
    if not browser.CHROMIUM.exists():
        return
    with tempfile.TemporaryDirectory() as folder, _filled(Path(folder)) as (database, url, paths):
        kept = _measured(Path(folder), url, paths)
        with database.session() as session:
            session.execute(text("DELETE FROM rendition"))
        drawn = _measured(Path(folder), url, paths)
    what = f"similar studies in Chromium, {STUDIES} studies"
    for name, told, times, target in (
        ("page_paint_5k", "largest paint, films coarse", kept.paints, PAINT_MS),
        ("page_pictures_5k", "every first picture there", kept.pictures, None),
        ("page_films_5k", "both films in full", kept.films, None),
    ):
        yield Figure(name, f"{what}: {told}, ms, median", statistics.median(times), target, False)
    yield from _of_thumbnails("page_thumbnail", f"{what}: a thumbnail", kept.thumbnails, THUMBNAIL_MS)
    yield from _of_thumbnails(
        "page_thumbnail_drawn", f"{what}: a thumbnail without a kept rendition", drawn.thumbnails, None
    )


def _of_thumbnails(name: str, what: str, times: list[float], target: float | None) -> Iterator[Figure]:
    yield Figure(f"{name}_5k", f"{what}, ms, median", statistics.median(times), target, False)
    p95 = sorted(times)[int(0.95 * len(times))]
    why = "they stand in the page: what is left is Chromium's own time until they are loaded, longest on the first page"
    yield Figure(f"{name}_p95_5k", f"{what}, ms, p95", p95, target, False, why=why)


@dataclass(frozen=True, slots=True)
class _Times:
    """Of one web process, in ms: of each page its largest paint, its first pictures and its films in full, and each
    thumbnail of all of them."""

    paints: list[float]
    pictures: list[float]
    films: list[float]
    thumbnails: list[float]


def _measured(folder: Path, url: str, paths: list[str]) -> _Times:
    """Return the times of a web process that starts now, so that it has no picture in memory."""
    with live_web(data_dir=folder, database_url=url) as address, browser.page() as page:
        page.add_init_script(_LOADED)
        page.goto(f"{address}/?q=nobody")  # browser and server have started; no picture is drawn yet
        measured = [_measure(page, address + path) for path in paths]
    paints, pictures, films = ([float(one[name]) for one in measured] for name in ("paint", "pictures", "films"))
    return _Times(paints, pictures, films, [float(time) for one in measured for time in one["thumbnails"]])


def _measure(page: Any, address: str) -> dict[str, Any]:
    page.goto(address, wait_until="networkidle")
    for side in ("query", "hit"):
        page.wait_for_selector(f".stage.{side} image.film[href$='film.png']", state="attached")
    return dict(page.evaluate(_TIMES))


@contextmanager
def _filled(folder: Path) -> Iterator[tuple[Database, str, list[str]]]:
    """Yield a database with its URL, and the paths of some questions whose films and hits are real objects."""
    with throw_away_server(folder / "postgres") as server:
        url = TestDatabases(server.url).migrated()
        database = Database(url, application_name="benchmark")
        yield database, url, _fill(database, FileStore(folder))
        database.close()


def _fill(database: Database, store: FileStore) -> list[str]:
    """Fill the database: most studies by their rows alone, with random vectors, far from the films that are real."""
    info = FakeModel().info
    for number in range(ASKED * 11):
        file_film(database, store, synthetic_film(number, rows=FILM_PX[0], columns=FILM_PX[1]))
    indexer = Indexer(database, store, FakeModel(), 16, lease_s=60)
    indexer.drain()
    indexer.close()
    films, _ = many_films(STUDIES - ASKED * 11, info.anatomies, info.dim)
    seed(database, films, info=info)
    with database.session() as session:
        found = browse.list_studies(session, model_pk=1, limit=STUDIES)
    shown = [study for study in found if study.instances and study.instances[0].columns == FILM_PX[1]]
    return [f"/studies/{s.uid}/{s.instances[0].uid}/LLLZ" for s in shown[:ASKED]]
