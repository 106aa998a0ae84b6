"""What a small picture is drawn from says the same of a film as what pages say of it."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from db import browse, pictures, visibility
from db.engine import Database
from regionmir.core.anatomy import anatomy_by_short
from regionmir.pixels.rendition import DRAWN_BY
from regionmir.storage import FileStore
from tests.support.fake_model import FakeModel
from tests.support.filing import PSEUDONYMIZER, file_film
from tests.support.films import synthetic_film
from workers.indexer import Indexer

LLLZ, SVC = anatomy_by_short("LLLZ"), anatomy_by_short("SVC")
SAME = ("pk", "sop_class_uid", "storage_key", "rows", "columns", "burned_in_annotation", "orientation")


def uid(film: Dataset) -> str:
    return PSEUDONYMIZER.uid("instance", film.SOPInstanceUID)


def index(database: Database, store: FileStore, *films: Dataset) -> None:
    for film in films:
        file_film(database, store, film)
    indexer = Indexer(database, store, FakeModel(), 16, lease_s=60)
    indexer.drain()
    indexer.close()


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"BurnedInAnnotation": "YES"},
        {"kind": "SC", "BurnedInAnnotation": "NO"},
        {"PatientOrientation": ["F", "R"], "FieldOfViewHorizontalFlip": "NO"},
        {"PatientOrientation": None},
    ],
)
def test_a_film_is_said_to_be_what_pages_say(database: Database, tmp_path: Path, stated: dict[str, object]) -> None:
    index(database, FileStore(tmp_path), film := synthetic_film(1, rows=128, columns=96, **stated), synthetic_film(2))
    with database.session() as session:
        browsed = browse.find_instance(session, uid(film), model_pk=1)
        found = pictures.find(session, uid(film), DRAWN_BY, LLLZ)
    assert browsed is not None
    assert found is not None
    assert [getattr(found, name) for name in SAME] == [getattr(browsed, name) for name in SAME]
    region = browsed.region(LLLZ)
    assert region is not None
    assert found.box == region.box


def test_no_box_is_given_of_a_region_that_was_not_asked_or_not_found(database: Database, tmp_path: Path) -> None:
    index(database, FileStore(tmp_path), film := synthetic_film(1))
    with database.session() as session:
        for anatomy in (None, SVC):
            found = pictures.find(session, uid(film), DRAWN_BY, anatomy)
            assert found is not None
            assert found.box is None


def test_a_rendition_that_was_drawn_otherwise_is_none(database: Database, tmp_path: Path) -> None:
    index(database, FileStore(tmp_path), film := synthetic_film(1))
    with database.session() as session:
        kept, other = (pictures.find(session, uid(film), drawn_by) for drawn_by in (DRAWN_BY, "another way"))
    assert kept is not None
    assert kept.rendition is not None
    assert other is not None
    assert other.rendition is None


def test_nothing_is_said_of_a_hidden_study_nor_by_an_original_uid(database: Database, tmp_path: Path) -> None:
    index(database, FileStore(tmp_path), hidden := synthetic_film(1), shown := synthetic_film(2))
    with database.session() as session:
        visibility.hide(session, [str(hidden.StudyInstanceUID)], "gone")
        assert pictures.find(session, uid(hidden), DRAWN_BY) is None
        assert pictures.find(session, shown.SOPInstanceUID, DRAWN_BY) is None
        assert pictures.find(session, uid(shown), DRAWN_BY) is not None
