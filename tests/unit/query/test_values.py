"""What a key's text matches, against references written another way."""

import datetime as dt
import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionmir.core.records import DateRange
from regionmir.query.values import (
    date_range,
    datetime_range,
    fold_name,
    integer,
    name_patterns,
    time_range,
    wildcard_pattern,
)


def name_matches(key: str, name: str) -> bool:
    return all(re.search(pattern, fold_name(name)) for pattern in name_patterns(key))


@given(st.text("ab*?.[", max_size=6), st.text("ab.[", max_size=6))
def test_a_wildcard_matches_as_the_shells_do(key: str, value: str) -> None:
    shell = key.replace("[", "[[]")
    assert bool(wildcard_pattern(key).fullmatch(value)) == fnmatch.fnmatchcase(value, shell)


days = st.dates(dt.date(1900, 1, 1), dt.date(2100, 12, 31))


@given(days, days)
def test_a_date_range_has_the_days_it_names(first: dt.date, last: dt.date) -> None:
    a, b = f"{first:%Y%m%d}", f"{last:%Y%m%d}"
    assert date_range(f"{a}-{b}") == DateRange(first, last)
    assert date_range(f"{a}-") == DateRange(first, None)
    assert date_range(f"-{b}") == DateRange(None, last)
    assert date_range(a) == date_range(f"{first:%Y.%m.%d}") == DateRange(first, first)


@pytest.mark.parametrize(
    "text", ["-", "2020", "20201301", "20200230", "today", "20200101--", "20200101-x", "2020-01-01"]
)
def test_what_is_no_date_or_range_is_none(text: str) -> None:
    assert date_range(text) is None


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("1030", ["103000000000", "103059999999"], ["102959999999", "103100000000"]),
        ("10:30", ["103000000000"], ["113000000000"]),
        ("08-12", ["080000000000", "125959999999"], ["075959000000", "130000000000"]),
        ("235959-", ["235959000000"], ["235958999999"]),
        ("-0730", ["000000000000", "073059000000"], ["073100000000"]),
        ("120000.5", ["120000500000", "120000599999"], ["120000400000"]),
    ],
)
def test_a_time_stands_for_all_of_what_it_leaves_out(key: str, inside: list[str], outside: list[str]) -> None:
    found = time_range(key)
    assert found is not None
    assert all(found[0] <= value <= found[1] for value in inside)
    assert not any(found[0] <= value <= found[1] for value in outside)


@pytest.mark.parametrize("text", ["-", "25", "1060", "1", "noon", "10-x", "120000."])
def test_what_is_no_time_or_range_is_none(text: str) -> None:
    assert time_range(text) is None


def test_a_datetime_range_ignores_offsets_from_utc() -> None:
    assert datetime_range("20200101+0100-20200102") == ("20200101" + "0" * 12, "20200102" + "9" * 12)
    assert datetime_range("20200101120000.5") == ("20200101120000500000", "20200101120000599999")
    assert datetime_range("2020x") is None


def test_a_number_may_have_a_sign_and_nothing_else() -> None:
    assert [integer(text) for text in ("7", "+7", "-7", "007", "7.0", "", "x", "９")] == [
        7,
        7,
        -7,
        7,
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "key",
    [
        "doe^john",
        "DOE^JOHN",
        "Doe",
        "do*",
        "*john*",
        "?oe^j*",
        "doe^^m",
        "^john",
        "Doe ^ John",
        "doe*m",
        "山田*",
        "=山田^太郎",
        "doe=山田",
        "==やまだ",
        "doe*=山田*=や*",
    ],
)
def test_a_name_matches_by_component_in_any_case_and_any_group(key: str) -> None:
    assert name_matches(key, "Doe^John^M=山田^太郎=やまだ^たろう")


@pytest.mark.parametrize("key", ["john", "do", "doe^jo", "doe^john^x", "=doe", "山", "doe=田", "doe?", "jo*"])
def test_a_name_that_differs_does_not_match(key: str) -> None:
    assert not name_matches(key, "Doe^John^M=山田^太郎=やまだ^たろう")


def test_half_width_and_full_width_are_one() -> None:
    assert name_matches("ﾔﾏﾀﾞ*", "ヤマダ^タロウ")
    assert name_matches("ＤＯＥ", "Doe^John")


@given(st.text("aB^=*?.\\( ", max_size=12), st.text("aB^=.( ", max_size=12))
def test_any_text_makes_a_pattern_that_python_compiles(key: str, name: str) -> None:
    assert name_matches(key, name) in (True, False)


@given(st.lists(st.text("aBc", min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_name_matches_itself_and_its_first_components(components: list[str]) -> None:
    name = "^".join(components)
    assert name_matches(name, name)
    assert name_matches(components[0], name)
    assert name_matches("*" + components[-1], name)
