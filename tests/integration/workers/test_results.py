"""Films come in by storescu, results go out to storescp: the right patient, the right study, nothing of others."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import text

from db import deliveries, instances, peers, result_sets, wanted_answers
from db.deliveries import DeliverySummary
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from regionmir.results.making import KINDS
from regionmir.results.outbox import ResultOutbox
from tests.conftest import absent
from tests.support.fake_model import FakeModel
from tests.support.films import save, synthetic_film, synthetic_uid
from tests.support.find import FindNode, find, find_node
from tests.support.peers import storescp
from tests.support.postgres import TestDatabases
from tests.support.validation import complaints, said_by
from workers.answering import Answering
from workers.completion import Completion
from workers.delivery import Deliverer
from workers.indexer import Indexer
from workers.planning import StudyPlanner
from workers.results import ResultMaker

NEIGHBOURS = [
    synthetic_film(seed, PatientName=f"Neighbour^{seed:03d}", PatientID=f"NEIGHBOUR-{seed:03d}") for seed in range(4)
]
IDENTIFIED: dict[str, Any] = {"disclosure": Disclosure.IDENTIFIED}
QUERIES = {"can_store": True, "can_find": True, "results_to": "RECEIVER"}


@dataclass
class Site:
    """A node, workers that work when they are told to, and dcmtk's storescp as the PACS."""

    node: FindNode
    folder: Path
    dcmtk: Path
    port: int
    indexer: Indexer
    deliverer: Deliverer

    def destination(self, *kinds: str, **values: Any) -> None:
        """Register what the PACS is sent."""
        given = {"host": "127.0.0.1", "port": self.port, "results": kinds, **IDENTIFIED, **values}
        self.node.register("RECEIVER", **given)

    def send(self, film: Dataset, *, calling: str = "VIEWER", called: str = "REGIONMIR") -> None:
        path = save(film, self.folder / "sent" / f"{film.SOPInstanceUID}.dcm")
        words = [self.dcmtk / "storescu", "-aet", calling, "-aec", called, "127.0.0.1", self.node.port, path]
        subprocess.run([str(word) for word in words], capture_output=True, timeout=240, check=True)

    def work(self, *, regions: tuple[str, ...] = (), complete: bool = False) -> None:
        """Index, answer, complete and deliver what there is."""
        self.prepare(regions=regions, complete=complete)
        for started in self.deliverer.drain():
            started.result(240)

    def prepare(self, *, regions: tuple[str, ...] = (), complete: bool = False) -> None:
        """Index, answer and complete what there is, and deliver nothing."""
        key = self.node.node.pseudonymizer
        self.indexer.drain()
        Answering(self.node.database, 3, ResultOutbox(key)).answer_waiting()
        if complete:
            planner = StudyPlanner(self.node.database, key, tuple(map(anatomy_by_short, regions)), 3)
            Completion(self.node.database, [planner], quiet_s=0).look()

    def taken(self, film: Dataset) -> dict[str, list[Dataset]]:
        """Return the results about a film that the PACS has, by modality: those that refer to it."""
        found: dict[str, list[Dataset]] = {}
        for path in sorted((self.folder / "pacs").iterdir()):
            result = dcmread(path)
            if result.StudyInstanceUID == film.StudyInstanceUID:
                found.setdefault(str(result.Modality), []).append(result)
        return found

    def outbox(self) -> list[DeliverySummary]:
        with self.node.database.session() as session:
            return deliveries.listing(session)

    def asked(self) -> wanted_answers.ListedAnswer:
        with self.node.database.session() as session:
            return wanted_answers.listing(session)[0]

    def count_regions(self) -> int:
        with self.node.database.session() as session:
            return int(session.execute(text("SELECT count(*) FROM embedding")).scalar_one())


@contextmanager
def _site(databases: TestDatabases, folder: Path, dcmtk: Path) -> Iterator[Site]:
    (folder / "pacs").mkdir()
    with find_node(databases, folder / "node") as node, storescp(dcmtk, folder / "pacs") as pacs:
        served = node.node
        indexer = Indexer(node.database, served.store, FakeModel(), 4, lease_s=600)
        maker = ResultMaker(node.database, served.store, served.pseudonymizer, served.settings.max_pixels)
        deliverer = Deliverer(node.database, AETitle("REGIONMIR"), dict.fromkeys(KINDS, maker))
        made = Site(node, folder, dcmtk, pacs.port, indexer, deliverer)
        node.register("VIEWER", **QUERIES, **IDENTIFIED)
        node.register("LOADER", can_store=True)
        for film in NEIGHBOURS:
            made.send(film, calling="LOADER")
        made.work()
        yield made
        deliverer.close()
        indexer.close()


@pytest.fixture(scope="module")
def site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory, dcmtk: Path) -> Iterator[Site]:
    with _site(databases, tmp_path_factory.mktemp("results"), dcmtk) as made:
        yield made


def file_of(site: Site, result: Dataset) -> Path:
    (found,) = [path for path in (site.folder / "pacs").iterdir() if str(result.SOPInstanceUID) in path.name]
    return found


