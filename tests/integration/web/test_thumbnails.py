"""Thumbnails over HTTP: of the rendition that is kept, else drawn and kept; seen by those who may see the film."""

import io
import re
import shutil
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from sqlalchemy import event, text

from db import visibility
from db.engine import Database
from regionmir.core.keeping import StoragePolicy
from regionmir.core.settings import Settings
from regionmir.storage import FileStore
from regionmir.web import pictures
from regionmir.web.app import make_app, make_site
from tests.support.fake_model import FakeModel
from tests.support.filing import PSEUDONYMIZER, file_film
from tests.support.films import synthetic_film
from tests.support.web_client import WebClient
from workers.indexer import Indexer

SMALL = {"thumbnail.jpg": 224, "LLLZ.jpg": 224, "film.jpg": 720}
"""Pictures that are cut from a rendition, with their longer sides in pixels."""


@dataclass
class Served:
    """Indexed films behind the web application, which starts anew where nothing may be left in its memory."""

    database: Database
    folder: Path
    policy: StoragePolicy = StoragePolicy.KEEP

    def index(self, *films: Dataset) -> None:
        store = FileStore(self.folder)
        for film in films:
            file_film(self.database, store, film)
        indexer = Indexer(self.database, store, FakeModel(), 16, lease_s=60)
        indexer.drain()
        indexer.close()

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Ask a process that has just started, and return status and content."""
        url = self.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        site = make_site(Settings(data_dir=self.folder, database_url=url, storage_policy=self.policy))
        self.statements = 0
        event.listen(site.database.engine, "before_cursor_execute", self._count)
        answer = WebClient(make_app(site)).get(path, {name.replace("_", "-"): value for name, value in headers.items()})
        site.close()
        self.tag = answer.headers.get("etag", "")
        return answer.status_code, answer.content

    def similar(self, film: Dataset) -> str:
        """Return the path of the page of studies similar to a film's left lower lung zone."""
        study = PSEUDONYMIZER.uid("study", film.StudyInstanceUID)
        return f"/studies/{study}/{PSEUDONYMIZER.uid('instance', film.SOPInstanceUID)}/LLLZ"

    def hit_pictures(self, film: Dataset) -> list[str]:
        """Return the addresses of its hits' pictures."""
        status, page = self.get(self.similar(film))
        assert status == 200
        return re.findall(r'<img src="([^"]+)"', page.decode())

    def _count(self, *_: object) -> None:
        self.statements += 1

    def execute(self, statement: str) -> None:
        with self.database.session() as session:
            session.execute(text(statement))

    def count(self) -> int:
        with self.database.session() as session:
            return int(session.execute(text("SELECT count(*) FROM rendition")).scalar_one())

    def lose_objects(self) -> None:
        shutil.rmtree(self.folder / "objects")


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Served:
    return Served(database, tmp_path)


def url(film: Dataset, picture: str) -> str:
    return f"/instances/{PSEUDONYMIZER.uid('instance', film.SOPInstanceUID)}/{picture}"


@pytest.mark.parametrize("picture", SMALL)
def test_a_thumbnail_needs_no_object_once_its_rendition_is_kept(served: Served, picture: str) -> None:
    served.index(film := synthetic_film(1, rows=900, columns=700, bits=12))
    served.lose_objects()
    status, content = served.get(url(film, picture))
    assert status == 200
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode, max(image.size)) == ("JPEG", "L", SMALL[picture])
    assert served.get(url(film, "film.png"))[0] == 404


@pytest.mark.parametrize("picture", SMALL)
def test_one_that_is_missing_is_drawn_looks_the_same_and_is_kept(served: Served, picture: str) -> None:
    served.index(film := synthetic_film(1, rows=900, columns=700, bits=12))
    kept = served.get(url(film, picture))
    served.execute("DELETE FROM rendition")
    assert served.get(url(film, picture)) == kept
    assert served.count() == 1
    served.lose_objects()
    assert served.get(url(film, picture)) == kept


def test_where_nothing_but_regions_is_kept_a_thumbnail_is_drawn_and_not_kept(served: Served) -> None:
    served.index(film := synthetic_film(1, rows=128, columns=96))
    served.execute("DELETE FROM rendition")
    served.policy = StoragePolicy.REGIONS
    assert served.get(url(film, "LLLZ.jpg"))[0] == 200
    assert served.count() == 0
    served.execute("UPDATE instance SET kept = 'nothing'")
    served.lose_objects()
    assert served.get(url(film, "LLLZ.jpg"))[0] == 404


def test_a_kept_rendition_does_not_make_a_withheld_or_hidden_film_visible(served: Served) -> None:
    burned, hidden = synthetic_film(1, BurnedInAnnotation="YES"), synthetic_film(2)
    served.index(burned, hidden)
    assert served.count() == 1
    served.execute(
        "INSERT INTO rendition SELECT i.pk, r.drawn_by, r.jpeg FROM instance i, rendition r ON CONFLICT DO NOTHING"
    )
    with served.database.session() as session:
        visibility.hide(session, [str(hidden.StudyInstanceUID)], "gone")
    for film in (burned, hidden):
        for picture in SMALL:
            assert served.get(url(film, picture))[0] == 404


