"""What peers get wrong, done with dcmtk's programs to a running node: each is told what the conformance statement says.

After every fault a similarity query is answered as before and a film is stored: nothing else is harmed.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from db import instances
from regionmir.admin.conformance.bad_input import BAD_INPUT
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.records import Disclosure
from regionmir.results.report import measurement_report
from tests.support.annotations import report
from tests.support.dicom import associate, begin_store, encoded, radiograph, send_fragment
from tests.support.fake_model import FakeModel
from tests.support.films import save, synthetic_film
from tests.support.find import KNOWN, FindNode, find, find_node
from tests.support.peers import wait_for_port
from tests.support.ports import free_port
from tests.support.postgres import TestDatabases
from tests.support.results import source
from workers.indexer import Indexer

IMPLICIT = "1.2.840.10008.1.2"
IN_LLLZ = (140.0, 150.0, 225.0, 205.0)
FILMS = [synthetic_film(seed) for seed in range(4)]
WAITING, LATERAL = synthetic_film(30), synthetic_film(31, Modality="CT")

Told = tuple[int, str]
"""Status, and Error Comment or what became of an instance."""


@dataclass
class Site:
    """A node with indexed films, and dcmtk."""

    node: FindNode
    folder: Path
    dcmtk: Path
    indexer: Indexer

    def run(self, tool: str, *words: str, calling: str = KNOWN, called: str = "REGIONMIR") -> str:
        """Run a program of dcmtk's against the node; return what it prints."""
        command = [str(self.dcmtk / tool), "-d", "-aet", calling, "-aec", called, *words]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    @property
    def address(self) -> tuple[str, str]:
        return "127.0.0.1", str(self.node.port)

    def find(self, keys: dict[str, str], *, calling: str = KNOWN, called: str = "RGN_LLLZ") -> Told:
        asked = [word for key, value in keys.items() for word in ("-k", f"{key}={value}")]
        words = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", *asked, *self.address)
        return told_by(self.run("findscu", *words, calling=calling, called=called))

    def send(self, *objects: Dataset, calling: str = KNOWN) -> Told:
        paths = [str(save(made, self.folder / f"{made.SOPInstanceUID}.dcm")) for made in objects]
        return told_by(self.run("storescu", *self.address, *paths, calling=calling))

    def move(self, film: Dataset, destination: str) -> Told:
        key = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={film.StudyInstanceUID}")
        return told_by(self.run("movescu", "-S", "-aem", destination, *key, *self.address))

    def annotated(self, made: Dataset) -> Told:
        """Send an annotation, let the worker read it, return the status of the C-STORE and the reason of its state."""
        status, _ = self.send(made)
        self.indexer.drain()
        with self.node.database.session() as session:
            found = instances.detail(session, made.SOPInstanceUID)
        assert found is not None
        return status, found.summary.reason


def told_by(output: str) -> Told:
    """Return the last final status that a program of dcmtk's logged, and the Error Comment that came with it."""
    codes = [int(code, 16) for code in re.findall(r"DIMSE Status\s*: 0x([0-9a-fA-F]{4})", output)]
    comments = re.findall(r"\(0000,0902\) LO \[(.*?)\s*\]", output)
    final = [code for code in codes if code not in (0xFF00, 0xFF01)]
    assert final, output[-3000:]
    return final[-1], comments[-1] if comments else ""


@pytest.fixture(scope="module")
def site(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory, dcmtk: Path) -> Iterator[Site]:
    with find_node(databases, tmp_path_factory.mktemp("node")) as node:
        rights: dict[str, Any] = {"can_store": True, "can_retrieve": True, "disclosure": Disclosure.IDENTIFIED}
        node.register(KNOWN, **rights, results_to="PACS")
        indexer = Indexer(node.database, node.node.store, FakeModel(), 4, lease_s=60)
        made = Site(node, tmp_path_factory.mktemp("sent"), dcmtk, indexer)
        assert made.send(*FILMS, LATERAL)[0] == 0x0000
        indexer.drain()
        assert made.send(WAITING)[0] == 0x0000
        yield made
        indexer.close()


def token(words: str, **more: str) -> Callable[[Site], Told]:
    """Return what asks `SIM <words>` at RGN_ALL; A stands for the accession number of an indexed film."""

    def ask(site: Site) -> Told:
        text = words.replace("A ", f"{FILMS[0].AccessionNumber} ")
        return site.find({"StudyDescription": f"SIM {text}", **more}, called="RGN_ALL")

    return ask


def undecodable(site: Site) -> Told:
    query = Dataset()
    query.QueryRetrieveLevel, query.SpecificCharacterSet, query.StudyInstanceUID = "STUDY", "ISO_IR 192", None
    query.add_new(0x00100010, "LO", b"\xff\xfe*")
    path = site.folder / "undecodable.dcm"
    path.write_bytes(encoded(query))
    return told_by(site.run("findscu", "-S", *site.address, str(path)))