def everything_in(path: Path) -> bytes:
    return path.read_bytes()


def test_a_film_sent_to_a_region_brings_every_kind_that_is_switched_on_to_the_right_patient(site: Site) -> None:
    site.destination("sr", "sheet", "pdf", "gsps", "kos")
    film = synthetic_film(20)
    site.send(film, called="RGN_LLLZ")
    site.work()
    taken = site.taken(film)
    assert {modality: len(found) for modality, found in taken.items()} == {"SR": 1, "OT": 1, "DOC": 1, "PR": 1, "KO": 1}
    code = site.asked().result_set_code
    assert code is not None
    for (result,) in taken.values():
        assert (result.PatientID, result.PatientName) == (film.PatientID, film.PatientName)
        assert result.AccessionNumber == film.AccessionNumber
        content = file_of(site, result).read_bytes()
        assert b"NEIGHBOUR" not in content
        assert not any(str(other.StudyInstanceUID).encode() in content for other in NEIGHBOURS)
    for modality in ("SR", "OT", "KO"):
        assert f"SIM {code}".encode() in file_of(site, taken[modality][0]).read_bytes()
    (sheet,) = taken["OT"]
    assert (sheet.BurnedInAnnotation, str(sheet.SeriesDescription)[:15]) == ("YES", "OTHER PATIENTS:")


def test_other_peoples_programs_find_no_fault_with_what_arrived(site: Site) -> None:
    for tool in ("dciodvfy", "dsrdump"):
        if not Path("/usr/bin", tool).is_file():
            absent(f"{tool} (apt-get install dicom3tools dcmtk)")
    arrived = sorted((site.folder / "pacs").iterdir())
    assert arrived
    for path in arrived:
        assert complaints(said_by("/usr/bin/dciodvfy", path)) == [], path.name
        if path.name.startswith("SR"):
            assert complaints(said_by("/usr/bin/dsrdump", path)) == []


def test_the_code_on_a_result_opens_the_same_answer_in_a_query(site: Site) -> None:
    answer = site.asked()
    found = find(site.node.port, "STUDY", calling="VIEWER", called="RGN_LLLZ",
                 StudyDescription=f"SIM {answer.result_set_code}", StudyInstanceUID="")  # fmt: skip
    assert [line.split()[1] for line in found.values("StudyDescription")] == [answer.result_set_code] * 3
    assert set(found.values("StudyInstanceUID")) <= {str(film.StudyInstanceUID) for film in NEIGHBOURS}
    assert all(", age " in line and " indexed" in line for line in found.values("StudyComments"))


def test_what_comes_back_is_acknowledged_and_starts_nothing(site: Site) -> None:
    before, asked, waiting = site.count_regions(), site.asked(), len(site.outbox())
    for path in sorted((site.folder / "pacs").iterdir()):
        site.send(dcmread(path), called="RGN_LLLZ")
    site.work(complete=True)
    assert (site.count_regions(), site.asked(), len(site.outbox())) == (before, asked, waiting)
    with site.node.database.session() as session:
        back = instances.listing(session, reason="own_copy")
    assert len(back) == len(list((site.folder / "pacs").iterdir()))


def test_the_same_rows_make_the_same_bytes_again(site: Site) -> None:
    kinds: dict[str, bytes] = {}
    for one in site.outbox():
        with site.node.database.session() as session:
            deliveries.retry(session, pks=[one.pk])
            session.execute(text("UPDATE delivery SET state = 'waiting' WHERE pk = :pk"), {"pk": one.pk})
    for path in (site.folder / "pacs").iterdir():
        kinds[path.name] = everything_in(path)
    site.work()
    assert {path.name: everything_in(path) for path in (site.folder / "pacs").iterdir()} == kinds
    assert {one.state.value for one in site.outbox()} == {"delivered"}


def test_a_destination_is_sent_a_report_and_nothing_else_unless_told(site: Site) -> None:
    site.node.register("RECEIVER", host="127.0.0.1", port=site.port, **IDENTIFIED)
    film = synthetic_film(21)
    site.send(film, called="RGN_ALL")
    site.work()
    assert set(site.taken(film)) == {"SR"}


def test_a_complete_study_gets_its_report_and_a_late_film_another_but_nothing_twice(site: Site) -> None:
    site.destination("sr", "sheet")
    first = synthetic_film(30)
    late = synthetic_film(31, patient=30, StudyInstanceUID=first.StudyInstanceUID)
    site.send(first)
    site.work(regions=("LLLZ",), complete=True)
    assert {modality: len(found) for modality, found in site.taken(first).items()} == {"SR": 1, "OT": 1}
    site.send(late)
    site.work(regions=("LLLZ",), complete=True)
    site.work(regions=("LLLZ",), complete=True)
    reports = site.taken(first)["SR"]
    about = {report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
             .ReferencedSOPSequence[0].ReferencedSOPInstanceUID for report in reports}  # fmt: skip
    assert about == {first.SOPInstanceUID, late.SOPInstanceUID}
    assert len(reports) == len(site.taken(first)["OT"]) == 2