def test_the_hits_of_a_page_are_pictured_in_it_just_as_one_that_is_asked_for(served: Served) -> None:
    served.index(*(films := [synthetic_film(seed, rows=900, columns=700, bits=12) for seed in range(3)]))
    held = {f"data:image/jpeg;base64,{b64encode(served.get(url(film, 'LLLZ.jpg'))[1]).decode()}" for film in films[1:]}
    assert set(served.hit_pictures(films[0])) == held


def test_a_hit_whose_rendition_is_missing_or_broken_is_asked_for_and_drawn_then(served: Served) -> None:
    served.index(*(films := [synthetic_film(seed, rows=900, columns=700, bits=12) for seed in range(3)]))
    served.execute("DELETE FROM rendition WHERE instance_pk = 2")
    served.execute("UPDATE rendition SET jpeg = 'no picture' WHERE instance_pk = 3")
    assert set(served.hit_pictures(films[0])) == {url(film, "LLLZ.jpg") for film in films[1:]}
    assert served.get(url(films[1], "LLLZ.jpg"))[0] == 200


def test_a_hit_that_may_not_be_shown_is_not_in_the_page_though_its_rendition_is_kept(served: Served) -> None:
    films = [synthetic_film(1), synthetic_film(2, BurnedInAnnotation="YES")]
    served.index(*films)
    served.execute(
        "INSERT INTO rendition SELECT i.pk, drawn_by, jpeg FROM rendition, instance i ON CONFLICT DO NOTHING"
    )
    assert served.hit_pictures(films[0]) == []
    assert b'class="nopicture"' in served.get(served.similar(films[0]))[1]


def test_a_browser_that_has_a_picture_is_told_that_it_is_the_same(served: Served) -> None:
    served.index(film := synthetic_film(1, rows=128, columns=96), synthetic_film(2, rows=128, columns=96))
    for picture in (*SMALL, "film.png"):
        assert served.get(url(film, picture))[0] == 200
        tag = served.tag
        assert served.get(url(film, picture), If_None_Match=f'"other", W/{tag}') == (304, b"")
        assert served.get(url(film, picture), If_None_Match='"other"')[0] == 200
        assert served.tag == tag
    served.execute("UPDATE study SET hidden_at = now()")
    assert served.get(url(film, "LLLZ.jpg"), If_None_Match=tag)[0] == 404


@pytest.mark.parametrize(
    ("picture", "cut"), [("thumbnail.jpg", "small_film"), ("LLLZ.jpg", "small_part"), ("film.jpg", "whole_film")]
)
def test_it_is_told_so_before_anything_is_drawn(
    served: Served, monkeypatch: pytest.MonkeyPatch, picture: str, cut: str
) -> None:
    served.index(film := synthetic_film(1, rows=128, columns=96))
    assert served.get(url(film, picture))[0] == 200

    def drawn(*_: object) -> bytes:
        raise AssertionError

    drawn.__name__ = cut
    monkeypatch.setattr(pictures, cut, drawn)
    assert served.get(url(film, picture), If_None_Match=served.tag) == (304, b"")


@pytest.mark.parametrize("picture", SMALL)
def test_a_small_picture_of_a_kept_rendition_takes_one_statement(served: Served, picture: str) -> None:
    served.index(film := synthetic_film(1, rows=128, columns=96))
    assert served.get(url(film, picture))[0] == 200
    assert served.statements == 1


def test_the_coarse_film_lies_as_the_whole_one_does(served: Served) -> None:
    turned = synthetic_film(1, rows=128, columns=96, PatientOrientation=["F", "R"])
    served.index(turned)
    coarse, whole = (
        Image.open(io.BytesIO(served.get(url(turned, picture))[1])) for picture in ("film.jpg", "film.png")
    )
    assert coarse.size == whole.size == (128, 96)
    assert np.abs(np.asarray(coarse, np.float32) - np.asarray(whole, np.float32)).mean() < 4


def test_the_dicomweb_thumbnail_is_of_the_rendition_in_stored_orientation(served: Served) -> None:
    film = synthetic_film(1, rows=900, columns=700, bits=12, PatientOrientation=["R", "H"])
    served.index(film)
    originals = {"study": film.StudyInstanceUID, "series": film.SeriesInstanceUID, "instance": film.SOPInstanceUID}
    uids = [PSEUDONYMIZER.uid(kind, str(uid)) for kind, uid in originals.items()]
    path = "/dicom-web/studies/{}/series/{}/instances/{}/thumbnail".format(*uids)
    kept = served.get(path, Accept="image/jpeg")
    assert kept[0] == 200
    jpeg = [Image.open(io.BytesIO(kept[1]))]
    served.execute("DELETE FROM rendition")
    jpeg.append(Image.open(io.BytesIO(served.get(path, Accept="image/jpeg")[1])))
    assert [one.size for one in jpeg] == [(199, 256)] * 2
    seen, drawn = (np.asarray(one, np.float32) for one in jpeg)
    assert np.abs(seen - drawn).mean() < 3
    assert not np.array_equal(seen, drawn), "one is of the rendition, the other of the film"
