"""Ways A and C and drawn boxes, with storescu and a worker: a film or a mark comes in, a result set is recorded."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import text

from db import instances, result_sets, wanted_answers
from db.wanted_answers import ListedAnswer
from regionmir.core.anatomy import anatomy_by_key, anatomy_by_short
from regionmir.core.records import Disclosure
from regionmir.query.keys import BLOCK_CREATOR, BLOCK_GROUP
from tests.support.annotations import key_image, presentation, report
from tests.support.fake_model import PLACES, FakeModel
from tests.support.films import save, synthetic_film
from tests.support.find import KNOWN, FindNode, Found, ask, association, find_node, keys
from tests.support.postgres import TestDatabases
from workers.answering import Answering
from workers.indexer import Indexer
from workers.reconcile import reconcile

LLLZ = anatomy_by_short("LLLZ")
IN_LLLZ = (140.0, 150.0, 225.0, 205.0)
FILMS = [synthetic_film(seed) for seed in range(5)]


@dataclass
class Outbox:
    taken: list[tuple[str, str]] = field(default_factory=list)

    def enqueue(self, session: Any, *, destination: str, result_set_code: str) -> None:
        self.taken.append((destination, result_set_code))


@dataclass
class Site:
    """A node with a worker that works when it is told to."""

    node: FindNode
    folder: Path
    dcmtk: Path
    indexer: Indexer
    outbox: Outbox

    def send(self, *objects: Dataset, calling: str = "VIEWER", called: str = "REGIONMIR") -> str:
        paths = [save(made, self.folder / f"{made.SOPInstanceUID}.dcm") for made in objects]
        command = ["storescu", "-v", "-aet", calling, "-aec", called, "127.0.0.1", str(self.node.port)]
        run = subprocess.run(
            [str(self.dcmtk / command[0]), *command[1:], *map(str, paths)], capture_output=True, timeout=60, check=True
        )
        return (run.stdout + run.stderr).decode()

    def work(self) -> list[ListedAnswer]:
        """Index, answer, embed, answer again; return what is wanted, newest first."""
        answering = Answering(self.node.database, 3, self.outbox)
        self.indexer.drain()
        answering.answer_waiting()
        self.indexer.embed_boxes()
        answering.answer_waiting()
        with self.node.database.session() as session:
            return wanted_answers.listing(session)

    def state(self, made: Dataset) -> tuple[str, str]:
        with self.node.database.session() as session:
            found = instances.detail(session, made.SOPInstanceUID)
        assert found is not None
        return found.summary.state.value, found.summary.reason

    def answers(self) -> int:
        with self.node.database.session() as session:
            return len(wanted_answers.listing(session))


@pytest.fixture(scope="module")
def site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory, dcmtk: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("node")
    with find_node(databases, folder) as node:
        rights: dict[str, Any] = {"can_store": True, "disclosure": Disclosure.IDENTIFIED}
        node.register("VIEWER", **rights, results_to="PACS")
        node.register("NOWHERE", **rights)
        indexer = Indexer(node.database, node.node.store, FakeModel(), 4, lease_s=60)
        made = Site(node, tmp_path_factory.mktemp("sent"), dcmtk, indexer, Outbox())
        made.send(*FILMS)
        made.work()
        yield made
        indexer.close()


def test_a_film_sent_to_a_region_is_stored_and_its_answer_recorded_for_the_senders_destination(site: Site) -> None:
    film = synthetic_film(20)
    assert "Success" in site.send(film, called="RGN_LLLZ")
    newest = site.work()[0]
    assert site.state(film) == ("indexed", "")
    assert (newest.way, newest.caller_ae, newest.destination) == ("A", "VIEWER", "PACS")
    assert (newest.state, newest.anatomies) == ("answered", (LLLZ,))
    assert site.outbox.taken[-1] == ("PACS", newest.result_set_code)
    with site.node.database.session() as session:
        kept = result_sets.get(session, newest.result_set_code or "")
    assert kept is not None
    assert (len(kept.hits), anatomy_by_key(kept.anatomy_pk), kept.disclosure) == (3, LLLZ, Disclosure.IDENTIFIED)


def test_a_film_that_is_here_already_asks_again_when_it_is_sent_again(site: Site) -> None:
    before = site.answers()
    site.send(FILMS[0], called="RGN_CARD")
    site.send(FILMS[0], called="RGN_CARD")
    assert site.answers() == before + 1, "once while it waits"
    assert site.work()[0].state == "answered"


def test_a_film_sent_to_all_regions_asks_for_all_that_were_found_in_it(site: Site) -> None:
    site.send(FILMS[1], called="RGN_ALL")
    newest = site.work()[0]
    with site.node.database.session() as session:
        kept = result_sets.get(session, newest.result_set_code or "")
    assert kept is not None
    assert len(kept.asked["anatomies"]) == len(PLACES)


def test_a_sender_without_a_destination_stores_all_the_same_and_the_reason_is_kept(site: Site) -> None:
    film = synthetic_film(21)
    assert "Success" in site.send(film, calling="NOWHERE", called="RGN_LLLZ")
    newest = site.work()[0]
    assert (newest.state, newest.reason) == ("refused", "no destination for results")
    assert site.state(film)[0] == "indexed"


def test_a_film_that_is_never_indexed_is_refused_with_its_reason(site: Site) -> None:
    site.send(synthetic_film(22, ViewPosition="LL"), called="RGN_LLLZ")
    newest = site.work()[0]
    assert (newest.state, newest.reason) == ("refused", "the anchor has no frontal chest radiograph")


def test_the_box_of_a_report_becomes_the_query_for_its_finding_site(site: Site) -> None:
    made = report(FILMS[0], IN_LLLZ, LLLZ)
    site.send(made)
    newest = site.work()[0]
    assert site.state(made) == ("unsupported", "annotation")
    assert (newest.way, newest.state, newest.anatomies) == ("C", "answered", (LLLZ,))
    with site.node.database.session() as session:
        kept = result_sets.get(session, newest.result_set_code or "")
    assert kept is not None
    assert tuple(kept.asked["box"]) == IN_LLLZ


def test_the_shape_of_a_presentation_state_is_compared_with_the_region_that_it_covers(site: Site) -> None:
    made = presentation(FILMS[1], IN_LLLZ)
    site.send(made)
    newest = site.work()[0]
    assert site.state(made) == ("unsupported", "annotation")
    assert newest.state == "answered"
    assert newest.result_set_code == site.outbox.taken[-1][1]
    with site.node.database.session() as session:
        kept = result_sets.get(session, newest.result_set_code or "")
    assert kept is not None
    assert anatomy_by_key(kept.anatomy_pk) == LLLZ


def test_a_key_image_sent_to_a_region_asks_for_that_region(site: Site) -> None:
    made = key_image(FILMS[2])
    site.send(made, called="RGN_CARD")
    newest = site.work()[0]
    assert site.state(made) == ("unsupported", "annotation")
    assert (newest.way, newest.state, newest.anatomies[0].short) == ("C", "answered", "CARD")


def spoilt(made: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (report(FILMS[0], (300, 300, 400, 400)), "box outside the image"),
        (spoilt(report(FILMS[0], IN_LLLZ), PatientID="OTHER", StudyInstanceUID="1.2.3.77"),
         "annotates another patient's instance"),
        (spoilt(report(FILMS[0], IN_LLLZ), ContentSequence=[]), "annotation without a region or key image"),
        (presentation(FILMS[0], (0.1, 0.1, 0.4, 0.4), "DISPLAY"), "annotation not in pixels of the image"),
        (report(FILMS[0], IN_LLLZ, Manufacturer="RegionMIR"), "own_copy"),
    ],
    ids=["outside", "another patient", "empty", "display units", "our own"],
)  # fmt: skip
def test_an_annotation_that_cannot_be_a_query_says_why_and_harms_nothing(
    site: Site, made: Dataset, reason: str
) -> None:
    site.send(made)
    newest = site.work()[0]
    assert site.state(made) == ("unsupported", reason)
    assert (newest.state, newest.reason) == ("refused", reason)
    site.send(FILMS[3], called="RGN_LLLZ")
    assert site.work()[0].state == "answered"


def late_film(seed: int) -> Dataset:
    """Return another film of the first one's study."""
    first = FILMS[0]
    of_study = {name: getattr(first, name) for name in ("StudyInstanceUID", "PatientID", "PatientName")}
    return synthetic_film(seed, **of_study)