def no_right(site: Site) -> Told:
    site.node.register("SENDONLY", can_find=False, can_store=True)
    return site.find({"StudyDescription": f"SIM {FILMS[0].AccessionNumber}"}, calling="SENDONLY")


def aborting_sender(site: Site) -> Told:
    before, film = site.node.node.store, radiograph(size=512)
    assoc = associate(site.node.port, calling=KNOWN)
    begin_store(assoc, True, film.SOPClassUID, film.SOPInstanceUID)
    send_fragment(assoc, encoded(film)[:16_000], last=False)
    assoc.abort()
    status, _ = site.send(synthetic_film(40))
    with site.node.database.session() as session:
        kept = instances.detail(session, film.SOPInstanceUID)
    left = list(before.incoming_dir.iterdir())
    return status, "nothing stays" if kept is None and not left else f"{kept} {left}"


def aborting_destination(site: Site) -> Told:
    return with_storescp(site, "--abort-during", "BREAKING")[0]


def implicit_only(site: Site) -> Told:
    film = FILMS[0]
    asked = ("-S", "-xi", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={film.StudyInstanceUID}")
    assert told_by(site.run("findscu", *asked, *site.address))[0] == 0x0000
    sent = save(synthetic_film(41), site.folder / "implicit.dcm")
    assert told_by(site.run("storescu", "-xi", *site.address, str(sent)))[0] == 0x0000
    told, arrived = with_storescp(site, "+xi", "IMPLICIT")
    (one,) = arrived
    same = one.PixelData == film.PixelData and one.file_meta.TransferSyntaxUID == IMPLICIT
    return told[0], "converted without loss" if same else "changed"


def with_storescp(site: Site, option: str, title: str) -> tuple[Told, list[Dataset]]:
    """Move a film to a storescp with this option; return what the mover is told, and what arrived."""
    from pydicom import dcmread

    folder, port = site.folder / title, free_port()
    folder.mkdir(exist_ok=True)
    command = [str(site.dcmtk / "storescp"), "-aet", title, option, "-od", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        site.node.register(title, host="127.0.0.1", port=port, disclosure=Disclosure.IDENTIFIED)
        told = site.move(FILMS[0], title)
    finally:
        process.terminate()
        process.wait(10)
    return told, [dcmread(path) for path in folder.iterdir()] if told[0] == 0x0000 else []


def lacking(site: Site) -> Told:
    same = {name: FILMS[0][name].value for name in ("StudyInstanceUID", "PatientID", "PatientName")}
    return site.annotated(report(synthetic_film(99, **same), IN_LLLZ))


FAULTS: dict[str, Callable[[Site], Told]] = {
    "unknown region": token("A KNEE"),
    "unknown anchor": token("NOSUCH LLLZ"),
    "waiting anchor": token(f"{WAITING.AccessionNumber} LLLZ"),
    "other modality": token(f"{LATERAL.AccessionNumber} LLLZ"),
    "contradiction": token("A LLLZ", PatientName="RGNSIM^ANOTHER^LLLZ"),
    "k of 0": token("A LLLZ k=0"),
    "k of a million": token("A LLLZ k=1000000"),
    "wildcards only": lambda site: site.find({"StudyDescription": "***", "PatientName": "*"}),
    "undecodable": undecodable,
    "no right": no_right,
    "unknown destination": lambda site: site.move(FILMS[0], "NOBODY"),
    "aborting sender": aborting_sender,
    "aborting destination": aborting_destination,
    "implicit only": implicit_only,
    "lacking instance": lacking,
    "own result": lambda site: site.annotated(measurement_report(source(FILMS[0]))),
    "box outside": lambda site: site.annotated(report(FILMS[0], (300, 300, 400, 400), anatomy_by_short("LLLZ"))),
}


def test_every_fault_of_the_statement_is_tried() -> None:
    assert set(FAULTS) == set(BAD_INPUT)


@pytest.mark.parametrize("name", BAD_INPUT)
def test_a_fault_is_answered_as_the_statement_says_and_harms_nothing_else(site: Site, name: str) -> None:
    status, told = FAULTS[name](site)
    assert (f"{status:04X}", told) == (f"{BAD_INPUT[name].status:04X}", told), told
    assert BAD_INPUT[name].told in told
    assert len(told) <= 64
    good = find(
        site.node.port, "STUDY", calling=KNOWN, called="RGN_LLLZ", StudyDescription=f"SIM {FILMS[1].AccessionNumber}"
    )
    assert (good.status, len(good.rows) >= 3) == (0x0000, True)
    assert site.send(synthetic_film(500 + list(BAD_INPUT).index(name)))[0] == 0x0000
