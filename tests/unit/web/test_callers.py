"""Callers of the API: under which AE title what they ask is logged and limited."""

import pytest

from regionmir.core.records import Disclosure
from regionmir.web.callers import Caller


def title_of(name: str) -> str:
    return Caller(name, "127.0.0.1", Disclosure.PSEUDONYMOUS, frozenset()).ae_title


@pytest.mark.parametrize("name", ["known", "twelve chars", "a"])
def test_a_name_that_fits_is_the_title(name: str) -> None:
    assert title_of(name) == f"API:{name}"


@pytest.mark.parametrize(
    "name", ["J\u00f6rg M\u00fcller", "\u5c71\u7530", "a\\b", "line\nbreak", "\ud800", "christopher.a@example.org"]
)
def test_any_name_of_a_person_gives_a_title(name: str) -> None:
    title = title_of(name)
    assert len(title) <= 16
    assert title.isascii()
    assert "\\" not in title


def test_names_that_begin_alike_have_titles_of_their_own() -> None:
    names = ["christopher.a@example.org", "christopher.b@example.org", "christophera"]
    assert len({title_of(name) for name in names}) == len(names)
