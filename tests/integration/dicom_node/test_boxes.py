"""Below a hit at `RGN_*` stands a presentation state that draws its box; it comes with the film and is not indexed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from db import instances
from db.engine import Database
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from regionmir.scu.get import RetrieveAnswer, get, storage_contexts
from regionmir.scu.move import move
from tests.support import find as asking
from tests.support.fake_model import PLACES, FakeModel
from tests.support.films import DX_FOR_PRESENTATION, save, synthetic_film
from tests.support.peers import AE_TITLE, receiver
from tests.support.running_node import RunningNode, running_node
from workers.indexer import Indexer

GSPS = "1.2.840.10008.5.1.4.1.1.11.1"
RESEARCH, CLINIC = "RESEARCH", "CLINIC"
FILM = synthetic_film(3, PatientName="Canary^Name", PatientID="CANARY-ID")
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)


@dataclass(frozen=True)
class Site:
    node: RunningNode
    database: Database

    def series(self, called: str, calling: str = CLINIC, **keys: str) -> list[Dataset]:
        study = asking.find(self.node.peer.port, "STUDY", calling=calling, StudyInstanceUID="").rows[0]
        given = {"StudyInstanceUID": str(study.StudyInstanceUID), "Modality": "", "SeriesDescription": "", **keys}
        found = asking.find(self.node.peer.port, "SERIES", calling=calling, called=called, **given)
        assert found.status == 0, found.comment
        return found.rows

    def get(
        self, called: str, keys: dict[str, str], calling: str = CLINIC, *,
        classes: Sequence[str] = (DX_FOR_PRESENTATION, GSPS), syntaxes: Sequence[str] = (EXPLICIT, IMPLICIT),
    ) -> tuple[RetrieveAnswer, dict[str, Dataset]]:  # fmt: skip
        """Return the answer and what came, by modality."""
        came: dict[str, Dataset] = {}

        def take(uid: str, content: bytes) -> int:
            one = dcmread(BytesIO(content))
            came[str(one.Modality)] = one
            return 0x0000

        node = replace(self.node.peer, ae_title=AETitle(called))
        wanted = asking.keys(keys.pop("level"), **keys)
        return get(node, calling, wanted, take, storage=storage_contexts(classes, syntaxes)), came


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[Site]:
    with running_node(database, tmp_path / "node") as running:
        running.register(RESEARCH, disclosure=Disclosure.PSEUDONYMOUS, accepts_pseudonyms=True)
        running.register(CLINIC)
        running.receive(save(FILM, tmp_path / "film.dcm"))
        indexer = Indexer(database, running.node.store, FakeModel(), 4, lease_s=600)
        indexer.drain()
        indexer.close()
        yield Site(running, database)


def test_the_box_is_a_series_of_its_own_at_the_region_and_at_our_own_title_it_is_not(site: Site) -> None:
    assert [row.Modality for row in site.series("RGN_LLLZ")] == ["DX", "PR"]
    assert [row.Modality for row in site.series("RGN_LLLZ", Modality="PR")] == ["PR"]
    assert [row.SeriesDescription for row in site.series("RGN_LLLZ", SeriesDescription="*boxes*")] == [
        "RegionMIR boxes"
    ]
    assert [row.Modality for row in site.series("RGN_LLLZ", Modality="DX")] == ["DX"]
    assert [row.Modality for row in site.series("REGIONMIR")] == ["DX"]
    assert [row.Modality for row in site.series("RGN_TRA")] == ["DX"], "the model does not find that"


def test_each_region_has_a_box_of_its_own_and_the_same_at_every_look(site: Site) -> None:
    first, again = (site.series("RGN_LLLZ", Modality="PR")[0].SeriesInstanceUID for _ in range(2))
    other = site.series("RGN_CARD", Modality="PR")[0].SeriesInstanceUID
    assert first == again != other


@pytest.mark.parametrize("calling", [CLINIC, RESEARCH])
def test_the_box_that_is_found_is_the_one_that_is_fetched_in_either_disclosure(site: Site, calling: str) -> None:
    (series,) = site.series("RGN_LLLZ", calling, Modality="PR")
    keys = {"StudyInstanceUID": str(series.StudyInstanceUID), "SeriesInstanceUID": str(series.SeriesInstanceUID)}
    found = asking.find(site.node.peer.port, "IMAGE", calling=calling, called="RGN_LLLZ", SOPClassUID="", **keys)
    (image,) = found.rows
    assert image.SOPClassUID == GSPS
    answer, came = site.get(
        "RGN_LLLZ", {"level": "IMAGE", "SOPInstanceUID": str(image.SOPInstanceUID), **keys}, calling
    )
    assert (answer.status.code, list(came)) == (0, ["PR"])
    assert came["PR"].SOPInstanceUID == image.SOPInstanceUID
    (annotation,) = came["PR"].GraphicAnnotationSequence
    x0, y0, x1, _ = (fraction * 256 for fraction in PLACES["LLLZ"])
    assert list(annotation.GraphicObjectSequence[0].GraphicData)[:4] == pytest.approx([x0, y0, x1, y0])


def test_a_pseudonymous_box_belongs_to_the_copy_and_tells_nothing_of_the_original(site: Site) -> None:
    (series,) = site.series("RGN_LLLZ", RESEARCH, Modality="PR")
    answer, came = site.get("RGN_LLLZ", {"level": "STUDY", "StudyInstanceUID": str(series.StudyInstanceUID)}, RESEARCH)
    assert answer.status.code == 0
    box, copy = came["PR"], came["DX"]
    reference = box.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    assert (box.PatientID, reference.ReferencedSOPInstanceUID) == (copy.PatientID, copy.SOPInstanceUID)
    text = str(box)
    for secret in ("Canary", "CANARY", FILM.StudyInstanceUID, FILM.SOPInstanceUID, FILM.StudyDate):
        assert str(secret) not in text


def test_one_who_takes_no_presentation_states_gets_the_film_without_a_warning(site: Site) -> None:
    keys = {"level": "STUDY", "StudyInstanceUID": str(FILM.StudyInstanceUID)}
    answer, came = site.get("RGN_LLLZ", keys, classes=[DX_FOR_PRESENTATION])
    assert (answer.status.code, list(came)) == (0, ["DX"])


def test_one_who_takes_implicit_vr_only_gets_the_box_all_the_same(site: Site) -> None:
    keys = {"level": "STUDY", "StudyInstanceUID": str(FILM.StudyInstanceUID)}
    answer, came = site.get("RGN_LLLZ", keys, syntaxes=[IMPLICIT])
    assert (answer.status.code, set(came)) == (0, {"DX", "PR"})


def test_a_move_sends_film_and_box_and_what_comes_back_is_not_indexed(site: Site, tmp_path: Path) -> None:
    keys = asking.keys("STUDY", StudyInstanceUID=str(FILM.StudyInstanceUID))
    with receiver() as pacs:
        site.node.register(AE_TITLE, port=pacs.port)
        node = replace(site.node.peer, ae_title=AETitle("RGN_LLLZ"))
        answer = move(node, CLINIC, keys, AE_TITLE)
    assert (answer.status.code, answer.sub_operations.completed) == (0, 2)
    box = next(one for one in pacs.received if one.sop_instance_uid != str(FILM.SOPInstanceUID))
    back = dcmread(BytesIO(box.dataset), force=True)
    back.file_meta = FILM.file_meta.__class__()
    back.file_meta.TransferSyntaxUID = box.transfer_syntax_uid
    site.node.receive(save(back, tmp_path / "back.dcm"))
    indexer = Indexer(site.database, site.node.node.store, FakeModel(), 4, lease_s=600)
    indexer.drain()
    indexer.close()
    with site.database.session() as session:
        states = [(one.state.value, one.reason) for one in instances.listing(session)]
    assert sorted(states) == [("indexed", ""), ("unsupported", "own_copy")]
