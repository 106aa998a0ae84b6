"""DICOMweb's readers: what a client accepts, what a URL asks, and bodies that come in pieces."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from db.find import Level
from regionmir.core.errors import RegionMirError, SandboxUnavailable
from regionmir.core.records import Disclosure
from regionmir.query.disclosure import PSEUDONYMOUS
from regionmir.storage import FileStore
from regionmir.web.dicomweb.accept import Agreed, agree, read_accept
from regionmir.web.dicomweb.model import bulk_element, is_bulk_path, model_of
from regionmir.web.dicomweb.problems import REFUSALS, BadRequest, problem_of
from regionmir.web.dicomweb.receiving import BodyReader, Part10Writer, Received
from regionmir.web.dicomweb.tables import DICOM, OCTETS, RESOURCES
from regionmir.web.dicomweb.url_query import FUZZY, read_url
from tests.support.dicom import as_file, radiograph

STUDY_UID = "0020000D"


def agreed(accept: str, *offered: str, parts: bool = True, alone: bool = True) -> list[Agreed]:
    return agree(read_accept(accept), offered or (DICOM,), parts=parts, alone=alone)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", [Agreed(DICOM, True)]),
        ("multipart/related", [Agreed(DICOM, True)]),
        ('multipart/related; type="application/dicom"', [Agreed(DICOM, True)]),
        ("multipart/related;type=application/dicom;transfer-syntax=*", [Agreed(DICOM, True, ("*",))]),
        ("application/dicom", [Agreed(DICOM, False)]),
        ("application/*; q=0.1", [Agreed(DICOM, False)]),
        (
            "multipart/related; type=application/dicom; transfer-syntax=1.2.3; q=0.1, "
            'multipart/related; type="application/dicom"; transfer-syntax=1.2.4',
            [Agreed(DICOM, True, ("1.2.4", "1.2.3"))],
        ),
        ("application/dicom; q=0, text/html", []),
        ('multipart/related; type="text/html"', []),
    ],
)
def test_what_a_client_accepts_is_agreed_in_its_order(accept: str, expected: list[Agreed]) -> None:
    assert agreed(accept) == expected


def test_viewers_may_ask_for_frames_in_any_syntax() -> None:
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    assert agreed(accept, OCTETS, "image/jp2") == [Agreed(OCTETS, True, ("*",))]


@pytest.mark.parametrize("accept", ["x", "a/b; c", "a/b c/d", "a/b; transfer-syntax=x", "a/" + "b" * 9000, "/", ";"])
def test_a_malformed_accept_is_a_bad_request(accept: str) -> None:
    with pytest.raises(BadRequest):
        read_accept(accept)


@given(st.text(max_size=200))
def test_any_accept_is_read_or_refused(accept: str) -> None:
    try:
        read_accept(accept)
    except BadRequest:
        return


def read(*parameters: tuple[str, str], level: Level = Level.STUDY, seen: Disclosure = Disclosure.IDENTIFIED) -> Any:
    return read_url(parameters, level, {}, seen)


def test_keys_are_named_by_keyword_or_tag_and_lists_have_commas() -> None:
    query = read(("PatientName", "doe^*"), ("0020000d", "1.2,1.3"), ("ModalitiesInStudy", "CR,DX"), ("limit", "5"))
    assert query.keys.by_tag["00100010"].values == ("doe^*",)
    assert query.keys.by_tag[STUDY_UID].values == ("1.2", "1.3")
    assert query.keys.by_tag["00080061"].values == ("CR", "DX")
    assert (query.limit, query.offset, query.warnings) == (5, 0, ())


def test_a_comma_in_a_name_is_no_list() -> None:
    assert read(("StudyDescription", "chest, two views")).keys.by_tag["00081030"].values == ("chest, two views",)


def test_fuzzy_matching_is_answered_with_a_warning() -> None:
    assert read(("fuzzymatching", "")).warnings == (FUZZY,)
    assert read(("fuzzymatching", "false")).warnings == ()


def test_included_fields_ask_nothing() -> None:
    query = read(("includefield", "PatientAge,00081030"), ("includefield", "all"))
    assert not any(key.asks for key in query.keys.by_tag.values() if key.tag != "00080052")
    assert "00101010" in query.keys.by_tag


def test_all_fields_are_those_that_the_caller_may_see() -> None:
    query = read(("includefield", "all"), level=Level.IMAGE, seen=Disclosure.PSEUDONYMOUS)
    assert set(PSEUDONYMOUS) - {"00201200", "00201202", "00201204"} <= set(query.keys.by_tag)
    assert "00104000" not in query.keys.by_tag


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=5))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_url_is_read_or_refused(parameters: list[tuple[str, str]]) -> None:
    statuses = set()
    try:
        read_url(parameters, Level.SERIES, {}, Disclosure.PSEUDONYMOUS)
    except RegionMirError as error:
        statuses.add(problem_of(error).status)
    assert statuses <= {400}


def test_a_machine_that_cannot_decode_for_the_moment_is_asked_again() -> None:
    problem = problem_of(SandboxUnavailable("no memory"))
    assert (problem.status, problem.headers["Retry-After"]) == (503, "5")


class Pieces:
    """A reader of a body, and what it gave."""

    def __init__(self, folder: Path) -> None:
        self.store = FileStore(folder)
        self.reader = BodyReader("b", lambda: Part10Writer(self.store, 2**20, "TEST"))
        self.got: list[Received] = []

    def feed(self, body: bytes, step: int) -> "Pieces":
        for at in range(0, len(body), step):
            self.got += self.reader.write(body[at : at + step])
        self.reader.finish()
        return self


@pytest.mark.parametrize("step", [1, 7, 143, 144, 145, 1000, 100_000])
def test_a_body_gives_the_same_parts_in_whatever_pieces_it_comes(tmp_path: Path, step: int) -> None:
    files = [as_file(radiograph(size=8)) for _ in range(3)]
    body = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % file for file in files) + b"--b--"
    pieces = Pieces(tmp_path).feed(body, step)
    for received, file in zip(pieces.got, files, strict=True):
        kept = received.arrival.arrived().path.read_bytes()
        assert kept.endswith(file[144 + int.from_bytes(file[140:144], "little") :])
        received.arrival.discard()
    assert list(pieces.store.incoming_dir.iterdir()) == []


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_body_is_read_or_refused_and_leaves_nothing(tmp_path: Path, body: bytes) -> None:
    pieces = Pieces(tmp_path)
    try:
        pieces.feed(b"--b\r\n" + body, 64)
    except BadRequest:
        pass
    finally:
        pieces.reader.discard()
    for received in pieces.got:
        received.arrival.discard()
    assert list(pieces.store.incoming_dir.iterdir()) == []


@pytest.mark.parametrize("path", ["7FE00010", "00081140/0/00280010", "00081140/12/00081140/0/00280010"])
def test_bulk_data_have_paths_of_tags_and_items(path: str) -> None:
    assert is_bulk_path(path)


@pytest.mark.parametrize("path", ["", "7fe00010", "../7FE00010", "00081140/x/00280010", "00081140/0", "7FE00010/"])
def test_other_paths_are_none(path: str) -> None:
    assert not is_bulk_path(path)


def test_bulk_data_in_an_item_are_found_by_the_address_in_the_model() -> None:
    item, dataset = Dataset(), Dataset()
    item.add_new(0x00283006, "OW", bytes(4096))
    dataset.ModalityLUTSequence = [item]
    [below] = model_of(dataset, "http://x/bulkdata")["00283000"]["Value"]
    address = below["00283006"]["BulkDataURI"]
    element = bulk_element(dataset, address.removeprefix("http://x/bulkdata/"))
    assert element is not None
    assert element.value == bytes(4096)


@pytest.mark.parametrize(("stated", "told"), [([0, 0], None), ([0.2, -0.2], None), ([0.2, 0.15], [0.2, 0.15])])
def test_a_pixel_spacing_that_is_none_is_empty_in_metadata(stated: list[float], told: list[float] | None) -> None:
    dataset = Dataset()
    dataset.ImagerPixelSpacing = stated
    assert model_of(dataset, "http://x")["00181164"].get("Value") == told


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("vr", "stated", "told"),
    [
        ("DS", "NaN", None),
        ("DS", "-inf", None),
        ("DS", "1e999", None),
        ("DS", ["1", "NaN"], [1.0, None]),
        ("FD", [math.nan, 1.0], ["nan", 1.0]),
    ],
)
def test_numbers_that_json_has_not_break_no_metadata(vr: str, stated: Any, told: list[Any] | None) -> None:
    item, dataset = Dataset(), Dataset()
    item.add_new(0x00281050, vr, stated)
    dataset.ModalityLUTSequence = [item]
    model = model_of(dataset, "http://x")
    json.dumps(model, allow_nan=False)
    assert model["00283000"]["Value"][0]["00281050"].get("Value") == told


def test_every_refusal_is_an_error_of_http() -> None:
    assert set(REFUSALS.values()) <= {400, 404, 429, 503}


def test_every_resource_of_the_table_is_served() -> None:
    from regionmir.web.dicomweb import retrieving, searching, storing

    routes = (route for module in (retrieving, searching, storing) for route in module.router.routes)
    served = {(method, route.path.replace(":path", "")) for route in routes for method in route.methods}  # type: ignore[attr-defined]
    assert {(resource.method, resource.path) for resource in RESOURCES} == served