def test_the_lower_disclosure_makes_results_pseudonymous_and_only_for_those_who_accept_them(site: Site) -> None:
    site.destination("sr", "sheet", "pdf", disclosure=Disclosure.PSEUDONYMOUS)
    refused = synthetic_film(40)
    site.send(refused, called="RGN_LLLZ")
    site.work()
    assert site.taken(refused) == {}
    assert {one.reason for one in site.outbox() if one.state.value == "dead"} == {
        "RECEIVER is not registered to accept pseudonymous results"
    }
    before = set((site.folder / "pacs").iterdir())
    site.destination("sr", "sheet", "pdf", disclosure=Disclosure.PSEUDONYMOUS, accepts_pseudonyms=True)
    film = synthetic_film(41, PatientName="Canary^Name", PatientID="CANARY-ID", AccessionNumber="CANARYACC")
    site.send(film, called="RGN_LLLZ")
    site.work()
    arrived = set((site.folder / "pacs").iterdir()) - before
    assert len(arrived) == 3
    for path in arrived:
        result, content = dcmread(path), path.read_bytes()
        assert str(result.PatientID).startswith("RGN-")
        assert result.PatientIdentityRemoved == "YES"
        assert result.StudyInstanceUID != film.StudyInstanceUID
        assert result.SeriesDate < time.strftime("%Y%m%d"), "moved as the patient's dates are"
        for secret in ("Canary", "CANARY", film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID):
            assert str(secret).encode() not in content


def test_a_hit_of_a_patient_that_was_merged_into_the_askers_is_shown_no_more(site: Site) -> None:
    site.destination("sr", "sheet")
    film = synthetic_film(50)
    site.send(film, called="RGN_LLLZ")
    site.prepare()
    code = site.asked().result_set_code or ""
    with site.node.database.session() as session:
        kept = result_sets.get(session, code)
        assert kept is not None
        session.execute(
            text("UPDATE study SET patient_pk = (SELECT patient_pk FROM study JOIN series s ON s.study_pk = study.pk "
                 "JOIN instance i ON i.series_pk = s.pk WHERE i.pk = :anchor) WHERE pk = ANY(:hits)"),
            {"anchor": kept.anchor_instance_pk, "hits": [hit["study_pk"] for hit in kept.hits]},
        )  # fmt: skip
    site.work()
    (report,) = site.taken(film)["SR"]
    assert "SIMILARITY" not in str(report)


def test_a_result_waits_while_its_film_is_indexed_again(site: Site) -> None:
    site.destination("sr")
    film = synthetic_film(70)
    site.send(film, called="RGN_LLLZ")
    site.prepare()
    with site.node.database.session() as session:
        assert instances.reindex(session, uids=[film.SOPInstanceUID]) == 1
    for started in site.deliverer.drain():
        started.result(240)
    assert site.outbox()[0].reason == "its film waits to be indexed again"
    with site.node.database.session() as session:
        deliveries.retry(session, everything=True)
    site.work()
    assert set(site.taken(film)) == {"SR"}


@pytest.mark.parametrize("called", ["RGN_LLLZ", "REGIONMIR"])
def test_a_film_that_is_moved_to_another_study_brings_its_report_once(site: Site, called: str) -> None:
    site.destination("sr")
    site.node.register("FIXER", can_correct=True, **QUERIES, **IDENTIFIED)
    film = synthetic_film(80, SOPInstanceUID=synthetic_uid("moved", called), StudyInstanceUID=synthetic_uid(called, 0))
    site.send(film, calling="FIXER", called=called)
    site.prepare(complete=True)
    before = len(site.outbox())
    film.PatientID, film.StudyInstanceUID = f"RIGHT-{called}", synthetic_uid(called, 1)
    site.send(film, calling="FIXER")
    site.work(complete=True)
    (report,) = site.taken(film)["SR"]
    assert report.PatientID == film.PatientID
    film.StudyInstanceUID = synthetic_uid(called, 2)
    site.send(film, calling="FIXER")
    site.work(complete=True)
    assert site.taken(film) == {}
    assert len(site.outbox()) == before
    site.send(report)
    with site.node.database.session() as session:
        back = instances.detail(session, report.SOPInstanceUID)
        assert back is not None
        assert back.summary.reason == "own_copy"


def test_a_peer_that_is_no_destination_yet_makes_a_dead_letter_that_says_so(site: Site) -> None:
    with site.node.database.session() as session:
        sender = peers.get(session, "VIEWER")
        assert sender is not None
        peers.upsert(session, replace(sender, ae_title=AETitle("LOST"), results_to="NOWHERE"))
    site.send(synthetic_film(60), calling="LOST", called="RGN_LLLZ")
    site.work()
    assert [one.reason for one in site.outbox() if one.destination == "NOWHERE"] == [
        "NOWHERE is not registered with a host and a port"
    ]
