"""What pseudonymous callers can find out by C-FIND: pseudonyms, shifted dates, age bands, and nothing else."""

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from regionmir.core.anatomy import anatomies
from tests.support.find import KNOWN, PATIENT_ROOT, STUDY_ROOT, FindNode, Found, ask, association, find, find_node, keys
from tests.support.postgres import TestDatabases
from tests.support.records import element, unit_vectors
from tests.support.seed import SeedFilm, film

STRANGER = "STRANGER"
ORIGINAL = "1.2.826.0.1.7"

_CANARIES = {
    "00080021": element("DA", "19910211"),
    "00080030": element("TM", "041907"),
    "00080080": element("LO", "CANARY Hospital"),
    "00080090": element("PN", {"Alphabetic": "CANARY^Referrer", "Ideographic": "カナリア^医"}),
    "00081010": element("SH", "CANARYSTATION"),
    "00081030": element("LO", "CANARY description"),
    "0008103E": element("LO", "CANARY series"),
    "00081070": element("PN", {"Alphabetic": "CANARY^Operator"}),
    "00081080": element("LO", "CANARY diagnosis"),
    "00081110": element("SQ", {"00081155": element("UI", "1.2.826.0.1.4711.99")}),
    "00100020": element("LO", "CANARYID7"),
    "00100010": element("PN", {"Alphabetic": "CANARY^Person", "Ideographic": "カナリア^人", "Phonetic": "かなりあ"}),
    "00100021": element("LO", "CANARYISSUER"),
    "00100030": element("DA", "19530717"),
    "00100040": element("CS", "F"),
    "00101000": element("LO", "CANARYOTHERID"),
    "00101010": element("AS", "067Y"),
    "00101030": element("DS", 71.5),
    "00102160": element("SH", "CANARYETHNIC"),
    "00104000": element("LT", "CANARY comments"),
    "00180015": element("CS", "CANARYPART"),
    "00181000": element("LO", "CANARYSERIAL"),
    "00185101": element("CS", "CANARYVIEW"),
    "00200010": element("SH", "CANARYSTUDY"),
    "00200011": element("IS", 20200304050607),
    "00200052": element("UI", "1.2.826.0.1.4711.52"),
    "00204000": element("LT", "CANARY image comments"),
    "00321060": element("LO", "CANARY procedure"),
    "00400244": element("DA", "19920212"),
    "00080050": element("SH", "CANARYACC7"),
    "00080020": element("DA", "20200304"),
    "00080060": element("CS", "CANARYMOD"),
}
WILD_VRS = ("LO", "SH", "PN", "CS")
FORBIDDEN = (
    "CANARY",
    "カナリア",
    "かなりあ",
    ORIGINAL,
    "1.2.826.0.1.4711",
    "19910211",
    "041907",
    "19530717",
    "067Y",
    "71.5",
    "20200304",
    "19920212",
)


def canary() -> SeedFilm:
    vectors = unit_vectors(5, 64)
    more = {f"t{tag}": value for tag, value in _CANARIES.items()}
    return film(7, vectors, patient="CANARYID7", **more)


@pytest.fixture(scope="module")
def node(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FindNode]:
    films = [canary(), film(1, unit_vectors(5, 64, 1)), film(2, unit_vectors(5, 64, 2))]
    with find_node(databases, tmp_path_factory.mktemp("node"), films) as running:
        yield running


def everything(level: str, **values: Any) -> Dataset:
    """Return an Identifier that asks for every attribute of the canary film, and more."""
    asked = {keyword_for_tag(tag): ([] if value["vr"] == "SQ" else "") for tag, value in _CANARIES.items()}
    counts = (
        "ModalitiesInStudy",
        "SOPClassesInStudy",
        "NumberOfStudyRelatedInstances",
        "SOPClassUID",
        "InstanceNumber",
    )
    more = dict.fromkeys((*counts, "Rows", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), "")
    more["Rows"] = None  # type: ignore[assignment]
    return keys(level, **{**asked, **more, **values})


