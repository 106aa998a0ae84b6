"""C-GET and C-MOVE of instances whose patient was corrected: identified peers get the right values, copies none."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from db import patients
from db.engine import Database
from db.patients import By, Changes
from regionmir.core.records import Disclosure
from regionmir.scu.get import get, storage_contexts
from regionmir.scu.move import move
from tests.support import find as asking
from tests.support.films import DX_FOR_PRESENTATION, save, synthetic_film
from tests.support.peers import AE_TITLE, receiver
from tests.support.running_node import RunningNode, running_node

CLINIC, RESEARCH = "CLINIC", "RESEARCH"
RIGHT = "Östergård^Žofie"
"""Beyond Latin 1: the text of the objects has to become UTF-8."""


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(database, tmp_path / "node") as running:
        running.register(CLINIC)
        running.register(RESEARCH, disclosure=Disclosure.PSEUDONYMOUS, accepts_pseudonyms=True)
        yield running


def fetched(node: RunningNode, wanted: Dataset, syntax: str, *, caller: str = CLINIC) -> list[Dataset]:
    box: list[Dataset] = []

    def take(_uid: str, content: bytes) -> int:
        box.append(dcmread(BytesIO(content)))
        return 0x0000

    contexts = storage_contexts([DX_FOR_PRESENTATION], [syntax])
    assert get(node.peer, caller, wanted, take, storage=contexts).status.code == 0x0000
    return box


def test_a_corrected_patients_instances_leave_with_the_right_values_and_their_own_pixels(
    node: RunningNode, tmp_path: Path
) -> None:
    native = synthetic_film(1, patient=1, SpecificCharacterSet="ISO_IR 100", ReferringPhysicianName="Müller^Jörg")
    packed = synthetic_film(2, patient=1, transfer_syntax_uid=RLELossless, SpecificCharacterSet=None)
    other = synthetic_film(3)
    node.receive(*(save(film, tmp_path / f"{film.SOPInstanceUID}.dcm") for film in (native, packed, other)))
    changes = Changes(patient_id="RIGHT-1", name=RIGHT, sex="O")
    with node.node.database.session() as session:
        [found] = patients.find(session, native.PatientID)
        patients.correct(session, found.pk, changes, By("operator", "typing error"))

    for film, syntax in (
        (native, ExplicitVRLittleEndian),
        (native, ImplicitVRLittleEndian),
        (packed, RLELossless),
        (packed, ExplicitVRLittleEndian),
    ):
        [got] = fetched(node, asking.keys("STUDY", StudyInstanceUID=film.StudyInstanceUID), syntax)
        assert got.file_meta.TransferSyntaxUID == syntax
        assert (str(got.PatientName), got.PatientID, got.PatientSex) == (RIGHT, "RIGHT-1", "O")
        assert (got.SOPInstanceUID, got.PatientBirthDate) == (film.SOPInstanceUID, film.PatientBirthDate)
        assert str(got.ReferringPhysicianName) == str(film.ReferringPhysicianName)
        assert (got.pixel_array == film.pixel_array).all()
        [before] = got.OriginalAttributesSequence
        assert before.ModifiedAttributesSequence[0].PatientID == film.PatientID
        assert (before.ModifyingSystem, before.ReasonForTheAttributeModification) == ("REGIONMIR", "CORRECT")

    [untouched] = fetched(node, asking.keys("STUDY", StudyInstanceUID=other.StudyInstanceUID), ExplicitVRLittleEndian)
    assert "OriginalAttributesSequence" not in untouched

    with receiver() as destination:
        node.register(AE_TITLE, port=destination.port)
        wanted = asking.keys("STUDY", StudyInstanceUID=native.StudyInstanceUID)
        assert move(node.peer, CLINIC, wanted, AE_TITLE).status.code == 0x0000
    assert RIGHT.encode() in destination.received[0].dataset

    named = {"PatientName": "Östergård*", "PatientID": "", "StudyInstanceUID": native.StudyInstanceUID}
    [row] = asking.find(node.peer.port, "STUDY", calling=CLINIC, SpecificCharacterSet="ISO_IR 192", **named).rows
    assert row.PatientID == "RIGHT-1"


def test_a_pseudonymous_copy_bears_neither_the_wrong_nor_the_right_values(node: RunningNode, tmp_path: Path) -> None:
    film = synthetic_film(1)
    node.receive(save(film, tmp_path / "film.dcm"))
    with node.node.database.session() as session:
        [found] = patients.find(session, film.PatientID)
        done = patients.correct(session, found.pk, Changes(patient_id="RIGHT-1", name=RIGHT), By("operator", "typing"))
    wanted = asking.keys("PATIENT", PatientID=done.patient_pseudonym)
    root, shown = asking.PATIENT_ROOT, {"PatientID": "", "PatientName": ""}
    [row] = asking.find(node.peer.port, "PATIENT", root, calling=RESEARCH, **shown).rows
    box: list[bytes] = []

    def take(_uid: str, content: bytes) -> int:
        box.append(content)
        return 0x0000

    contexts = storage_contexts([DX_FOR_PRESENTATION], [ExplicitVRLittleEndian])
    answer = get(node.peer, RESEARCH, wanted, take, storage=contexts, root="patient")
    assert answer.status.code == 0x0000
    assert row.PatientID == dcmread(BytesIO(box[0])).PatientID == done.patient_pseudonym
    for secret in ("RIGHT-1", RIGHT, "Östergård", film.PatientID, str(film.PatientName)):
        assert secret.encode() not in box[0]
    assert "OriginalAttributesSequence" not in dcmread(BytesIO(box[0]))
