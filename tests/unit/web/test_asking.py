"""What stands in the address of a page, read and written."""

import datetime as dt
from urllib.parse import parse_qs, urlsplit

import pytest

from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.errors import QueryRefused
from regionmir.core.geometry import Box
from regionmir.core.records import Disclosure
from regionmir.web.asking import Asked, Filters, read_asked, read_box

CARD = anatomy_by_short("CARD")


def test_a_question_survives_its_address() -> None:
    filters = Filters("PA", "F", 40, 60, dt.date(2020, 1, 2), dt.date(2021, 3, 4), "nodule & mass", True)
    asked = Asked(CARD, Box(1.5, 2, 30, 40.5), filters, rank=3)
    parts = urlsplit(asked.path("/studies/1/2"))
    fields = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert parts.path == "/studies/1/2/CARD"
    assert read_asked(CARD, fields) == asked


def test_what_is_not_asked_is_not_in_the_address() -> None:
    assert Asked(CARD).path("/studies/1/2") == "/studies/1/2/CARD"
    assert Filters().count == 0
    assert Filters(age_to=4, date_from=dt.date(2020, 1, 1), sex="M").count == 3


def test_filters_become_conditions_in_the_form_in_which_the_asker_sees_them() -> None:
    asked = Asked(CARD, filters=Filters(sex="F", age_from=40, date_to=dt.date(2020, 1, 2)))
    for disclosure in Disclosure:
        query = asked.query("2.25.1", None, 10, disclosure)
        assert {condition.field.tag for condition in query.narrow} == {"00100040", "00101010", "00080020"}
    pseudonymous = asked.query("2.25.1", None, 10, Disclosure.PSEUDONYMOUS)
    forms = {condition.field.tag: condition.field.form.name for condition in pseudonymous.narrow}
    assert forms == {"00100040": "KNOWN", "00101010": "BANDED", "00080020": "SHIFTED"}
    assert Asked(CARD).query("2.25.1", None, 10, Disclosure.PSEUDONYMOUS).narrow == ()


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "9,9,1,1", "0,0,0,9", "inf,0,1,9", "1,1,3,99"])
def test_what_is_no_box_to_compare_is_refused(text: str) -> None:
    with pytest.raises(QueryRefused, match="draw"):
        read_box(text)


@pytest.mark.parametrize(
    "fields",
    [{"sex": "f"}, {"view": "LL"}, {"age_from": "131"}, {"age_to": "4.5"}, {"date_from": "2020-13-01"}, {"hit": "-1"}],
)
def test_filters_of_another_form_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(QueryRefused):
        read_asked(CARD, fields)
