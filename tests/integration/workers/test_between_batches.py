"""Who waits for the model is answered by a drain, also one that finds no film."""

from pathlib import Path

from db import browse, drawn_boxes, explanations, generations, unanswered, uploads
from db.engine import Database
from db.explanations import ExplainedSide
from db.unanswered import Unanswered
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.core.header import read_header
from regionmir.core.identifiers import parse_uid
from regionmir.core.records import InstanceState
from regionmir.storage import FileStore
from regionmir.storage.uploads import Uploads
from tests.support.fake_model import PLACES, FakeModel
from tests.support.filing import file_film
from tests.support.films import save, synthetic_film
from workers.indexer import Indexer

CARD, BOX = anatomy_by_short("CARD"), Box(5, 5, 40, 40)


def test_a_drain_answers_a_box_a_pair_and_an_uploaded_film(database: Database, tmp_path: Path) -> None:
    store, folder = FileStore(tmp_path), Uploads(tmp_path / "uploads")
    for seed in range(2):
        file_film(database, store, synthetic_film(seed, rows=64, columns=64))
    indexer = Indexer(database, store, FakeModel(), 4, lease_s=60, uploads=folder)
    indexer.drain()
    film = synthetic_film(7, rows=64, columns=64)
    with folder.new() as (code, file):
        file.write(save(film, tmp_path / "film.dcm").read_bytes())
    with database.session() as session:
        model = generations.active(session)
        assert model is not None
        one, other = (study.instances[0].pk for study in browse.list_studies(session, model_pk=model.pk, limit=2))
        assert unanswered.find(session, model.pk) == Unanswered(boxes=False, pairs=False, films=False)
        box = drawn_boxes.ask(session, one, model.pk, CARD, BOX)
        pair = explanations.ask(session, model.pk, CARD, ExplainedSide(one, BOX), ExplainedSide(other, BOX))
        uploads.add(
            session,
            code,
            owner="me",
            header=read_header(film, parse_uid(str(film.file_meta.TransferSyntaxUID))),
            lifetime_s=60,
        )
        assert unanswered.find(session, model.pk) == Unanswered(boxes=True, pairs=True, films=True)
        assert unanswered.find(session, model.pk + 1) == Unanswered(boxes=False, pairs=False, films=True)
    assert indexer.drain() == 0
    indexer.close()
    found = uploads.wait(database, code, "me", 5)
    assert found is not None
    assert (found.state, len(found.regions)) == (InstanceState.INDEXED, len(PLACES))
    assert drawn_boxes.wait(database, box, 5).vector is not None
    assert explanations.wait(database, pair, 5).maps is not None