def canary_row(port: int, calling: str = STRANGER) -> Dataset:
    """Return the canary study as a caller sees it: the only one of a woman of that age."""
    with association(port, calling=calling) as assoc:
        rows = ask(assoc, everything("STUDY")).rows
    return next(row for row in rows if row.get("PatientAge") in ("065Y", "067Y"))


def leaks(found: Found) -> list[str]:
    text = f"{found.comment}\n" + "\n".join(str(row) + row.to_json() for row in found.rows)
    raw = text + "".join(bytes_of(row).decode("latin-1") for row in found.rows)
    return [secret for secret in FORBIDDEN if secret in text or secret.encode().decode("latin-1") in raw]


def bytes_of(row: Dataset) -> bytes:
    return encode(row, False, True) or b""


def test_a_pseudonymous_study_has_pseudonyms_a_shifted_date_and_an_age_band(node: FindNode) -> None:
    row = canary_row(node.port)
    assert row.PatientName == row.PatientID
    assert str(row.PatientID).startswith("RGN-")
    assert row.IssuerOfPatientID == "REGIONMIR"
    assert row.StudyInstanceUID.startswith("2.25.")
    shift = dt.date(2020, 3, 4) - dt.datetime.strptime(row.StudyDate, "%Y%m%d").date()
    assert 1 <= shift.days <= 365
    assert (row.PatientAge, row.PatientSex) == ("065Y", "F")
    assert not row.ModalitiesInStudy
    assert row.NumberOfStudyRelatedInstances == 1
    for keyword in ("AccessionNumber", "StudyDescription", "StudyTime", "StudyID", "PatientBirthDate", "PatientSize"):
        assert not row.get(keyword), keyword


def test_pseudonyms_are_the_same_at_every_level_and_every_call(node: FindNode) -> None:
    row = canary_row(node.port)
    with association(node.port, calling="SOMEONEELSE") as assoc:
        again = ask(assoc, keys("STUDY", PatientID=row.PatientID, StudyInstanceUID=""))
        by_name = ask(assoc, keys("STUDY", PatientName=str(row.PatientName).lower()[:8] + "*", StudyInstanceUID=""))
        patient = ask(assoc, keys("PATIENT", PatientID=row.PatientID, PatientName=""), PATIENT_ROOT)
        series = ask(assoc, everything("SERIES", StudyInstanceUID=row.StudyInstanceUID))
        image = ask(
            assoc,
            everything(
                "IMAGE", StudyInstanceUID=row.StudyInstanceUID, SeriesInstanceUID=series.rows[0].SeriesInstanceUID
            ),
        )
    assert again.values("StudyInstanceUID") == [row.StudyInstanceUID]
    assert by_name.values("StudyInstanceUID") == [row.StudyInstanceUID]
    assert patient.values("PatientName") == [str(row.PatientName)]
    assert image.values("PatientID") == [row.PatientID]
    assert image.rows[0].SOPInstanceUID.startswith("2.25.")
    assert not any(leaks(found) for found in (again, patient, series, image))


def test_dates_and_ages_match_as_they_are_shown(node: FindNode) -> None:
    row = canary_row(node.port)

    def count(**values: Any) -> int:
        return len(find(node.port, "STUDY", calling=STRANGER, PatientID=row.PatientID, **values).rows)

    assert count(StudyDate=row.StudyDate) == 1
    assert count(StudyDate=f"{row.StudyDate}-{row.StudyDate}") == 1
    assert count(StudyDate="20200304") == 0
    assert count(PatientAge="065Y") == 1
    assert count(PatientAge="067Y") == 0
    assert count(PatientSex="F") == 1
    assert count(PatientSex="M") == 0


