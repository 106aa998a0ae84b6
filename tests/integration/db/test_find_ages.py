"""The band of ages that a pseudonymous caller sees."""

import pytest

from db.engine import Database
from db.find import Condition, Field, FindSpec, Form, Level, OneOf, find
from tests.support.records import element
from tests.support.seed import film, seed

AGE = Field("00101010", Form.BANDED)


@pytest.mark.parametrize(("age", "band"), [("034Y", "030Y"), ("035Y", "035Y"), ("101Y", "090Y"), ("010M", "000Y")])
def test_an_age_is_shown_as_the_lower_bound_of_its_band(database: Database, age: str, band: str) -> None:
    seed(database, [film(1, t00101010=element("AS", age))])
    assert shown(database) == [band]


def test_an_unknown_age_is_no_band_and_matches_none(database: Database) -> None:
    seed(database, [film(1, t00100030=element("DA"))])
    assert shown(database) == [None]
    assert shown(database, Condition(AGE, (OneOf(("090Y",)),))) == []


def shown(database: Database, *conditions: Condition) -> list[str | None]:
    with database.session() as session:
        rows = find(session, FindSpec(Level.STUDY, (AGE,), conditions))
        return [row.values["00101010"] for row in rows]
