"""Results by name: the UID that is planned is the one that is made, and a pseudonymous one tells no time."""

import datetime as dt

import pytest

from regionmir.core.errors import ResultError
from regionmir.core.records import Disclosure
from regionmir.results.making import KINDS, OF_ONE_ANSWER, disclosed_time, make_result, telling_parts
from regionmir.results.source import result_uid
from tests.support.results import MODEL, REGIONS, answer, other_films, source


@pytest.mark.parametrize("name", KINDS)
def test_an_object_has_the_uid_that_is_known_before_it_is_made(name: str) -> None:
    kept, made_from, kind = answer(other_films(1)), source(), KINDS[name]
    parts = telling_parts(kind, REGIONS, [kept.code])
    image_uid = made_from.image.sop_instance_uid
    planned = result_uid(made_from.pseudonymizer, MODEL, image_uid, "instance", kind.name, *parts)
    assert make_result(kind, made_from, [kept]).SOPInstanceUID == planned


@pytest.mark.parametrize("name", OF_ONE_ANSWER)
def test_what_is_about_one_answer_is_not_made_without_one(name: str) -> None:
    with pytest.raises(ResultError, match="about one answer"):
        make_result(KINDS[name], source(), [])


def test_a_pseudonymous_result_states_a_moved_day_and_no_time_of_day() -> None:
    when = dt.datetime(2026, 3, 1, 14, 30).astimezone()
    assert disclosed_time(when, Disclosure.IDENTIFIED, -100) == dt.datetime(2026, 3, 1, 14, 30)
    assert disclosed_time(when, Disclosure.PSEUDONYMOUS, -100) == dt.datetime(2025, 11, 21)
