"""Search expressions as people type them."""

import pytest

from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.errors import QueryRefused
from regionmir.core.records import Disclosure
from regionmir.query.keys import Key, Keys, values_of
from regionmir.query.matching import Root, read_request
from regionmir.query.request import Combine, RegionQuery, Token, expression_tag, parse_token

LLLZ, CARD = anatomy_by_short("LLLZ"), anatomy_by_short("CARD")
UID64 = "1.2.826.0.1." + "3" * 52


@pytest.mark.parametrize(
    ("text", "called", "token"),
    [
        ("SIM 4711 LLLZ", "RGN_ALL", Token("4711", (LLLZ,))),
        ("sim 4711 lllz", "RGN_LLLZ", Token("4711", (LLLZ,))),
        ("*SIM 4711*", "RGN_LLLZ", Token("4711", (LLLZ,))),
        ("* SIM 4711 *", "RGN_ALL", Token("4711")),
        ("RGNSIM^4711^LLLZ", "RGN_ALL", Token("4711", (LLLZ,))),
        ("RGNSIM 4711 LLLZ*", "RGN_ALL", Token("4711", (LLLZ,))),
        (f"SIM {UID64} LLLZ", "RGN_ALL", Token(UID64, (LLLZ,))),
        ("SIM last", "RGN_LLLZ", Token("last", (LLLZ,))),
        ("SIM 4711 LLLZ CARD k=25", "RGN_ALL", Token("4711", (LLLZ, CARD), 25)),
        ("SIM 4711 lllz+card,LLLZ BY=Rank", "RGN_ALL", Token("4711", (LLLZ, CARD), combine=Combine.RANK)),
        ("SIM 4711 k=200", "RGN_LLLZ", Token("4711", (LLLZ,), 200)),
        ("SIM AB12CD34 LLLZ+CARD #002 0.91", "RGN_ALL", Token("AB12CD34", rank=2, label="LLLZ+CARD")),
        ("SIM AB12CD34 LLLZ #001 0.97 PA", "RGN_ALL", Token("AB12CD34", rank=1, label="LLLZ")),
        ("SIM AB12CD34 LLLZ #12*", "RGN_LLLZ", Token("AB12CD34", rank=12, label="LLLZ")),
    ],
)
def test_a_search_expression_is_read_in_any_case_with_any_stars_around(text: str, called: str, token: Token) -> None:
    assert parse_token(text, called) == token


@pytest.mark.parametrize(
    ("text", "called", "code"),
    [
        ("SIM", "RGN_LLLZ", "bad-token"),
        ("SIM 47*1", "RGN_LLLZ", "bad-token"),
        ("SIM ?", "RGN_LLLZ", "bad-token"),
        ("SIM 1 LLLZ and more", "RGN_LLLZ", "unknown-region"),
        ("SIM 1 k=0", "RGN_LLLZ", "bad-token"),
        ("SIM 1 k=1000000", "RGN_LLLZ", "bad-token"),
        ("SIM 1 k=many", "RGN_LLLZ", "bad-token"),
        ("SIM 1 by=luck", "RGN_LLLZ", "bad-token"),
        ("SIM 1\\SIM 2", "RGN_LLLZ", "bad-token"),
        ("SIM #001", "RGN_LLLZ", "bad-token"),
        ("SIM 1 KNEE", "RGN_ALL", "unknown-region"),
        ("SIM 1 CARD", "RGN_LLLZ", "bad-token"),
        ("SIM 1", "RGN_KNEE", "unknown-region"),
    ],
)
def test_an_expression_that_says_nothing_clear_is_refused(text: str, called: str, code: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        parse_token(text, called)
    assert refused.value.code == code


@pytest.mark.parametrize("k", [0, -1, 201, 10**6])
def test_the_number_of_hits_has_bounds(k: int) -> None:
    with pytest.raises(QueryRefused):
        RegionQuery("4711", (LLLZ,), k)


def tag_of(called: str = "RGN_LLLZ", root: Root = Root.STUDY, level: str = "STUDY", **texts: str) -> str | None:
    tags = {"description": ("00081030", "LO"), "name": ("00100010", "PN"), "patient": ("00100020", "LO")}
    tags |= {"sex": ("00100040", "CS"), "date": ("00080020", "DA"), "age": ("00101010", "AS")}
    found = {"00080052": Key("00080052", "CS", (level,))}
    for name, text in texts.items():
        tag, vr = tags[name]
        found[tag] = Key(tag, vr, values_of(text))
    keys = Keys(found)
    return expression_tag(keys, read_request(keys, root, Disclosure.IDENTIFIED), called)


def test_an_expression_counts_at_a_region_title_alone_among_the_keys_of_a_study_query() -> None:
    assert tag_of(description="SIM 4711") == "00081030"
    assert tag_of(name="RGNSIM^4711", description="*", patient="") == "00100010"
    assert tag_of(description="SIM 4711", patient="P1") is None
    assert tag_of(description="SIM AB12CD34 LLLZ #001 0.97 PA", patient="RGN-X") == "00081030"
    assert tag_of(description="SIM 4711", called="REGIONMIR") is None
    assert tag_of(description="SIMPLE 4711") is None
    assert tag_of(description="CHEST") is None
    assert tag_of(name="SIM^4711") is None
    assert tag_of(description="SIM 4711", root=Root.PATIENT, patient="P1") is None


def test_filters_may_come_with_an_expression_and_other_keys_may_not() -> None:
    assert tag_of(description="SIM 4711", sex="F", date="20200101-", age="040Y-060Y") == "00081030"
    assert tag_of(description="SIM 4711", sex="F", patient="P1") is None


def test_two_expressions_must_say_the_same() -> None:
    assert tag_of(description="SIM 4711", name="RGNSIM^4711") == "00081030"
    with pytest.raises(QueryRefused) as refused:
        tag_of(description="SIM 4711", name="RGNSIM^4712")
    assert refused.value.code == "contradiction"
