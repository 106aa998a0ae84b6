"""From attributes to columns, whatever a sender writes."""

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db import filing
from db.engine import driver_url
from db.filing import PatientIdentity
from db.result_sets import new_code, normal_code
from regionmir.core.errors import ConfigurationError


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"Alphabetic": "Doe^Jane"}, "Doe^Jane"),
        (
            {"Alphabetic": "Hong^Gildong", "Ideographic": "洪^吉洞", "Phonetic": "홍^길동"},
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        ({"Phonetic": "홍^길동"}, "==홍^길동"),
        ({}, ""),
        ("Doe^Jane", "Doe^Jane"),
    ],
)
def test_a_name_keeps_its_component_groups(value: Any, name: str) -> None:
    assert filing.person_name({"00100010": element("PN", value)}, "00100010") == name


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("20200229", dt.date(2020, 2, 29)),
        ("2020.02.29", dt.date(2020, 2, 29)),
        ("20210229", None),
        ("00000000", None),
        ("2020", None),
        ("", None),
        ("２０２００２２９", None),
    ],
)
def test_a_date_that_is_none_becomes_null(text: str, day: dt.date | None) -> None:
    assert filing.date({"00080020": element("DA", text)}, "00080020") == day


@pytest.mark.parametrize(
    ("stated", "birth", "study", "years"),
    [
        ("045Y", "19000101", "20200101", 45),
        ("018M", "", "", 1.5),
        ("010D", "", "", 10 / 365.25),
        ("45", "19700101", "20200101", 50),
        ("", "19700101", "20200101", 50),
        ("", "20200102", "20200101", None),
        ("", "18000101", "20200101", None),
        ("", "", "20200101", None),
        ("999Y", "", "", None),
    ],
)
def test_the_age_is_as_stated_or_from_birth_to_study(stated: str, birth: str, study: str, years: float | None) -> None:
    attributes = {
        "00101010": element("AS", stated),
        "00100030": element("DA", birth),
        "00080020": element("DA", study),
    }
    assert filing.age_years(attributes) == (None if years is None else pytest.approx(years, abs=0.01))


def test_long_identifiers_stay_different_and_short_enough_for_an_index() -> None:
    one, other = filing.bounded("x" * 5000 + "1"), filing.bounded("x" * 5000 + "2")
    assert one != other
    assert len(one) == len(other) == filing.MAX_KEY
    assert filing.bounded("P" * filing.MAX_KEY) == "P" * filing.MAX_KEY


def test_a_patient_accepts_an_instance_without_issuer_and_no_other_patient() -> None:
    patient = PatientIdentity("P1", "HOSPITAL", "")
    assert patient.accepts(PatientIdentity("P1", "HOSPITAL", ""))
    assert patient.accepts(PatientIdentity("P1", "", ""))
    assert not patient.accepts(PatientIdentity("P1", "OTHER", ""))
    assert not patient.accepts(PatientIdentity("P2", "HOSPITAL", ""))
    assert not patient.accepts(PatientIdentity("", "", "1.2.3"))
    assert not PatientIdentity("", "", "1.2.3").accepts(PatientIdentity("", "", "1.2.4"))


def test_attributes_are_kept_at_their_level() -> None:
    attributes = {"00100040": element("CS", "F"), "00080050": element("SH", "A"), "00080060": element("CS", "CR")}
    assert set(filing.patient_values(attributes)["attributes"]) == {"00100040"}
    assert set(filing.study_values(attributes)["attributes"]) == {"00080050"}
    assert set(filing.series_values(attributes)["attributes"]) == {"00080060"}
    assert filing.instance_values(attributes)["attributes"] == attributes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TAGS = st.sampled_from(sorted(filing.PATIENT_TAGS | filing.STUDY_TAGS | filing.SERIES_TAGS | {"00101010", "00185101"}))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(TAGS, st.fixed_dictionaries({"vr": st.just("LO"), "Value": JSON}) | JSON, max_size=6))
def test_whatever_a_sender_writes_fits(attributes: dict[str, Any]) -> None:
    for values in (filing.patient_values, filing.study_values, filing.series_values, filing.instance_values):
        for value in values(attributes).values():
            written = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str).encode("utf-8")
            assert b"\\u0000" not in written
            assert b"\0" not in written


def test_a_result_set_code_is_read_as_people_write_it() -> None:
    code = new_code()
    assert normal_code(f" {code.lower()} ") == code
    assert normal_code("OIL00000") == "01100000"
    assert normal_code("UUUUUUUU") == normal_code("123") == normal_code("") == ""


def test_a_url_of_a_unix_socket_is_for_our_driver() -> None:
    url = driver_url("postgresql://regionmir@/regionmir?host=/run/socket")
    assert (url.drivername, url.query["host"]) == ("postgresql+psycopg", "/run/socket")
    assert driver_url("postgres://a@b/c").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["nonsense", "mysql://a:secret@b/c", "postgresql://a:secret@b:port/c"])
def test_a_url_that_will_not_do_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        driver_url(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\0b", "ab"), ("a\ud800b", "a\ufffdb"), (float("nan"), None), (float("-inf"), None), (1.5, 1.5),
        ("\\u0000", "\\u0000"), ({"x": "\0y"}, {"x": "y"}), ([("\ud800",)], [["\ufffd"]]), ("Люкс", "Люкс"),
    ],
)  # fmt: skip
def test_what_postgresql_cannot_hold_is_left_out_wherever_it_stands(value: Any, expected: Any) -> None:
    assert filing.clean({"00100010": {"vr": "PN", "Value": [value]}}) == {"00100010": {"vr": "PN", "Value": [expected]}}
    assert filing.clean({"\0key": 1}) == {"key": 1}
