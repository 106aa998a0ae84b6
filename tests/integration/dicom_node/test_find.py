"""Ordinary C-FIND over real associations: levels, matching, character sets, limits."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

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


def test_a_cancelled_query_ends_with_the_status_cancel(node: FindNode) -> None:
    identifier = keys("STUDY")
    with association(node.port, calling=KNOWN) as assoc:
        answers = assoc.send_c_find(identifier, STUDY_ROOT, msg_id=7)
        next(answers)
        assoc.send_c_cancel(7, query_model=STUDY_ROOT)
        last = [status.Status for status, _ in answers][-1]
    assert last in (0xFE00, 0x0000)  # six answers may all be on their way before the request arrives


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