@pytest.mark.parametrize("tag", sorted(tag for tag, value in _CANARIES.items() if value["vr"] != "SQ"))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_original_value_as_a_key_matches_nothing(node: FindNode, tag: str) -> None:
    if tag == "00100040":
        pytest.skip("the sex is disclosed")
    vr, (value,) = _CANARIES[tag]["vr"], _CANARIES[tag]["Value"]
    text = value["Alphabetic"] if isinstance(value, dict) else str(value)
    with association(node.port, calling=STRANGER) as assoc:
        study = ask(assoc, keys("STUDY", **{keyword_for_tag(tag): text}))
        wild = ask(assoc, keys("STUDY", **{keyword_for_tag(tag): text[:4] + "*"})) if vr in WILD_VRS else Found()
    assert (study.rows, wild.rows) == ([], [])


@pytest.mark.parametrize("uid", [ORIGINAL, f"{ORIGINAL}.1", f"{ORIGINAL}.1.1"])
def test_an_original_uid_is_no_key_at_any_level(node: FindNode, uid: str) -> None:
    with association(node.port, calling=STRANGER) as assoc:
        assert ask(assoc, keys("STUDY", StudyInstanceUID=uid)).rows == []
        assert ask(assoc, keys("SERIES", StudyInstanceUID=uid, SeriesInstanceUID=uid)).rows == []
        below = keys("IMAGE", StudyInstanceUID=ORIGINAL, SeriesInstanceUID=f"{ORIGINAL}.1", SOPInstanceUID=uid)
        assert ask(assoc, below).rows == []


def test_an_anchor_may_be_named_by_what_the_asker_knows_and_the_hits_still_tell_nothing(node: FindNode) -> None:
    called = anatomies()[1].ae_title
    for anchor in ("ACC1", ORIGINAL, "CANARYACC7"):
        found = find(
            node.port, "STUDY", calling=STRANGER, called=called, StudyDescription=f"SIM {anchor}", PatientName=""
        )
        assert len(found.rows) == 2
        assert not leaks(found)
        assert all(str(row.PatientName).startswith("RGN-") for row in found.rows)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_canary_is_in_any_of_many_random_queries(node: FindNode) -> None:
    rng = random.Random(7)
    row = canary_row(node.port)
    originals = [str(v["Value"][0]) for v in _CANARIES.values() if v["vr"] in ("LO", "SH", "CS")]
    words = ["", "*", "RGN-*", row.PatientID, row.StudyInstanceUID, "F", "SIM ACC1", "SIM CANARYACC7", *originals]
    texts = [keyword_for_tag(tag) for tag, v in _CANARIES.items() if v["vr"] in ("LO", "SH", "PN", "CS", "LT")]
    called = ("REGIONMIR", "RGN_ALL", anatomies()[1].ae_title)
    for title in called:
        with association(node.port, calling=STRANGER, called=title) as assoc:
            for _ in range(70):
                level = rng.choice(["PATIENT", "STUDY", "SERIES", "IMAGE"])
                model = rng.choice([PATIENT_ROOT, STUDY_ROOT])
                chosen = {rng.choice(texts): rng.choice(words) for _ in range(rng.randint(0, 2))}
                chosen |= {"StudyInstanceUID": row.StudyInstanceUID} if level in ("SERIES", "IMAGE") else {}
                identifier = everything(level, **chosen)
                identifier.SpecificCharacterSet = rng.choice(["ISO_IR 192", "ISO_IR 100", ["", "ISO 2022 IR 87"]])
                assert leaks(ask(assoc, identifier, model)) == []


def test_the_same_queries_by_an_identified_caller_do_show_the_canary(node: FindNode) -> None:
    """Were this to fail, the tests above would prove nothing."""
    with association(node.port, calling=KNOWN) as assoc:
        found = ask(assoc, everything("STUDY", PatientID="CANARYID7"))
    assert {"CANARY", ORIGINAL, "20200304", "067Y"} <= set(leaks(found))
