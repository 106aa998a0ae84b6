"""Ordinary C-FIND over real associations: levels, matching, character sets, limits."""

import random
import struct
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.dsutils import decode
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from db.find import find as matching_rows
from dicom_node.find import handle_find
from regionmir.core.errors import InvalidIdentifier
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.query.keys import read_keys
from regionmir.query.matching import Root, read_request
from tests.support.find import KNOWN, PATIENT_ROOT, STUDY_ROOT, FindNode, ask, association, find, find_node, keys
from tests.support.postgres import TestDatabases
from tests.support.records import element, header
from tests.support.seed import SeedFilm

KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def person(name: str) -> dict[str, object]:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)
    return element("PN", {group: text for group, text in groups if text})


def image(
    study: str, series: str, number: int, patient: str, name: str, modality: str = "CR", **more: object
) -> SeedFilm:
    head = header(
        study=study,
        series=f"{study}.{series}",
        sop=f"{study}.{series}.{number}",
        patient_id=patient,
        **{
            "t00100020": element("LO", patient),
            "t00100010": person(name),
            "t00080060": element("CS", modality),
            "t00200011": element("IS", int(series)),
            "t00200013": element("IS", number),
            **more,
        },
    )
    return SeedFilm(head)


FILMS = (
    image(
        "1.2.1",
        "1",
        1,
        "P1",
        "Doe^John",
        t00080020=element("DA", "20200101"),
        t00080030=element("TM", "101500"),
        t00081030=element("LO", "CHEST 2 VIEWS"),
        t00081080=element("LO", "cough 100%"),
        t00180060=element("DS", 110.5),
    ),
    image("1.2.1", "1", 2, "P1", "Doe^John", t00080020=element("DA", "20200101")),
    image("1.2.1", "2", 1, "P1", "Doe^John", "SR", t00080020=element("DA", "20200101")),
    image("1.2.2", "1", 1, "P1", "Doe^John", t00080020=element("DA", "20210615"), t00080030=element("TM", "0800")),
    image(
        "1.2.3", "1", 1, "P2", KOREAN, "DX", t00080020=element("DA", "20210101"), t00080030=element("TM", "235900.5")
    ),
    image("1.2.4", "1", 1, "P3", JAPANESE, t00080020=element("DA", "20190101"), t00081030=element("LO", "A_B\u00d6")),
    image("1.2.5", "1", 1, "P4", "Люкceмбypг", t00080020=element("DA", "20180101")),
    image("1.2.6", "1", 1, "P5", "Müller^Jörg", t00080020={"vr": "DA"}),
)


@pytest.fixture(scope="module")
def node(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FindNode]:
    with find_node(databases, tmp_path_factory.mktemp("node"), FILMS) as running:
        yield running


