"""`SIM <anchor> [<region>]` over real associations: ranks, refusals, and what is never shown."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import select

from db import audit
from db.tables import QueryLogRow
from regionmir.core.anatomy import anatomies
from regionmir.core.identifiers import Uid
from regionmir.core.records import Disclosure
from tests.support.find import (
    KNOWN,
    PATIENT_ROOT,
    FindNode,
    Found,
    ask,
    association,
    find,
    find_node,
    keys,
)
from tests.support.postgres import TestDatabases
from tests.support.records import element
from tests.support.seed import film, seed

FOUND = anatomies()[:5]
LLLZ_OFF = "RGN_LLLZ"
DIM = 64
HIT = re.compile(r"SIM ([0-9A-Z]{8}) (\w+) #(\d{3}) (-?\d\.\d\d)( PA| AP)?")


def leaning(angle: float) -> npt.NDArray[np.float32]:
    """Return one vector per anatomy, at this angle from that of the anchor: similarity is its cosine."""
    vector = np.zeros((len(FOUND), DIM), np.float32)
    vector[:, 0], vector[:, 1] = np.cos(angle), np.sin(angle)
    return vector


FILMS = (
    film(0, leaning(0.0), pixels="anchor"),
    film(1, leaning(0.3)),
    film(2, leaning(0.1)),
    film(3, leaning(0.2), pixels="twin"),
    film(4, leaning(0.2), pixels="twin"),
    film(5, leaning(0.0), pixels="anchor"),
    film(6, leaning(0.05), patient="REALID0"),
    film(7),
    film(8, leaning(0.4), t00080050=element("SH", "SHARED")),
    film(9, leaning(0.5), t00080050=element("SH", "SHARED")),
)
BEST = ["Canary2^Real", "Canary3^Real", "Canary1^Real", "Canary8^Real", "Canary9^Real"]


@pytest.fixture(scope="module")
def node(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FindNode]:
    with find_node(databases, tmp_path_factory.mktemp("node"), FILMS) as running:
        yield running


def similar(node: FindNode, token: str, *, called: str = "RGN_RUL", calling: str = KNOWN, **more: Any) -> Found:
    called = called if called != "RGN_RUL" else FOUND[1].ae_title
    asked = {"StudyInstanceUID": "", "PatientName": "", "PatientID": "", "StudyDescription": token, **more}
    return find(node.port, "STUDY", calling=calling, called=called, **asked)


def test_hits_come_by_falling_similarity_one_per_study_and_never_of_the_same_patient_or_film(
    node: FindNode,
) -> None:
    found = similar(node, "SIM ACC0")
    assert (found.status, set(found.pending)) == (0x0000, {0xFF01})
    assert found.values("PatientName") == BEST
    descriptions = [HIT.fullmatch(text) for text in found.values("StudyDescription")]
    assert all(descriptions)
    assert [m[3] for m in descriptions if m] == ["001", "002", "003", "004", "005"]
    assert [m[4] for m in descriptions if m] == ["1.00", "0.98", "0.96", "0.92", "0.88"]
    assert len({m[1] for m in descriptions if m}) == 1
    assert {m[2] for m in descriptions if m} == {FOUND[1].short}
    assert set(found.values("StudyComments")) == {"9 of 10 indexed, age 60-64"}
    assert set(found.values("RetrieveAETitle")) == {"REGIONMIR"}


@pytest.mark.parametrize(
    "anchor",
    ["ACC0", "acc0", "1.2.826.0.1.0", "1.2.826.0.1.0.1", "1.2.826.0.1.0.1.1"],
    ids=["accession", "small letters", "study", "series", "instance"],
)
def test_the_anchor_has_many_names(node: FindNode, anchor: str) -> None:
    assert similar(node, f"*SIM {anchor} {FOUND[2].short}*", called="RGN_ALL").values("PatientName") == BEST


def test_a_pseudonym_of_the_anchor_is_its_name_too(node: FindNode) -> None:
    first = similar(node, "SIM ACC1", calling="STRANGER")
    again = similar(node, f"SIM {first.rows[0].StudyInstanceUID}", calling="STRANGER")
    assert again.status == 0x0000
    assert again.values("PatientID")


def test_a_viewer_without_a_field_for_descriptions_asks_by_the_name(node: FindNode) -> None:
    found = similar(node, "", PatientName="RGNSIM^ACC0")
    assert found.values("PatientName") == BEST


def test_the_code_opens_the_same_answer_again_and_a_description_means_its_hit(node: FindNode) -> None:
    found = similar(node, "SIM ACC0")
    third = found.values("StudyDescription")[2]
    code = third.split()[1]
    assert similar(node, f"SIM {code}").values("StudyDescription") == found.values("StudyDescription")
    assert similar(node, f"sim {code.lower()}", called="RGN_ALL").values("PatientName") == BEST
    assert similar(node, third).values("StudyDescription") == [third]
    assert (
        similar(node, third + "*", StudyInstanceUID=found.rows[2].StudyInstanceUID).values("PatientName") == BEST[2:3]
    )
    assert similar(node, third, StudyInstanceUID="9.9.9").rows == []
    other_region = similar(node, f"SIM {code} {FOUND[3].short}", called="RGN_ALL")
    assert other_region.values("PatientName") == BEST
    assert other_region.values("StudyDescription")[0].split()[1] != code


def test_lower_levels_of_a_hit_answer_at_the_same_title(node: FindNode) -> None:
    called = FOUND[1].ae_title
    with association(node.port, calling="STRANGER", called=called) as assoc:
        hit = ask(assoc, keys("STUDY", StudyInstanceUID="", StudyDescription="SIM ACC0")).rows[0]
        series = ask(assoc, keys("SERIES", StudyInstanceUID=hit.StudyInstanceUID, SeriesInstanceUID="", Modality=""))
        images = ask(
            assoc,
            keys(
                "IMAGE",
                StudyInstanceUID=hit.StudyInstanceUID,
                SeriesInstanceUID=series.rows[0].SeriesInstanceUID,
                SOPInstanceUID="",
            ),
        )
    assert series.values("Modality") == ["CR"]
    assert images.values("SOPInstanceUID")[0].startswith("2.25.")


REFUSED = [
    ("SIM NOSUCH", "RGN_RUL", 0xC101, "no such anchor"),
    ("SIM 1.2.3.4.5.6", "RGN_RUL", 0xC101, "no such anchor"),
    ("SIM ABCD1234 RL #001", "RGN_ALL", 0xC101, "no such anchor"),
    ("SIM SHARED", "RGN_RUL", 0xC102, "more than one patient"),
    ("SIM ACC7", "RGN_RUL", 0xC103, "not indexed yet"),
    ("SIM ACC0", LLLZ_OFF, 0xC107, "not searched by this model"),
    ("SIM ACC0", "RGN_ALL", 0xA900, "name a region: RL RULZ"),
    ("SIM ACC0 KNEE", "RGN_ALL", 0xA900, "unknown region"),
    ("SIM ACC*0", "RGN_RUL", 0xA900, "no wildcards"),
    ("SIM", "RGN_RUL", 0xA900, "SIM <anchor> <region>"),
    ("SIM *", "RGN_RUL", 0xA900, "SIM <anchor> <region>"),
    ("SIM ACC0 k=0", "RGN_RUL", 0xA900, "must be 1 to 200"),
    ("SIM ACC0 k=1000000", "RGN_RUL", 0xA900, "must be 1 to 200"),
    (f"SIM ACC0 {FOUND[2].short}", "RGN_RUL", 0xA900, "ask RGN_ALL"),
    ("SIM LAST", "RGN_RUL", 0xC109, "no film came from this AE"),
]


@pytest.mark.parametrize(("token", "called", "status", "comment"), REFUSED, ids=[line[0] for line in REFUSED])
def test_what_cannot_be_answered_fails_with_a_comment_and_a_row_that_explains(
    node: FindNode, token: str, called: str, status: int, comment: str
) -> None:
    found = similar(node, token, called=called)
    assert found.status == status
    assert comment in found.comment
    assert len(found.comment) <= 64
    (row,) = found.rows
    assert row.StudyDescription.startswith(f"SIM ! {status:04X} ")
    assert len(row.StudyDescription) <= 64
    assert comment in row.StudyComments
    assert not row.PatientName
    assert not row.PatientID
    assert find(node.port, "STUDY", calling=KNOWN, StudyInstanceUID=row.StudyInstanceUID).rows == []


def test_the_row_that_explains_can_be_switched_off(node: FindNode) -> None:
    node.register("QUIET", disclosure=Disclosure.IDENTIFIED, explain_row=False)
    found = similar(node, "SIM NOSUCH", calling="QUIET")
    assert (found.rows, found.status) == ([], 0xC101)


def test_all_regions_are_named_to_who_names_none(node: FindNode) -> None:
    (row,) = similar(node, "SIM ACC0", called="RGN_ALL").rows
    assert row.StudyComments == "name a region: " + " ".join(a.short for a in FOUND)


def test_last_is_the_newest_film_of_the_caller_if_there_is_no_doubt(databases: TestDatabases, tmp_path: Path) -> None:
    with find_node(databases, tmp_path, FILMS[:3]) as node:
        check_last(node)


def check_last(node: FindNode) -> None:
    def send(number: int, vectors: npt.NDArray[np.float32] | None, **more: Any) -> None:
        seed(node.database, [film(number, vectors, source_ae="MODALITY9", **more)])

    node.register("READER", disclosure=Disclosure.IDENTIFIED, last_from=("MODALITY9",))
    send(20, leaning(0.0), patient="NEW")
    assert similar(node, "SIM LAST", calling="MODALITY9").status == 0x0000
    assert similar(node, "sim last", calling="READER").values("PatientName")[0] == "Canary0^Real"
    assert similar(node, "SIM LAST", calling="SOMEBODY").status == 0xC109
    send(21, None, patient="NEW")
    assert similar(node, "SIM LAST", calling="READER").status == 0xC103
    send(22, leaning(0.1), patient="ANOTHER")
    assert similar(node, "SIM LAST", calling="READER").status == 0xC10A


def test_other_keys_or_another_model_make_it_ordinary_matching(node: FindNode) -> None:
    assert similar(node, "SIM ACC0", PatientID="REALID1").rows == []
    assert similar(node, "SIM ACC0", called="REGIONMIR").rows == []
    by_patient = find(
        node.port,
        "STUDY",
        PATIENT_ROOT,
        calling=KNOWN,
        called=FOUND[1].ae_title,
        PatientID="REALID0",
        StudyDescription="SIM ACC0",
    )
    assert (by_patient.rows, by_patient.status) == ([], 0x0000)
    ordinary = find(node.port, "STUDY", calling=KNOWN, called=FOUND[1].ae_title, PatientID="REALID1", PatientName="")
    assert ordinary.values("PatientName") == ["Canary1^Real"]


def test_identified_queries_and_guesses_are_audited_without_names(node: FindNode) -> None:
    node.register("READER", disclosure=Disclosure.IDENTIFIED)
    similar(node, "SIM ACC0", calling="READER")
    similar(node, "SIM ACC0", calling="NEWCOMER")
    similar(node, "SIM NOSUCH", calling="NEWCOMER")
    callers = ("READER", "NEWCOMER")
    with node.database.session() as session:
        events = [e for e in audit.listing(session, kinds=("similarity query", "anchor refused")) if e.actor in callers]
        logged = select(QueryLogRow.outcome).where(QueryLogRow.caller_ae.in_(callers)).order_by(QueryLogRow.pk)
        outcomes = list(session.scalars(logged))
    assert [(e.kind, e.actor) for e in events] == [("anchor refused", "NEWCOMER"), ("similarity query", "READER")]
    assert outcomes == ["ok", "ok", "unknown-anchor"]
    assert not any(text in str(events) for text in ("ACC0", "NOSUCH", "Canary", "REALID"))


def test_guessing_is_braked(node: FindNode) -> None:
    with association(node.port, calling="GUESSER", called=FOUND[1].ae_title) as assoc:
        statuses = [ask(assoc, keys("STUDY", StudyDescription=f"SIM GUESS{n}")).status for n in range(25)]
        known = ask(assoc, keys("STUDY", StudyDescription="SIM ACC0")).status
    assert statuses == [0xC101] * 20 + [0xA700] * 5
    assert known == 0xA700
    assert similar(node, "SIM ACC0").status == 0x0000


def test_over_fetching_goes_on_until_there_are_enough_studies(databases: TestDatabases, tmp_path: Path) -> None:
    first = film(1, leaning(0.01))
    uids = [Uid(f"9.1.{n}") for n in range(120)]
    crowd = [replace(first, header=replace(first.header, sop_instance_uid=uid)) for uid in uids]
    films = [film(0, leaning(0.0)), *crowd, *(film(n, leaning(0.5)) for n in range(2, 14))]
    with find_node(databases, tmp_path, films) as node:
        assert len(similar(node, "SIM ACC0", calling="STRANGER").rows) == 10


def test_nothing_to_find_is_a_refusal_not_an_empty_success(databases: TestDatabases, tmp_path: Path) -> None:
    with find_node(databases, tmp_path) as node:
        assert similar(node, "SIM ACC0").status == 0xC108
        seed(node.database, [film(0, leaning(0.0))])
        assert similar(node, "SIM ACC0").status == 0xC10B


def test_findscu_shows_ranked_hits_to_identified_and_unknown_callers(node: FindNode, dcmtk: Path) -> None:
    for calling, name in ((KNOWN, "Canary2^Real"), ("NOBODY", "RGN-")):
        run = subprocess.run(
            [
                str(dcmtk / "findscu"),
                *("-S", "-aet", calling, "-aec", FOUND[1].ae_title, "127.0.0.1", str(node.port)),
                *("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyDescription=SIM ACC0", "-k", "PatientName"),
                *("-k", "StudyInstanceUID"),
            ],
            capture_output=True,
            timeout=30,
            check=True,
        )
        text = (run.stdout + run.stderr).decode("ascii", "replace")
        assert text.count("Find Response") >= 5
        assert name in text
        assert re.search(r"SIM [0-9A-Z]{8} \w+ #001 1.00", text)
        assert "9 of 10 indexed" in text