def reconciled(site: Site) -> list[Any]:
    """Return the wanted answers after a look at what waits, and the work that it wakes."""
    reconcile(site.node.database, site.node.node.queue, lease_s=60, delivery_lease_s=60)
    return site.work()


def run(site: Site, statement: str) -> None:
    with site.node.database.session() as session:
        session.execute(text(statement))


def test_an_annotation_that_comes_before_its_image_is_answered_once_the_image_is_here(site: Site) -> None:
    film = late_film(99)
    made = report(film, IN_LLLZ, LLLZ)
    site.send(made)
    newest = site.work()[0]
    assert (newest.state, newest.reason) == ("unread", "annotates an instance that is not here")
    assert site.state(made) == ("unsupported", "annotates an instance that is not here")
    run(site, "UPDATE instance SET received_at = received_at - interval '5 minutes'")
    assert reconciled(site)[0].state == "unread", "nothing came since"
    assert site.state(made)[0] == "unsupported"
    site.send(film)
    newest = reconciled(site)[0]
    assert (newest.way, newest.state, newest.anatomies) == ("C", "answered", (LLLZ,))
    assert site.state(made) == ("unsupported", "annotation")


def test_an_annotation_whose_image_does_not_come_within_a_day_is_refused(site: Site) -> None:
    made = report(late_film(98), IN_LLLZ, LLLZ)
    site.send(made)
    site.work()
    of_it = f"sop_instance_uid = '{made.SOPInstanceUID}'"
    run(site, f"UPDATE instance SET received_at = now() - interval '25 h' WHERE {of_it}")
    newest = reconciled(site)[0]
    assert (newest.state, newest.reason) == ("refused", "annotates an instance that is not here")
    assert site.state(made) == ("unsupported", "annotates an instance that is not here")