def studies(node: FindNode, **values: object) -> list[str]:
    found = find(node.port, "STUDY", calling=KNOWN, **{"StudyInstanceUID": "", **values})
    assert found.status == 0x0000
    return sorted(found.values("StudyInstanceUID"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("asked", "matching"),
    [
        ({}, ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5", "1.2.6"]),
        ({"PatientID": "*"}, ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5", "1.2.6"]),
        ({"PatientID": "P1"}, ["1.2.1", "1.2.2"]),
        ({"PatientID": "p1"}, []),
        ({"PatientID": "P?"}, ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5", "1.2.6"]),
        ({"PatientID": " P2 "}, ["1.2.3"]),
        ({"StudyInstanceUID": ["1.2.1", "1.2.5", "9.9"]}, ["1.2.1", "1.2.5"]),
        ({"PatientName": "doe^john"}, ["1.2.1", "1.2.2"]),
        ({"PatientName": "DOE"}, ["1.2.1", "1.2.2"]),
        ({"PatientName": "*JOHN*"}, ["1.2.1", "1.2.2"]),
        ({"PatientName": "hong*"}, ["1.2.3"]),
        ({"StudyDate": "20200101"}, ["1.2.1"]),
        ({"StudyDate": "20200101-20210101"}, ["1.2.1", "1.2.3"]),
        ({"StudyDate": "-20191231"}, ["1.2.4", "1.2.5"]),
        ({"StudyDate": "20210102-"}, ["1.2.2"]),
        ({"StudyTime": "0800-1100"}, ["1.2.1", "1.2.2"]),
        ({"StudyTime": "101500"}, ["1.2.1"]),
        ({"StudyTime": "2359-"}, ["1.2.3"]),
        ({"StudyDate": "20200101-20210615", "StudyTime": "10-23"}, ["1.2.1", "1.2.3"]),
        ({"AccessionNumber": "A1.2.3"}, ["1.2.3"]),
        ({"StudyDescription": "CHEST*"}, ["1.2.1"]),
        ({"StudyDescription": "chest*"}, []),
        ({"StudyDescription": "A_B*"}, ["1.2.4"]),
        ({"StudyDescription": "A?B*"}, ["1.2.4"]),
        ({"StudyDescription": "_*"}, []),
        ({"StudyDescription": "%"}, []),
        ({"AdmittingDiagnosesDescription": "*100%"}, ["1.2.1"]),
        ({"AdmittingDiagnosesDescription": "cough*"}, ["1.2.1"]),
        ({"AdmittingDiagnosesDescription": "cough"}, []),
        ({"ModalitiesInStudy": "DX"}, ["1.2.3"]),
        ({"ModalitiesInStudy": ["SR", "DX"]}, ["1.2.1", "1.2.3"]),
        ({"ModalitiesInStudy": "S?"}, ["1.2.1"]),
        ({"Modality": "SR"}, ["1.2.1"]),
        ({"Modality": "CR", "ModalitiesInStudy": "SR"}, ["1.2.1"]),
        ({"NumberOfStudyRelatedInstances": 3}, ["1.2.1"]),
        ({"PatientSex": "M"}, []),
    ],
)
def test_a_study_query_matches_by_the_rules_of_its_keys(
    node: FindNode, asked: dict[str, object], matching: list[str]
) -> None:
    assert studies(node, **asked) == matching


def test_every_level_answers_from_uids_alone(node: FindNode) -> None:
    with association(node.port, calling=KNOWN) as assoc:
        study = ask(assoc, keys("STUDY", StudyInstanceUID="1.2.1"))
        series = ask(
            assoc, keys("SERIES", StudyInstanceUID="1.2.1", SeriesInstanceUID="", Modality="", SeriesNumber="")
        )
        images = ask(
            assoc,
            keys("IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.1", SOPInstanceUID="", InstanceNumber=""),
        )
        by_patient = ask(
            assoc,
            keys("SERIES", StudyInstanceUID="1.2.1", SeriesInstanceUID="", NumberOfSeriesRelatedInstances=""),
            PATIENT_ROOT,
        )
    assert study.values("StudyInstanceUID") == ["1.2.1"]
    assert series.values("SeriesInstanceUID") == ["1.2.1.1", "1.2.1.2"]
    assert series.values("Modality") == ["CR", "SR"]
    assert images.values("SOPInstanceUID") == ["1.2.1.1.1", "1.2.1.1.2"]
    assert images.values("StudyInstanceUID") == ["1.2.1", "1.2.1"]
    assert by_patient.values("NumberOfSeriesRelatedInstances") == ["2", "1"]
    assert by_patient.values("PatientID") == ["P1", "P1"]


def test_a_patient_query_counts_what_a_patient_has(node: FindNode) -> None:
    found = find(
        node.port,
        "PATIENT",
        PATIENT_ROOT,
        calling=KNOWN,
        PatientName="doe*",
        NumberOfPatientRelatedStudies="",
        NumberOfPatientRelatedSeries="",
        NumberOfPatientRelatedInstances="",
    )
    row = found.rows[0]
    assert (row.PatientID, row.PatientName) == ("P1", "Doe^John")
    assert row.NumberOfPatientRelatedStudies == 2
    assert row.NumberOfPatientRelatedSeries == 3
    assert row.NumberOfPatientRelatedInstances == 4


def test_every_answer_says_where_its_study_is(node: FindNode) -> None:
    found = find(node.port, "STUDY", calling=KNOWN, PatientID="P1")
    for row in found.rows:
        assert row.QueryRetrieveLevel == "STUDY"
        assert row.RetrieveAETitle == "REGIONMIR"
        assert row.InstanceAvailability == "ONLINE"
        assert row.StudyInstanceUID
        assert row.SpecificCharacterSet == "ISO_IR 100"
    assert found.pending == [0xFF00, 0xFF00]


def test_what_is_asked_for_is_answered_and_the_unknown_is_empty(node: FindNode) -> None:
    found = find(
        node.port,
        "STUDY",
        calling=KNOWN,
        StudyInstanceUID="1.2.1",
        ModalitiesInStudy="",
        SOPClassesInStudy="",
        NumberOfStudyRelatedSeries="",
        NumberOfStudyRelatedInstances="",
        StudyDescription="",
        AdmittingDiagnosesDescription="",
        ReferringPhysicianName="",
        SeriesDescription="",
    )
    (row,) = found.rows
    assert list(row.ModalitiesInStudy) == ["CR", "SR"]
    assert row.SOPClassesInStudy == "1.2.840.10008.5.1.4.1.1.1"
    assert (row.NumberOfStudyRelatedSeries, row.NumberOfStudyRelatedInstances) == (2, 3)
    assert row.AdmittingDiagnosesDescription == "cough 100%"
    assert "ReferringPhysicianName" in row
    assert not row.ReferringPhysicianName
    assert not row.SeriesDescription


def test_studies_come_newest_first(node: FindNode) -> None:
    found = find(node.port, "STUDY", calling=KNOWN, StudyDate="")
    assert found.values("StudyDate") == ["20210615", "20210101", "20200101", "20190101", "20180101", ""]


def test_a_key_below_the_level_is_ignored_with_a_warning(node: FindNode) -> None:
    found = find(node.port, "STUDY", calling=KNOWN, PatientID="P2", SeriesDescription="x")
    assert (len(found.rows), found.pending) == (1, [0xFF01])


@pytest.mark.parametrize(
    ("level", "model", "asked"),
    [
        ("SERIES", STUDY_ROOT, {"SeriesInstanceUID": "1.2.1.1"}),
        ("SERIES", STUDY_ROOT, {"StudyInstanceUID": ["1.2.1", "1.2.2"]}),
        ("IMAGE", STUDY_ROOT, {"SeriesInstanceUID": "1.2.1.1", "SOPInstanceUID": ""}),
        ("IMAGE", STUDY_ROOT, {"StudyInstanceUID": "1.2.1"}),
        ("STUDY", PATIENT_ROOT, {"StudyDate": "20200101"}),
        ("STUDY", PATIENT_ROOT, {"PatientID": "P*"}),
        ("PATIENT", STUDY_ROOT, {"PatientID": "P1"}),
        ("FRAME", STUDY_ROOT, {"StudyInstanceUID": "1.2.1"}),
        ("", STUDY_ROOT, {"StudyInstanceUID": "1.2.1"}),
        ("STUDY", STUDY_ROOT, {"StudyDate": "yesterday"}),
        ("STUDY", STUDY_ROOT, {"StudyTime": "99"}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_identifier_that_does_not_fit_the_model_is_refused_with_a_comment(
    node: FindNode, level: str, model: str, asked: dict[str, object]
) -> None:
    found = find(node.port, level, model, calling=KNOWN, **asked)
    assert (found.rows, found.status) == ([], 0xA900)
    assert found.comment


@pytest.mark.parametrize(
    ("charset", "typed", "study", "same"),
    [
        (["", "ISO 2022 IR 149"], "*洪^吉洞*", "1.2.3", True),
        (["", "ISO 2022 IR 149"], "hong*=洪*", "1.2.3", True),
        (["", "ISO 2022 IR 87"], "山田*", "1.2.4", True),
        ("ISO_IR 144", "люк*", "1.2.5", True),
        ("ISO_IR 100", "müller*", "1.2.6", True),
        ("ISO_IR 100", "MÜLLER*", "1.2.6", True),
        ("ISO_IR 192", "やまだ*", "1.2.4", True),
        ("ISO_IR 100", "yamada*", "1.2.4", False),
        ("ISO_IR 144", "hong*", "1.2.3", False),
        (None, "m*ller*", "1.2.6", False),
    ],
)
def test_names_are_asked_and_answered_in_the_character_set_of_the_request_where_they_fit(
    node: FindNode, charset: object, typed: str, study: str, same: bool
) -> None:
    asked: dict[str, object] = {"PatientName": typed, "StudyInstanceUID": ""}
    if charset is not None:
        asked = {"SpecificCharacterSet": charset, **asked}
    found = find(node.port, "STUDY", calling=KNOWN, **asked)
    (row,) = found.rows
    names = {film.header.study_instance_uid: film.header.attributes["00100010"]["Value"][0] for film in FILMS}
    assert str(row.PatientName).rstrip("=") == "=".join(names[study].values())
    sent = row.SpecificCharacterSet
    assert (sent if isinstance(sent, str) else list(sent)) == (charset if same else "ISO_IR 192")


def test_keys_outside_their_character_set_are_refused(node: FindNode) -> None:
    identifier = keys("STUDY", StudyInstanceUID="")
    identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.PatientName = b"\xff\xfe*"
    with association(node.port, calling=KNOWN) as assoc:
        found = ask(assoc, identifier)
    assert (found.rows, found.status) == ([], 0xA900)
    assert "SpecificCharacterSet" in found.comment


def test_more_matches_than_the_cap_end_with_a_refusal_that_says_so(databases: TestDatabases, tmp_path: Path) -> None:
    with find_node(databases, tmp_path, FILMS, find_cap=4) as node:
        found = find(node.port, "STUDY", calling=KNOWN)
        fitting = find(node.port, "STUDY", calling=KNOWN, StudyDate="20190101-")
    assert (len(found.rows), found.status) == (4, 0xA700)
    assert "narrow" in found.comment
    assert (len(fitting.rows), fitting.status) == (4, 0x0000)


class CancelledAfterOne:
    """The event of a C-FIND whose peer sends C-CANCEL when it has the first answer."""

    def __init__(self, node: FindNode) -> None:
        self.identifier = keys("STUDY")
        self.request = SimpleNamespace(AffectedSOPClassUID=STUDY_ROOT, Identifier=None)
        self.context = SimpleNamespace(transfer_syntax="1.2.840.10008.1.2.1")
        requestor = SimpleNamespace(primitive=SimpleNamespace(called_ae_title="REGIONMIR"))
        self.assoc = SimpleNamespace(
            requestor=requestor,
            acceptor=SimpleNamespace(sop_class_extended={}),
            caller=Caller(AETitle("VIEWER"), "127.0.0.1", Rights(find=True), Disclosure.IDENTIFIED, registered=True),
        )
        self._looks = 0

    @property
    def is_cancelled(self) -> bool:
        self._looks += 1
        return self._looks > 1


def test_a_cancelled_query_ends_with_the_status_cancel(node: FindNode) -> None:
    event: Any = CancelledAfterOne(node)
    assert [status for status, _ in handle_find(event, node.node)] == [0xFF00, 0xFE00]


def test_a_cancel_on_the_wire_ends_a_query_in_good_order(node: FindNode) -> None:
    with association(node.port, calling=KNOWN) as assoc:
        answers = assoc.send_c_find(keys("STUDY"), STUDY_ROOT, msg_id=7)
        next(answers)
        assoc.send_c_cancel(7, query_model=STUDY_ROOT)
        last = [status.Status for status, _ in answers][-1]
        again = ask(assoc, keys("STUDY"))
    assert last in (0xFE00, 0x0000)  # all six answers may be under way before the request arrives
    assert (len(again.rows), again.status) == (6, 0x0000)


def test_an_ae_without_the_right_to_find_is_told_so(node: FindNode) -> None:
    node.register("STOREONLY", can_find=False)
    found = find(node.port, "STUDY", calling="STOREONLY")
    assert (found.rows, found.status) == ([], 0x0124)


def test_date_and_time_are_one_instant_where_that_was_negotiated(node: FindNode) -> None:
    def matching(assoc: object) -> list[str]:
        asked = keys("STUDY", StudyInstanceUID="", StudyDate="20200101-20210101", StudyTime="1000-0700")
        return ask(assoc, asked).values("StudyInstanceUID")  # type: ignore[arg-type]

    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = STUDY_ROOT
    item.service_class_application_information = b"\x00\x01\x00"
    with association(node.port, calling=KNOWN, ext_neg=[item]) as assoc:
        negotiated = dict(assoc.acceptor.sop_class_extended)
        together = matching(assoc)
    with association(node.port, calling=KNOWN) as assoc:
        apart = matching(assoc)
    assert negotiated == {STUDY_ROOT: b"\x00\x01\x00"}
    assert together == ["1.2.1"]
    assert apart == []


def test_findscu_of_dcmtk_reads_the_answers(node: FindNode, dcmtk: Path) -> None:
    run = subprocess.run(
        [
            str(dcmtk / "findscu"),
            *("-S", "-aet", KNOWN, "-aec", "REGIONMIR", "127.0.0.1", str(node.port)),
            *("-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=DOE*", "-k", "StudyDate=20200101-"),
            *("-k", "StudyInstanceUID", "-k", "ModalitiesInStudy", "-k", "NumberOfStudyRelatedInstances"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    text = (run.stdout + run.stderr).replace("\0", "").replace(" ]", "]")
    assert text.count("Find Response") >= 2
    assert "[1.2.1]" in text
    assert "[1.2.2]" in text
    assert "[CR\\SR]" in text


TAGS = (
    *("00100010", "00100020", "00080020", "00080030", "0020000D", "00080061", "00201208", "00280010", "00080060"),
    *("00080016", "00081030", "00101010", "00180060", "00400275", "0008002A", "00189306", "00081110", "00091001"),
)
PIECES = (
    "*",
    "?",
    "\\",
    "^",
    "=",
    "%",
    "_",
    "-",
    ".",
    "1",
    "20200101",
    "1.2.1",
    "Doe",
    "\0",
    "'",
    '"',
    "(",
    "[",
    "é",
    "9" * 20,
)


def explicit(tag: str, vr: str, value: bytes) -> bytes:
    """Return one element in Explicit VR Little Endian (PS3.5 7.1.2)."""
    value += b" " * (len(value) % 2)
    length = struct.pack("<HL", 0, len(value)) if vr == "UN" else struct.pack("<H", len(value))
    return struct.pack("<HH", int(tag[:4], 16), int(tag[4:], 16)) + vr.encode() + length + value


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_the_keys_are_they_are_matched_or_refused(node: FindNode) -> None:
    rng = random.Random(3)
    refused = 0
    for _ in range(600):
        chosen = {
            tag: "".join(rng.choices(PIECES, k=rng.randint(0, 5))).encode("latin-1") for tag in rng.sample(TAGS, 3)
        }
        chosen["00080005"] = rng.choice([b"ISO_IR 192", b"ISO_IR 100", b"", b"ISO_IR 999"])
        chosen["00080052"] = rng.choice([b"STUDY", b"STUDY", b"SERIES", b"IMAGE"])
        content = b"".join(explicit(tag, rng.choice(["LO", "UN", "DA"]), chosen[tag]) for tag in sorted(chosen))
        try:
            request = read_request(read_keys(decode(BytesIO(content), False, True)), Root.STUDY, Disclosure.IDENTIFIED)
        except InvalidIdentifier:
            refused += 1
            continue
        with node.database.session() as session:
            list(matching_rows(session, request.spec(limit=5)))
    assert 100 < refused < 500


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_key_of_many_stars_is_answered_at_once(node: FindNode) -> None:
    with association(node.port, calling=KNOWN) as assoc:
        for text in ("a*" * 500, "*" * 1000 + "a", "?" * 1000, "^" * 1000 + "x", "*a?" * 300):
            found = ask(assoc, keys("STUDY", PatientName=text, StudyDescription=text))
            assert (found.rows, found.status) == ([], 0x0000)
        assert ask(assoc, keys("STUDY", StudyDescription="x" * 1025)).status == 0xA900
        assert ask(assoc, keys("STUDY", StudyInstanceUID=[f"1.2.{n}" for n in range(3, 3000)])).status == 0x0000
