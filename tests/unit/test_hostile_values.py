"""Properties of what we read from outside, tried with values that hypothesis makes up."""

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from regionmir.core.errors import InvalidUid, NotIndexable, QueryRefused, RegionMirError
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.records import Disclosure
from regionmir.query.annotations import MAX_REGIONS, read_annotation
from regionmir.query.keys import read_keys
from regionmir.query.matching import Root, read_request
from regionmir.query.request import MAX_K, parse_token
from regionmir.storage import FileStore
from tests.hostile import targets, wire
from tests.hostile.bombs import COMPREHENSIVE_SR, PATH_UIDS
from tests.support.annotations import code, content

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

ODD_TEXT = st.one_of(st.text(max_size=80), st.sampled_from(PATH_UIDS), st.text("0123456789./\\%\0", max_size=70))


@QUICK
@given(ODD_TEXT)
def test_a_uid_is_digits_and_dots_whatever_it_was(text: str) -> None:
    try:
        uid = parse_uid(text)
    except InvalidUid:
        return
    assert set(uid) <= set("0123456789.")
    assert ".." not in uid
    assert 0 < len(uid) <= 64


def test_objects_lie_by_their_hash_in_the_folder_whatever_their_uids_say(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for text in PATH_UIDS:
        incoming = store.receive(
            sop_class_uid=Uid(text),
            sop_instance_uid=Uid(text),
            transfer_syntax_uid=Uid("1.2.840.10008.1.2.1"),
            source_ae=text,
        )
        incoming.write(text.encode() + b"data set")
        kept = store.path(store.keep(incoming).key)
        assert kept.resolve().is_relative_to(tmp_path.resolve())
        assert not set(kept.name) - set("0123456789abcdef_.dcm")


@QUICK
@given(ODD_TEXT, st.sampled_from(["RGN_ALL", "RGN_LLLZ", "REGIONMIR", "RGN_NONE"]))
def test_a_token_is_read_within_its_limits_or_refused(text: str, called: str) -> None:
    try:
        token = parse_token(f"SIM {text}", called)
    except QueryRefused:
        return
    assert token.k is None or 1 <= token.k <= MAX_K
    assert token.anchor
    assert not set("*?\\") & set(token.anchor)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ValueType": st.sampled_from(["SCOORD", "IMAGE", "CODE", "CONTAINER", "NUM", ""]),
    "GraphicType": st.sampled_from(["POLYLINE", "CIRCLE", "ELLIPSE", "POINT", ""]),
    "GraphicData": st.lists(st.floats(width=32), max_size=9),
    "ReferencedSOPInstanceUID": st.sampled_from(["1.2.3", "1..2", "", "../x"]),
}


@st.composite
def items(draw: st.DrawFn, depth: int = 3) -> Dataset:
    """Draw an item of content with content in it."""
    item = content(draw(VALUES["ValueType"]), "CONTAINS", ("363698007", "SCT", "Finding Site"))
    item.GraphicType = draw(VALUES["GraphicType"])
    item.add(DataElement("GraphicData", "FL", draw(VALUES["GraphicData"])))
    item.ConceptCodeSequence = [code("39607008", "SCT", "Lung")] * draw(st.integers(0, 2))
    reference = Dataset()
    reference.add_new("ReferencedSOPInstanceUID", "LO", draw(VALUES["ReferencedSOPInstanceUID"]))
    item.ReferencedSOPSequence = [reference] * draw(st.integers(0, 2))
    item.ContentSequence = draw(st.lists(items(depth - 1), max_size=2)) if depth else []
    return item


@QUICK
@given(st.lists(items(), max_size=3))
def test_a_report_gives_few_regions_with_an_area_or_is_refused(found: list[Dataset]) -> None:
    report = Dataset()
    report.SOPClassUID, report.ContentSequence = COMPREHENSIVE_SR, found
    try:
        regions = read_annotation(report)
    except NotIndexable:
        return
    assert 1 <= len(regions) <= MAX_REGIONS
    assert all(region.box is None or region.box.area > 0 for region in regions)


@QUICK
@given(st.dictionaries(st.sampled_from(["PatientName", "StudyDate", "PatientAge", "StudyInstanceUID"]), ODD_TEXT))
def test_an_identifier_of_any_text_is_asked_or_refused_as_one_of_ours(values: dict[str, str]) -> None:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for keyword, text in values.items():
        identifier.add(DataElement(keyword, dictionary_VR(keyword), text, validation_mode=IGNORE))
    try:
        request = read_request(read_keys(identifier), Root.STUDY, Disclosure.IDENTIFIED)
    except RegionMirError:
        return
    assert request.level.name == "STUDY"


@QUICK
@given(st.one_of(st.binary(max_size=300), ODD_TEXT.map(lambda text: text.encode("utf-8", "replace"))))
def test_any_body_and_any_parameters_are_read_or_refused_as_ours(data: bytes) -> None:
    targets.http(data)
    targets.token(data)


@QUICK
@given(st.binary(max_size=60))
def test_a_stream_is_split_into_pdus_and_nothing_of_it_is_lost(rest: bytes) -> None:
    whole = wire.echo_request()
    assert wire.split_pdus(b"".join(whole)) == whole
    assert b"".join(wire.split_pdus(b"".join(whole) + rest)) == b"".join(whole) + rest
