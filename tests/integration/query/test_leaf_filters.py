"""Conditions that a leaf's own columns can tell give what the join with the studies gives."""

from collections.abc import Iterator

import numpy as np
import pytest

from db import compared, embeddings
from db.embeddings import NeighbourFilter
from db.engine import Database
from db.find import Condition
from regionmir.core.records import Disclosure
from regionmir.query.keys import Key, Keys, values_of
from regionmir.query.narrowing import narrowing
from tests.support.postgres import TestDatabases
from tests.support.records import element, generation, unit_vectors
from tests.support.seed import all_found, film, seed

FILMS, DIM = 30, 16
VECTORS = unit_vectors(FILMS, DIM)


@pytest.fixture(scope="module")
def films(databases: TestDatabases) -> Iterator[tuple[Database, int]]:
    url = databases.migrated()
    database = Database(url, application_name="test")
    dates = [f"2020{1 + n % 12:02}01" if n % 5 else "" for n in range(FILMS)]
    made = [
        film(
            n,
            VECTORS[n][np.newaxis],
            t00080020=element("DA", *([dates[n]] if dates[n] else [])),
            t00100040=element("CS", *([("F", "M", "O")[n % 3]] if n % 7 else [])),
        )
        for n in range(FILMS)
    ]
    model_pk = seed(database, made, info=generation("one", DIM, all_found(1)))
    yield database, model_pk
    database.close()
    databases.drop(url)


def conditions(disclosure: Disclosure = Disclosure.IDENTIFIED, **asked: str) -> tuple[Condition, ...]:
    tags = {
        "date": ("00080020", "DA"),
        "sex": ("00100040", "CS"),
        "age": ("00101010", "AS"),
        "modality": ("00080060", "CS"),
    }
    keys = {tag: Key(tag, vr, values_of(asked[name])) for name, (tag, vr) in tags.items() if name in asked}
    return narrowing(Keys({"00080052": Key("00080052", "CS", ("STUDY",)), **keys}), disclosure)


@pytest.mark.parametrize(
    "asked",
    [
        {"date": "20200301-20200801"},
        {"date": "20200501"},
        {"date": "-20200401"},
        {"date": "20200901-"},
        {"sex": "F"},
        {"sex": "M", "date": "20200201-20201001"},
    ],
)
def test_dates_and_sexes_pass_as_in_the_studies(films: tuple[Database, int], asked: dict[str, str]) -> None:
    database, model_pk = films
    found = conditions(**asked)
    by_column = compared.leaf_filters(NeighbourFilter(exclude_study_pk=3), found)
    assert by_column is not None
    anatomy, common = all_found(1)[0].key, {"model_pk": model_pk, "dim": DIM, "limit": FILMS}
    with database.session() as session:
        joined = compared.nearest_films(
            session,
            vectors={anatomy: VECTORS[0]},
            filters=NeighbourFilter(exclude_study_pk=3),
            conditions=found,
            **common,
        )
        near = embeddings.nearest(session, anatomy_pk=anatomy, vector=VECTORS[0], filters=by_column, **common)
    assert near == joined
    assert 0 < len(near) < FILMS - 1


@pytest.mark.parametrize(
    "found",
    [
        conditions(Disclosure.PSEUDONYMOUS, date="20200301-20200801"),
        conditions(age="040Y-060Y"),
        conditions(modality="CR"),
        conditions(sex="F", modality="CR"),
        conditions(sex="?"),
    ],
)
def test_what_no_column_of_a_leaf_tells_is_left_to_the_join(found: tuple[Condition, ...]) -> None:
    assert compared.leaf_filters(NeighbourFilter(), found) is None


def test_a_condition_does_not_overrule_a_filter_that_is_there() -> None:
    assert compared.leaf_filters(NeighbourFilter(sex="M"), conditions(sex="F")) is None
