"""The search for canaries finds them in every form in which text leaves, and nothing where there is none."""

import base64
import json
import random
from itertools import pairwise

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.support.canaries import IDEOGRAPHIC, Canaries, CanaryIndex


@pytest.fixture
def canaries() -> Canaries:
    made = Canaries()
    for _ in range(3):
        made.text("others before it")
    return made


@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-16-be", "utf-32-le", "iso2022_jp"])
def test_text_and_uids_are_found_in_any_encoding_and_case(canaries: Canaries, encoding: str) -> None:
    text, uid = canaries.text("text"), canaries.uid("uid")
    index = CanaryIndex(canaries)
    assert index.found_in(b"\x08\0" + f"seen by {text.lower()}x".encode(encoding)) == ["text"]
    assert index.found_in(b"\x08\0" + f"<{uid}>".encode(encoding)) == ["uid"]


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_text_is_found_in_base64_wherever_it_stands(canaries: Canaries, before: bytes) -> None:
    text = canaries.text("text")
    assert CanaryIndex(canaries).found_in(base64.b64encode(before + text.encode() + b"!"))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-16-le", "iso2022_jp", "iso2022_kr", "shift_jis", "euc_jp", "euc_kr", "gb18030"]
)
def test_an_ideographic_group_is_found_in_the_sets_of_three_languages(canaries: Canaries, encoding: str) -> None:
    name = canaries.name("name")
    assert IDEOGRAPHIC in name
    group = name.split("=")[1].split("^")[0]
    index = CanaryIndex(canaries)
    assert index.found_in(b"\x08" + group.encode(encoding))
    assert index.found_in(json.dumps({"name": group}).encode())


@pytest.mark.parametrize("form", ["{}", "{}120000", "<td>{}</td>", "<b>{iso}</b>"])
def test_a_day_is_found_alone_with_a_time_and_in_iso_form(canaries: Canaries, form: str) -> None:
    day = canaries.day("birth")
    iso = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    assert CanaryIndex(canaries).found_in(form.format(day, iso=iso).encode()) == ["birth day"]


def test_numbers_times_ages_and_binary_values_are_found(canaries: Canaries) -> None:
    made = Dataset()
    for keyword in ("StudyTime", "SeriesNumber", "PatientAge", "PatientWeight", "TubeAngle"):
        canaries.put(made, keyword, keyword)
    index = CanaryIndex(canaries)
    for keyword in ("StudyTime", "SeriesNumber", "PatientAge", "PatientWeight"):
        assert index.found_in(f"[{made[keyword].value}]".encode()) == [keyword]


def test_days_are_so_far_apart_that_none_is_another_moved_by_up_to_a_year() -> None:
    canaries = Canaries()
    days = sorted(canaries.day(f"{n}") for n in range(300))
    assert all(int(later[:4]) - int(day[:4]) >= 1 for day, later in pairwise(days))
    assert len(set(days)) == 300


def test_pseudonyms_codes_and_noise_are_no_canaries(canaries: Canaries) -> None:
    for keyword in ("StudyTime", "SeriesNumber", "PatientAge", "StudyDate", "PatientID", "StudyInstanceUID"):
        canaries.put(Dataset(), keyword, keyword)
    canaries.name("name")
    index = CanaryIndex(canaries)
    drawn = random.Random(1)
    for _ in range(2000):
        code = base64.b32encode(drawn.randbytes(5)).decode()
        assert index.found_in(f"{generate_uid(None)} RGN-{code} SIM {code} LLLZ #001 0.97 PA".encode()) == []
    assert index.found_in(drawn.randbytes(200_000)) == []