def test_an_annotation_of_a_sender_without_a_destination_is_only_archived(site: Site) -> None:
    before = site.answers()
    site.send(report(FILMS[0], IN_LLLZ), calling="NOWHERE")
    assert len(site.work()) == before


def test_what_an_ae_may_not_store_asks_nothing(site: Site) -> None:
    site.node.register("READONLY", results_to="PACS")
    before = site.answers()
    paths = save(synthetic_film(23), site.folder / "readonly.dcm")
    subprocess.run(
        [str(site.dcmtk / "storescu"), "-aet", "READONLY", "-aec", "RGN_LLLZ", "127.0.0.1", str(site.node.port),
         str(paths)], capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert site.answers() == before


def drawn(site: Site, box: str, regions: str = "LLLZ") -> Found:
    identifier = keys("STUDY", StudyInstanceUID="", StudyDescription="")
    block = identifier.private_block(BLOCK_GROUP, BLOCK_CREATOR, create=True)
    elements = {1: FILMS[0].AccessionNumber, 2: regions, 5: box}
    for number, value in elements.items():
        block.add_new(number, "LO", value.split("\\"))
    with association(site.node.port, calling=KNOWN) as assoc:
        return ask(assoc, identifier)


@contextmanager
def embedding(site: Site) -> Iterator[None]:
    """Let a worker embed whatever waits while the block runs."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            site.indexer.embed_boxes()
            over.wait(0.05)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def test_a_drawn_box_is_embedded_while_the_asker_waits(site: Site) -> None:
    with embedding(site):
        began = time.monotonic()
        found = drawn(site, "141\\151\\220\\200")
    assert found.status == 0x0000, found.comment
    assert time.monotonic() - began < 10
    description = found.rows[0].StudyDescription
    with association(site.node.port, calling=KNOWN, called="RGN_LLLZ") as assoc:
        again = ask(assoc, keys("STUDY", StudyDescription=f"SIM {description.split()[1]}"))
    assert again.values("StudyDescription") == found.values("StudyDescription")


def test_a_box_that_no_worker_embeds_in_time_is_refused_and_answered_the_next_time(site: Site) -> None:
    began = time.monotonic()
    refused = drawn(site, "130\\140\\200\\190")
    assert 1.9 < time.monotonic() - began < 10
    assert (refused.status, refused.comment) == (0xC10C, "the box is not embedded yet; ask again")
    site.indexer.embed_boxes()
    assert drawn(site, "130\\140\\200\\190").status == 0x0000


def test_a_drawn_box_outside_the_image_is_refused(site: Site) -> None:
    refused = drawn(site, "400\\400\\500\\500")
    assert (refused.status, refused.comment) == (0xA900, "the box is outside the image")


def test_a_drawn_box_is_for_one_region(site: Site) -> None:
    assert drawn(site, "10\\10\\50\\50", "LLLZ\\CARD").status == 0xA900
