"""Similarity maps on demand, over a real database."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from db import browse, explanations, generations
from db.engine import Database
from db.explanations import ExplainedSide
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.storage import FileStore
from tests.support.fake_model import FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from workers.indexer import Indexer

CARD = anatomy_by_short("CARD")


@pytest.fixture
def indexer(database: Database, tmp_path: Path) -> Iterator[Indexer]:
    store = FileStore(tmp_path)
    for seed in range(2):
        file_film(database, store, synthetic_film(seed, rows=64, columns=64))
    made = Indexer(database, store, FakeModel(), 4, lease_s=60)
    made.drain()
    yield made
    made.close()


def ask(indexer: Indexer, box: Box) -> int:
    with indexer.database.session() as session:
        model = generations.active(session)
        assert model is not None
        one, other = (study.instances[0].pk for study in browse.list_studies(session, model_pk=model.pk, limit=2))
        return explanations.ask(session, model.pk, CARD, ExplainedSide(one, box), ExplainedSide(other, box))


def test_a_pair_is_explained_once_and_its_maps_are_kept(indexer: Indexer) -> None:
    pk = ask(indexer, Box(5, 5, 40, 40))
    assert (indexer.explain_pairs(), indexer.explain_pairs()) == (1, 0)
    found = explanations.wait(indexer.database, pk, 5)
    assert found.maps is not None
    assert np.allclose(found.maps[0], -found.maps[1])
    assert found.maps[0].shape == (4, 4)
    assert ask(indexer, Box(5, 5, 40, 40)) == pk
    assert indexer.explain_pairs() == 0


def test_a_box_outside_the_film_has_a_reason_and_is_tried_again_when_asked_again(indexer: Indexer) -> None:
    pk = ask(indexer, Box(500, 500, 600, 600))
    indexer.explain_pairs()
    assert explanations.wait(indexer.database, pk, 5).reason == "box outside the image"
    assert ask(indexer, Box(500, 500, 600, 600)) == pk
    assert indexer.explain_pairs() == 1


def test_what_nobody_makes_is_waited_for_no_longer_than_told(indexer: Indexer) -> None:
    found = explanations.wait(indexer.database, ask(indexer, Box(1, 1, 20, 20)), 0.2)
    assert (found.maps, found.reason) == (None, "")
