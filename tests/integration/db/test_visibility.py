"""A hidden study is in no answer, whatever the way in; its rows stay, and shown again it is as it was."""

import pytest

from db import browse, embeddings, result_sets, retrieve, visibility
from db.engine import Database
from db.find import Field, FindSpec, Level, find
from db.generations import active
from regionmir.core.errors import QueryRefused
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.query.request import RegionQuery
from regionmir.query.search import Answer, reopen, search
from tests.support.seed import all_found, many_films, seed

CALLER = Caller(AETitle("VIEWER"), "127.0.0.1", Rights(find=True), Disclosure.IDENTIFIED, registered=True)
FOUND = all_found(2)


def asked(database: Database, anchor: str, regions: int = 1) -> Answer:
    with database.session() as session:
        return search(session, RegionQuery(anchor, FOUND[:regions], 10), CALLER)


def hide(database: Database, number: int) -> None:
    with database.session() as session:
        assert visibility.hide(session, [f"1.2.826.0.1.{number}"], "deleted in main") == 1


def test_a_hidden_study_is_no_hit_no_anchor_and_not_in_an_answer_given_before(database: Database) -> None:
    films, info = many_films(6, FOUND, 16)
    seed(database, films, info=info)
    before = asked(database, "ACC0")
    assert len(before.hits) == 5

    hide(database, 3)
    after = asked(database, "ACC0")
    gone = {hit.study_pk for hit in before.hits} - {hit.study_pk for hit in after.hits}
    assert len(gone) == 1
    with database.session() as session:
        kept = reopen(session, before.code, CALLER)
        assert kept is not None
        assert gone.isdisjoint(hit.study_pk for hit in kept.hits)
        assert len(retrieve.answered_regions(session, before.code)) == 5, "the query's own and four hits"
        model = active(session)
        assert model is not None
        hidden = next(hit for hit in before.hits if hit.study_pk in gone)
        assert browse.instances_by_pk(session, [hidden.instance_pk], model_pk=model.pk) == {}
        own = embeddings.region_vector(session, hidden.instance_pk, model.pk, FOUND[0].key)
        assert own is not None, "its rows stay"
        assert result_sets.get(session, before.code) is not None
    with pytest.raises(QueryRefused) as refused:
        asked(database, "ACC3")
    assert refused.value.code == "unknown-anchor"


def test_a_hidden_study_is_no_hit_of_several_regions_together(database: Database) -> None:
    films, info = many_films(6, FOUND, 16)
    seed(database, films, info=info)
    assert len(asked(database, "ACC0", regions=2).hits) == 5
    hide(database, 3)
    assert len(asked(database, "ACC0", regions=2).hits) == 4


def test_a_study_shown_again_is_as_it_was(database: Database) -> None:
    films, info = many_films(4, FOUND, 16)
    seed(database, films, info=info)
    before = asked(database, "ACC0").hits
    hide(database, 1)
    with database.session() as session:
        assert visibility.show(session, ["1.2.826.0.1.1"]) == 1
        assert visibility.show(session, ["1.2.826.0.1.1"]) == 0
    assert asked(database, "ACC0").hits == before


def test_a_patient_is_hidden_with_its_last_study_and_counted_without_those_hidden(database: Database) -> None:
    films, info = many_films(3, FOUND, 16)
    seed(database, films, info=info)
    studies = Field("00201200")
    hide(database, 2)
    with database.session() as session:
        rows = list(find(session, FindSpec(Level.PATIENT, (Field("00100020"), studies))))
        assert sorted((row.values["00100020"], int(row.values["00201200"])) for row in rows) == [
            ("REALID0", 1),
            ("REALID1", 1),
        ]
