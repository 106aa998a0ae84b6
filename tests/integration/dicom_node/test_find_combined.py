"""Several regions at once, filters, k, and the private block, over real associations."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset

from db import instances
from regionmir.admin.similar import query_similar
from regionmir.core.anatomy import anatomies
from regionmir.core.errors import UnknownAnatomy
from regionmir.core.identifiers import AETitle
from regionmir.query.keys import BLOCK_CREATOR, BLOCK_GROUP
from regionmir.scu.peer import PeerAddress
from tests.support.find import KNOWN, FindNode, Found, ask, association, find, find_node, keys
from tests.support.postgres import TestDatabases
from tests.support.records import element
from tests.support.seed import film, seed

FIRST, SECOND = anatomies()[0], anatomies()[1]
BOTH = f"{FIRST.short}+{SECOND.short}"
DIM = 64


def leaning(first: float, second: float) -> npt.NDArray[np.float32]:
    """Return vectors at these angles from the anchor's: the first anatomy's, and that of all others."""
    angles = np.full(5, second)
    angles[0] = first
    vectors = np.zeros((5, DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    return vectors


def facts(sex: str, date: str, age: str, modality: str = "CR") -> dict[str, Any]:
    return {
        "t00100040": element("CS", sex),
        "t00080020": element("DA", date),
        "t00101010": element("AS", age),
        "t00080060": element("CS", modality),
    }


FILMS = (
    film(0, leaning(0.0, 0.0), **facts("F", "20200101", "040Y")),
    film(1, leaning(0.1, 0.5), **facts("F", "20200101", "041Y")),
    film(2, leaning(0.4, 0.0), **facts("M", "20210101", "047Y")),
    film(3, leaning(0.2, 0.6), **facts("F", "20220101", "062Y", "DX")),
    *(film(n, leaning(1.0, 1.0), **facts("O", "19900101", "090Y")) for n in range(4, 16)),
)


@pytest.fixture(scope="module")
def node(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FindNode]:
    with find_node(databases, tmp_path_factory.mktemp("node"), FILMS) as running:
        seed(running.database, [film(20)])
        make_unsupported(running, 20)
        yield running


def make_unsupported(node: FindNode, number: int) -> None:
    with node.database.session() as session:
        (claimed,) = instances.claim(session, "test", 10, 60)
        assert claimed.sop_instance_uid.startswith(f"1.2.826.0.1.{number}.")
        instances.finish_unsupported(session, claimed, owner="test", reason="modality CT")


def similar(node: FindNode, token: str, *, calling: str = KNOWN, called: str = "RGN_ALL", **more: Any) -> Found:
    asked = {"StudyInstanceUID": "", "PatientName": "", "PatientID": "", "StudyDescription": token, **more}
    return find(node.port, "STUDY", calling=calling, called=called, **asked)


def names(found: Found, most: int = 3) -> list[str]:
    assert found.status == 0x0000, found.comment
    return [name.removesuffix("^Real").removeprefix("Canary") for name in found.values("PatientName")][:most]


def test_several_regions_combine_by_mean_similarity_or_by_mean_rank(node: FindNode) -> None:
    by_similarity = similar(node, f"SIM ACC0 {FIRST.short} {SECOND.short}")
    by_rank = similar(node, f"SIM ACC0 {BOTH} by=rank")
    assert names(by_similarity) == ["2", "1", "3"]
    assert names(by_rank) == ["1", "2", "3"]
    mean = (np.cos(0.4) + 1) / 2
    words = by_similarity.values("StudyDescription")[0].split()
    assert words[2:5] == [BOTH, "#001", f"{mean:.2f}"]
    assert len(by_similarity.values("StudyDescription")[0]) <= 64


def test_a_combined_answer_opens_again_by_code_and_by_its_descriptions(node: FindNode) -> None:
    found = similar(node, f"SIM ACC0 {BOTH} by=rank")
    second = found.values("StudyDescription")[1]
    assert similar(node, f"SIM {second.split()[1]}").values("StudyDescription") == found.values("StudyDescription")
    assert similar(node, second).values("StudyDescription") == [second]


def test_all_regions_of_the_model_fit_into_a_description(node: FindNode) -> None:
    found = similar(node, "SIM ACC0 " + " ".join(a.short for a in anatomies()[:5]))
    assert all(len(text) <= 64 for text in found.values("StudyDescription"))
    again = similar(node, found.values("StudyDescription")[0])
    assert names(again, 1) == names(found, 1)


def test_k_asks_for_more_hits_than_the_node_gives_unasked(node: FindNode) -> None:
    assert len(similar(node, f"SIM ACC0 {FIRST.short}").rows) == 10
    assert len(similar(node, f"SIM ACC0 {FIRST.short} k=15").rows) == 15
    assert len(similar(node, f"SIM ACC0 {FIRST.short} k=2").rows) == 2


def test_a_code_with_k_searches_again_from_its_anchor(node: FindNode) -> None:
    first = similar(node, f"SIM ACC0 {FIRST.short} k=2")
    code = first.values("StudyDescription")[0].split()[1]
    more = similar(node, f"SIM {code} k=4")
    assert names(more, 4)[:2] == names(first, 2)
    assert len(more.rows) == 4


@pytest.mark.parametrize(
    ("filters", "hits"),
    [
        ({"PatientSex": "F"}, ["1", "3"]),
        ({"StudyDate": "20210101-20221231"}, ["3", "2"]),
        ({"PatientAge": "041Y"}, ["1"]),
        ({"PatientAge": "045Y-065Y"}, ["3", "2"]),
        ({"Modality": "DX"}, ["3"]),
        ({"ModalitiesInStudy": "CR", "PatientSex": "M"}, ["2"]),
    ],
)
def test_filters_narrow_the_hits_and_ranks_count_what_is_left(
    node: FindNode, filters: dict[str, str], hits: list[str]
) -> None:
    found = similar(node, f"SIM ACC0 {FIRST.short}", **filters)
    assert names(found) == hits
    assert [text.split()[3] for text in found.values("StudyDescription")][:2] == ["#001", "#002"][: len(hits)]


def test_a_pseudonymous_caller_filters_by_what_it_sees(node: FindNode) -> None:
    ask_as: dict[str, Any] = {"calling": "STRANGER", "PatientAge": "", "StudyDate": "", "PatientSex": ""}
    everyone = similar(node, f"SIM ACC0 {FIRST.short} k=3", **ask_as)
    assert everyone.values("PatientAge") == ["040Y", "060Y", "045Y"]
    shown = everyone.values("StudyDate")[0]
    assert shown != "20200101"
    in_band = similar(node, f"SIM ACC0 {FIRST.short}", **{**ask_as, "PatientAge": "044Y"})
    assert in_band.values("PatientID") == everyone.values("PatientID")[:1]
    on_day = similar(node, f"SIM ACC0 {FIRST.short}", **{**ask_as, "StudyDate": shown})
    assert everyone.values("PatientID")[0] in on_day.values("PatientID")
    true_day = similar(node, f"SIM ACC0 {FIRST.short}", **{**ask_as, "StudyDate": "20200101"})
    assert everyone.values("PatientID")[0] not in true_day.values("PatientID")


def test_filters_that_leave_nothing_are_a_refusal(node: FindNode) -> None:
    found = similar(node, f"SIM ACC0 {FIRST.short}", StudyDate="18000101")
    assert (found.status, found.comment) == (0xC10B, "no other patient's RL passes the filters")


@pytest.mark.parametrize(
    ("asked", "status", "comment"),
    [
        ({"StudyDescription": "SIM ACC0 RL", "PatientName": "RGNSIM^ACC1^RL"}, 0xA900, "ask for different things"),
        ({"StudyDescription": "SIM ACC0 RL", "PatientAge": "old"}, 0xA900, "PatientAge"),
        ({"StudyDescription": "SIM ACC0 RL", "StudyDate": "2020"}, 0xA900, "StudyDate"),
        ({"StudyDescription": "SIM ACC20 RL"}, 0xC105, "no frontal chest radiograph"),
        ({"StudyDescription": "SIM ACC0 RL k=0"}, 0xA900, "must be 1 to 200"),
        ({"StudyDescription": "SIM ACC0 RL by=luck"}, 0xA900, "by=similarity or by=rank"),
    ],
)
def test_what_contradicts_itself_or_cannot_be_read_is_refused(
    node: FindNode, asked: dict[str, str], status: int, comment: str
) -> None:
    found = similar(node, "", **asked)
    assert found.status == status
    assert comment in found.comment
    assert names(similar(node, f"SIM ACC0 {FIRST.short}"), 1) == ["1"], "nothing else is harmed"


def test_text_that_its_charset_does_not_decode_is_refused(node: FindNode) -> None:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.add_new(0x00080005, "CS", "ISO_IR 192")
    identifier.add_new(0x00081030, "LO", b"SIM \xff\xfe RL")
    with association(node.port, calling=KNOWN, called="RGN_ALL") as assoc:
        refused = ask(assoc, identifier)
    assert (refused.status, refused.rows) == (0xA900, [])
    assert "SpecificCharacterSet" in refused.comment


def test_an_ae_without_the_right_to_query_is_refused(node: FindNode) -> None:
    node.register("SENDONLY", can_find=False, can_store=True)
    refused = similar(node, "SIM ACC0 RL", calling="SENDONLY")
    assert (refused.status, refused.rows) == (0x0124, [])


def test_a_query_of_stars_is_ordinary_matching_up_to_the_cap(node: FindNode) -> None:
    found = similar(node, "***", PatientName="*")
    assert found.status == 0x0000
    assert len(found.rows) == len(FILMS) + 1


def structured(node: FindNode, elements: dict[int, str], *, called: str = "REGIONMIR", **values: Any) -> Found:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for keyword, value in {"StudyInstanceUID": "", "PatientName": "", **values}.items():
        setattr(identifier, keyword, value)
    block = identifier.private_block(BLOCK_GROUP, BLOCK_CREATOR, create=True)
    for element_, text in elements.items():
        block.add_new(element_, "LO", text.split("\\"))
    with association(node.port, calling=KNOWN, called=called) as assoc:
        return ask(assoc, identifier)


def test_the_private_block_asks_the_same_and_answers_in_its_elements(node: FindNode) -> None:
    found = structured(node, {1: "ACC0", 2: f"{FIRST.short}\\{SECOND.short}", 3: "3", 4: "RANK"}, PatientSex="F")
    assert names(found) == ["1", "3"]
    answered = found.rows[1].private_block(BLOCK_GROUP, BLOCK_CREATOR)
    assert str(answered[0x11].value) == "2"
    assert float(answered[0x12].value) == pytest.approx((np.cos(0.2) + np.cos(0.6)) / 2, abs=1e-3)
    assert answered[0x10].value == found.rows[0].StudyDescription.split()[1]


@pytest.mark.parametrize(
    ("elements", "values", "comment"),
    [
        ({2: "RL"}, {}, "needs one anchor"),
        ({1: "ACC*", 2: "RL"}, {}, "without wildcards"),
        ({1: "ACC0", 2: "KNEE"}, {}, "unknown region"),
        ({1: "ACC0", 2: "RL", 3: "1000000"}, {}, "must be 1 to 200"),
        ({1: "ACC0", 2: "RL", 5: "1\\2\\3"}, {}, "x0, y0, x1, y1"),
        ({1: "ACC0", 2: "RL"}, {"PatientID": "REALID1"}, "not PatientID"),
    ],
)
def test_a_private_block_that_says_nothing_clear_is_refused(
    node: FindNode, elements: dict[int, str], values: dict[str, str], comment: str
) -> None:
    found = structured(node, elements, **values)
    assert found.status == 0xA900
    assert comment in found.comment


def test_a_block_and_an_expression_contradict_each_other(node: FindNode) -> None:
    found = structured(node, {1: "ACC0", 2: "RL"}, called="RGN_ALL", StudyDescription="SIM ACC1 RL")
    assert (found.status, found.comment[:19]) == (0xA900, "a search expression")


def test_findscu_sends_the_private_block_and_filters(node: FindNode, dcmtk: Path, tmp_path: Path) -> None:
    identifier = keys("STUDY", StudyInstanceUID="", PatientName="", PatientSex="M")
    block = identifier.private_block(BLOCK_GROUP, BLOCK_CREATOR, create=True)
    block.add_new(1, "LO", "ACC0")
    block.add_new(2, "CS", FIRST.short)
    identifier.save_as(tmp_path / "query.dcm", implicit_vr=True, little_endian=True)
    command = [
        *(str(dcmtk / "findscu"), "-v", "-S", "-aet", KNOWN, "-aec", "REGIONMIR", "127.0.0.1", str(node.port)),
        str(tmp_path / "query.dcm"),
    ]
    run = subprocess.run(command, capture_output=True, timeout=30, check=True)
    text = (run.stdout + run.stderr).decode("ascii", "replace")
    assert len(re.findall(r"Find Response: \d", text)) == 1, text
    assert "Canary2^Real" in text


def test_the_command_asks_for_more_than_the_nodes_default(node: FindNode) -> None:
    address = PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", node.port)
    assert len(query_similar(address, KNOWN, "ACC0", FIRST.short, k=15).hits) == 15
    assert query_similar(address, KNOWN, "ACC0", BOTH, k=2).regions == BOTH
    with pytest.raises(UnknownAnatomy):
        query_similar(address, KNOWN, "ACC0", f"{FIRST.short}+KNEE")


def images(node: FindNode, code: str, scheme: str, side: str = "", *, calling: str = KNOWN, number: int = 1) -> Found:
    """Ask at level IMAGE for the instances of a series in which this anatomy was found."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code, scheme
    if side:
        modifier = Dataset()
        modifier.CodeValue, modifier.CodingSchemeDesignator = side, "SCT"
        item.AnatomicRegionModifierSequence = [modifier]
    if calling == KNOWN:
        uids = {"StudyInstanceUID": f"1.2.826.0.1.{number}", "SeriesInstanceUID": f"1.2.826.0.1.{number}.1"}
    else:
        study = similar(node, f"SIM ACC0 {FIRST.short}", calling=calling).rows[0].StudyInstanceUID
        series = find(node.port, "SERIES", calling=calling, StudyInstanceUID=study, SeriesInstanceUID="").rows[0]
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series.SeriesInstanceUID}
    return find(
        node.port, "IMAGE", calling=calling, called="RGN_ALL", **uids, SOPInstanceUID="", AnatomicRegionSequence=[item]
    )


