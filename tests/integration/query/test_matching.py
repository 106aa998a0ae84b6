"""What PostgreSQL matches is what the same rules match in Python."""

import datetime as dt
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.engine import Database
from db.find import find
from regionmir.core.records import Disclosure
from regionmir.query.keys import Key, Keys, values_of
from regionmir.query.matching import Root, read_request
from regionmir.query.values import date_range, fold_name, name_patterns, time_range, wildcard_pattern
from tests.support.postgres import TestDatabases
from tests.support.records import element
from tests.support.seed import film, seed

GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
LETTERS = "aÉ_%^ "
NAMES = ("a^a", "A^É", "é a^_", "%^a^É", "a", "É^_%", "aa^a=É^a", "É=a^_=%", "_a%É", "ａ^ﾔ")
DATES = tuple(dt.date(2020, 1, 1) + dt.timedelta(days=17 * n) for n in range(10))
TIMES = ("", "10", "1015", "101530", "101530.5", "23:59:59", "000000", "0959", "101531.123456", "240000")
STUDIES = tuple(zip(NAMES, DATES, TIMES, strict=True))
bounded = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def studies(databases: TestDatabases) -> Iterator[Database]:
    url = databases.migrated()
    database = Database(url, application_name="test")
    seed(
        database,
        [
            film(
                number,
                t00100010=element(
                    "PN", dict(zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False))
                ),
                t00081030=element("LO", name),
                t00321060=element("LO", name),
                t00080020=element("DA", f"{day:%Y%m%d}"),
                t00080030=element("TM", time),
            )
            for number, (name, day, time) in enumerate(STUDIES)
        ],
    )
    yield database
    database.close()
    databases.drop(url)


def found(database: Database, tag: str, vr: str, text: str) -> set[int]:
    keys = Keys({"00080052": Key("00080052", "CS", ("STUDY",)), tag: Key(tag, vr, values_of(text))})
    request = read_request(keys, Root.STUDY, Disclosure.IDENTIFIED)
    with database.session() as session:
        rows = list(find(session, request.spec(limit=None)))
    return {int(row.values["0020000D"].rsplit(".", 1)[1]) for row in rows}


def expected(matches: Callable[[str, dt.date, str], bool]) -> set[int]:
    return {number for number, study in enumerate(STUDIES) if matches(*study)}


@bounded
@given(st.text(LETTERS + "*?", min_size=1, max_size=5))
@pytest.mark.parametrize("tag", ["00081030", "00321060"], ids=["column", "attributes"])
def test_wildcards(studies: Database, tag: str, text: str) -> None:
    (key,) = values_of(text) or ("*",)
    assert found(studies, tag, "LO", text) == expected(lambda name, _d, _t: bool(wildcard_pattern(key).fullmatch(name)))


@bounded
@given(st.text(LETTERS + "*?=", min_size=1, max_size=6))
def test_names(studies: Database, text: str) -> None:
    patterns = [p for key in values_of(text) for p in name_patterns(key)]
    assert found(studies, "00100010", "PN", text) == expected(
        lambda name, _d, _t: all(re.search(pattern, fold_name(name)) for pattern in patterns)
    )


@bounded
@given(st.sampled_from(["{a}", "{a}-", "-{b}", "{a}-{b}"]), st.sampled_from(DATES), st.integers(-20, 200))
def test_dates(studies: Database, form: str, first: dt.date, days: int) -> None:
    text = form.format(a=f"{first:%Y%m%d}", b=f"{first + dt.timedelta(days=days):%Y%m%d}")
    days_asked = date_range(text)
    assert days_asked is not None
    low, high = days_asked.first or dt.date.min, days_asked.last or dt.date.max
    assert found(studies, "00080020", "DA", text) == expected(lambda _n, day, _t: low <= day <= high)


@bounded
@given(st.sampled_from(["{a}", "{a}-", "-{b}", "{a}-{b}"]), st.sampled_from(TIMES[1:9]), st.sampled_from(TIMES[1:9]))
def test_times(studies: Database, form: str, first: str, last: str) -> None:
    text = form.format(a=first, b=last)
    asked = time_range(text)
    assert asked is not None
    low, high = asked

    def digits(time: str) -> str:
        return re.sub("[^0-9]", "", time).ljust(12, "0")

    assert found(studies, "00080030", "TM", text) == expected(
        lambda _n, _d, time: time != "" and low <= digits(time) <= high
    )