@pytest.mark.parametrize("calling", [KNOWN, "STRANGER"])
def test_an_image_is_found_by_the_anatomic_regions_that_it_shows(node: FindNode, calling: str) -> None:
    found = images(node, SECOND.code_value, "SCT", "24028007", calling=calling)
    assert (found.status, found.pending) == (0x0000, [0xFF00])
    items = found.rows[0].AnatomicRegionSequence
    assert [item.CodeValue for item in items] == [a.code_value for a in anatomies()[:5]]
    assert items[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Right"
    assert images(node, SECOND.code_value, "SCT", calling=calling).pending == [0xFF00], "either side"
    assert images(node, SECOND.code_value, "SCT", "7771000", calling=calling).rows == [], "the other side"
    assert images(node, "80891009", "SCT", calling=calling).rows == [], "not found by this model"
    assert images(node, "12738006", "SCT", calling=calling).rows == [], "the brain"


def test_an_anatomic_region_that_cannot_be_read_is_refused(node: FindNode) -> None:
    assert images(node, SECOND.code_value, "SCT", "51440002").status == 0xA900, "both sides are no side"
    assert images(node, "", "SCT").status == 0xA900


def test_lower_levels_of_a_hit_answer_from_uids_alone_whatever_the_client_repeats(node: FindNode) -> None:
    for calling in (KNOWN, "STRANGER"):
        hit = similar(node, f"SIM ACC0 {FIRST.short}", calling=calling).rows[0]
        repeated = {"StudyInstanceUID": hit.StudyInstanceUID, "StudyDescription": hit.StudyDescription}
        asked = {"calling": calling, "called": FIRST.ae_title}
        (series,) = find(node.port, "SERIES", **asked, **repeated, SeriesInstanceUID="", Modality="").rows
        repeated |= {"PatientID": hit.PatientID, "SeriesInstanceUID": series.SeriesInstanceUID}
        (image,) = find(node.port, "IMAGE", **asked, **repeated, SOPInstanceUID="").rows
        assert image.SOPInstanceUID.startswith("2.25." if calling == "STRANGER" else "1.2.826.")
        assert image.RetrieveAETitle == "REGIONMIR"
