"""C-GET and C-MOVE of pseudonymous copies: who gets them, whose they are, and what stays behind."""

import subprocess
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import build_context, evt

from db import audit, instances
from db.engine import Database
from regionmir.core.records import Disclosure
from regionmir.scu.association import association, receiver_roles
from regionmir.scu.get import GET_MODELS, RetrieveAnswer, get, storage_contexts
from regionmir.scu.move import move
from regionmir.scu.status import read_status, read_sub_operations
from tests.support import find as asking
from tests.support.films import DX_FOR_PRESENTATION, save, synthetic_film, synthetic_uid, write_film, write_films
from tests.support.peers import AE_TITLE, receiver, storescp
from tests.support.running_node import RunningNode, running_node

RESEARCH = "RESEARCH"
CLINIC = "CLINIC"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(database, tmp_path / "node") as running:
        running.register(RESEARCH, disclosure=Disclosure.PSEUDONYMOUS, accepts_pseudonyms=True)
        running.register(CLINIC)
        yield running


def answered(node: RunningNode, level: str = "STUDY", *, calling: str = RESEARCH, **keys: str) -> list[Dataset]:
    wanted = dict.fromkeys(("PatientID", "PatientName", "PatientAge", "PatientSex", "StudyDate", "Modality"), "")
    found = asking.find(node.peer.port, level, calling=calling, **{**wanted, **keys})
    assert found.status == 0
    return found.rows


def identifier(level: str, **keys: object) -> Dataset:
    return asking.keys(level, **keys)


def fetch(
    node: RunningNode, wanted: Dataset, *, caller: str = RESEARCH, syntaxes: Sequence[str] = (EXPLICIT, IMPLICIT)
) -> tuple[RetrieveAnswer, list[Dataset]]:
    box: list[Dataset] = []

    def take(uid: str, content: bytes) -> int:
        box.append(dcmread(BytesIO(content)))
        return 0x0000

    classes = [DX_FOR_PRESENTATION, "1.2.840.10008.5.1.4.1.1.7", BASIC_TEXT_SR]
    return get(node.peer, caller, wanted, take, storage=storage_contexts(classes, syntaxes)), box


def report_beside(film: Dataset) -> Dataset:
    """Return a report of the film's study, which shows its patient's name."""
    report = Dataset()
    report.file_meta = film.file_meta.__class__()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.SOPClassUID, report.SOPInstanceUID = BASIC_TEXT_SR, synthetic_uid("report")
    report.StudyInstanceUID, report.SeriesInstanceUID = film.StudyInstanceUID, synthetic_uid("reports")
    report.PatientID, report.PatientName = film.PatientID, film.PatientName
    report.Modality = "SR"
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    return report


def test_a_copy_is_of_the_patient_study_series_and_instance_that_answers_show(
    node: RunningNode, tmp_path: Path
) -> None:
    film = synthetic_film(3)
    node.receive(save(film, tmp_path / "film.dcm"))
    [row] = answered(node)
    [image] = answered(
        node,
        "IMAGE",
        StudyInstanceUID=row.StudyInstanceUID,
        SeriesInstanceUID=answered(node, "SERIES", StudyInstanceUID=row.StudyInstanceUID)[0].SeriesInstanceUID,
        SOPInstanceUID="",
        InstanceNumber="",
        IssuerOfPatientID="",
    )

    answer, [copy] = fetch(node, identifier("STUDY", StudyInstanceUID=row.StudyInstanceUID, PatientID=row.PatientID))

    assert (answer.status.code, answer.sub_operations.completed) == (0, 1)
    for keyword in (
        "PatientID", "PatientName", "IssuerOfPatientID", "PatientAge", "PatientSex", "StudyDate", "Modality",
        "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "InstanceNumber",
    ):  # fmt: skip
        assert copy[keyword].value == image[keyword].value, keyword
    assert copy.PatientID.startswith("RGN-")
    assert (copy.pixel_array == film.pixel_array).all()


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_pseudonyms_resolve_at_every_level(node: RunningNode, tmp_path: Path, level: str) -> None:
    node.receive(*write_films(tmp_path, 2))
    keys = {"StudyInstanceUID": answered(node)[0].StudyInstanceUID}
    if level != "STUDY":
        keys["SeriesInstanceUID"] = answered(node, "SERIES", **keys)[0].SeriesInstanceUID
    if level == "IMAGE":
        keys["SOPInstanceUID"] = answered(node, "IMAGE", **keys, SOPInstanceUID="")[0].SOPInstanceUID

    answer, box = fetch(node, identifier(level, **keys))

    assert answer.status.code == 0
    assert [copy.StudyInstanceUID for copy in box] == [keys["StudyInstanceUID"]]


def test_original_values_bring_a_pseudonymous_caller_nothing(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    original = dcmread(film)
    known = answered(node)[0]

    by_uid, _ = fetch(node, identifier("STUDY", StudyInstanceUID=original.StudyInstanceUID))
    beside, _ = fetch(node, identifier("STUDY", StudyInstanceUID=known.StudyInstanceUID, PatientID=original.PatientID))

    assert by_uid.sub_operations.completed == beside.sub_operations.completed == 0


def test_the_lower_disclosure_of_caller_and_destination_counts(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    original = identifier("STUDY", StudyInstanceUID=dcmread(film).StudyInstanceUID)
    pseudonymous = identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID)

    uids: dict[str, list[str]] = {}
    with receiver() as there:
        for name, caller, wanted, disclosure in (
            ("both", CLINIC, original, Disclosure.IDENTIFIED),
            ("destination", CLINIC, original, Disclosure.PSEUDONYMOUS),
            ("caller", RESEARCH, pseudonymous, Disclosure.IDENTIFIED),
        ):
            node.register(AE_TITLE, port=there.port, disclosure=disclosure, accepts_pseudonyms=True)
            there.received.clear()
            assert move(node.peer, caller, wanted, AE_TITLE).status.code == 0
            uids[name] = [one.sop_instance_uid for one in there.received]
            leaked = any(b"Synthetic^Patient" in one.dataset for one in there.received)
            assert leaked == (name == "both")

    assert uids["both"] == [dcmread(film).SOPInstanceUID]
    assert uids["destination"] == uids["caller"] != uids["both"]


def test_copies_go_only_to_those_that_are_marked_for_them(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    node.register("UNMARKED", disclosure=Disclosure.PSEUDONYMOUS)
    wanted = identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID)

    with receiver() as there:
        node.register(AE_TITLE, port=there.port)  # an archive of real patients
        moved = move(node.peer, RESEARCH, wanted, AE_TITLE)
    got, box = fetch(node, wanted, caller="UNMARKED")

    assert moved.status.code == got.status.code == 0x0124
    assert there.received == box == []


def test_what_is_no_film_stays_behind_and_is_named_as_the_caller_knows_it(node: RunningNode, tmp_path: Path) -> None:
    film = synthetic_film(1)
    report = report_beside(film)
    node.receive(save(film, tmp_path / "film.dcm"), save(report, tmp_path / "report.dcm"))
    wanted = identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID)

    answer, box = fetch(node, wanted)
    with receiver() as there:
        node.register(AE_TITLE, port=there.port, disclosure=Disclosure.PSEUDONYMOUS, accepts_pseudonyms=True)
        moved = move(node.peer, CLINIC, identifier("STUDY", StudyInstanceUID=film.StudyInstanceUID), AE_TITLE)

    assert answer.status.code == moved.status.code == 0xB000
    assert (answer.sub_operations.completed, answer.sub_operations.failed) == (1, 1)
    assert len(box) == len(there.received) == 1
    assert answer.failed[0].startswith("2.25.")
    assert answer.failed[0] != report.SOPInstanceUID
    assert moved.failed == (report.SOPInstanceUID,)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kind": "SC", "BurnedInAnnotation": "YES"},
        {"kind": "SC", "BurnedInAnnotation": None},
        {"kind": "DX", "BurnedInAnnotation": "YES"},
    ],
    ids=["captured text", "silent capture", "text on a film"],
)
def test_a_study_of_which_nothing_may_leave_is_refused(
    node: RunningNode, tmp_path: Path, attributes: dict[str, str]
) -> None:
    node.receive(write_film(tmp_path / "film.dcm", 1, **attributes))
    wanted = identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID)

    answer, box = fetch(node, wanted)

    assert answer.status.code == 0x0124
    assert answer.status.comment == "only CR, DX and SC without burned-in annotation leave"
    assert box == []


def test_other_modalities_are_refused(node: RunningNode, tmp_path: Path) -> None:
    node.receive(save(report_beside(synthetic_film(1)), tmp_path / "report.dcm"))

    answer, _ = fetch(node, identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID))

    assert answer.status.code == 0x0124


@pytest.mark.parametrize("syntaxes", [[str(JPEG2000Lossless)], [IMPLICIT]])
def test_a_copy_keeps_its_transfer_syntax_where_the_peer_takes_it(
    node: RunningNode, tmp_path: Path, syntaxes: list[str]
) -> None:
    film = synthetic_film(1, transfer_syntax_uid=JPEG2000Lossless)
    node.receive(save(film, tmp_path / "film.dcm"))
    wanted = identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID)

    answer, [copy] = fetch(node, wanted, syntaxes=syntaxes)

    assert answer.status.code == 0
    assert copy.file_meta.TransferSyntaxUID == syntaxes[0]
    assert (copy.pixel_array == film.pixel_array).all()


def test_a_reference_names_the_copy_of_what_it_refers_to(node: RunningNode, tmp_path: Path) -> None:
    first = synthetic_film(1)
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = first.SOPClassUID, first.SOPInstanceUID
    second = synthetic_film(2, patient=1, SourceImageSequence=[reference])
    node.receive(save(first, tmp_path / "1.dcm"), save(second, tmp_path / "2.dcm"))
    studies = [row.StudyInstanceUID for row in answered(node)]

    _, box = fetch(node, identifier("STUDY", StudyInstanceUID=studies))

    [referring] = [copy for copy in box if "SourceImageSequence" in copy]
    [other] = [copy for copy in box if "SourceImageSequence" not in copy]
    assert referring.SourceImageSequence[0].ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert referring.PatientID == other.PatientID


def test_a_copy_that_comes_back_is_acknowledged_and_never_indexed(node: RunningNode, tmp_path: Path) -> None:
    node.receive(write_film(tmp_path / "film.dcm", 1))
    _, [copy] = fetch(node, identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID))
    copy.save_as(tmp_path / "copy.dcm", enforce_file_format=True)
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = synthetic_uid("renamed by an archive")
    copy.save_as(tmp_path / "renamed.dcm", enforce_file_format=True)

    outcomes = node.receive(tmp_path / "copy.dcm", tmp_path / "renamed.dcm")

    assert [outcome.status.code for outcome in outcomes if outcome.status] == [0, 0]
    with node.node.database.session() as session:
        states = sorted((one.state, one.reason) for one in instances.listing(session))
    assert states == [("received", ""), ("unsupported", "own_copy"), ("unsupported", "own_copy")]


def test_a_cancel_ends_the_making_of_copies(node: RunningNode, tmp_path: Path) -> None:
    shared = {"StudyInstanceUID": synthetic_uid("one study"), "PatientID": "ONE", "rows": 8, "columns": 8}
    node.receive(*write_films(tmp_path, 30, **shared))
    wanted = identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID)
    model = GET_MODELS["study"]
    contexts = [build_context(model), *storage_contexts([DX_FOR_PRESENTATION], [EXPLICIT])]

    roles = receiver_roles([DX_FOR_PRESENTATION])
    store = [(evt.EVT_C_STORE, lambda event: 0x0000)]
    with association(node.peer, RESEARCH, contexts, roles=roles, handlers=store) as opened:
        given = opened.send_c_get(wanted, model, msg_id=9)
        next(given)
        opened.send_c_cancel(9, query_model=model)
        *_, (last, _) = given

    status, counts = read_status(last), read_sub_operations(last)
    assert status is not None
    assert status.is_cancel
    assert counts.completed + counts.remaining == 30
    assert counts.remaining > 0


def test_who_got_copies_of_what_is_audited(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    fetch(node, identifier("STUDY", StudyInstanceUID=answered(node)[0].StudyInstanceUID))

    with node.node.database.session() as session:
        [event] = audit.listing(session, kinds=["retrieve"])

    assert (event.actor, event.detail["disclosure"], event.detail["instances"]) == (RESEARCH, "pseudonymous", 1)
    assert event.detail["studies"] == [dcmread(film).StudyInstanceUID]


def test_dcmtk_gets_and_moves_copies_that_are_as_valid_as_the_original(
    node: RunningNode, dcmtk: Path, tmp_path: Path
) -> None:
    film = write_film(tmp_path / "film.dcm", 7, kind="CR")
    node.receive(film)
    [row] = answered(node)
    where = ["127.0.0.1", str(node.peer.port), "-k", "QueryRetrieveLevel=STUDY"]
    where += ["-k", f"StudyInstanceUID={row.StudyInstanceUID}", "-k", f"PatientID={row.PatientID}"]
    options = ["-S", "-aet", RESEARCH, "-aec", node.peer.ae_title]
    for folder in ("got", "moved"):
        (tmp_path / folder).mkdir()

    subprocess.run([dcmtk / "getscu", *options, "-od", tmp_path / "got", *where], check=True, timeout=60)
    with storescp(dcmtk, tmp_path / "moved") as destination:
        node.register(AE_TITLE, port=destination.port, disclosure=Disclosure.PSEUDONYMOUS, accepts_pseudonyms=True)
        subprocess.run([dcmtk / "movescu", *options, "-aem", AE_TITLE, *where], check=True, timeout=60)

    for folder in ("got", "moved"):
        [path] = (tmp_path / folder).iterdir()
        copy = dcmread(path)
        assert (copy.PatientID, copy.StudyInstanceUID) == (row.PatientID, row.StudyInstanceUID)
        assert (copy.StudyDate, copy.PatientAge) == (row.StudyDate, row.PatientAge)
        assert (copy.pixel_array == dcmread(film).pixel_array).all()
        assert b"Synthetic" not in path.read_bytes()
        assert errors_of(path) <= errors_of(film)


def errors_of(path: Path) -> set[str]:
    """Return the errors that dciodvfy finds in a file; none where it is not installed."""
    tool = Path("/usr/bin/dciodvfy")
    if not tool.is_file():
        return set()
    done = subprocess.run([tool, path], capture_output=True, text=True, errors="replace", timeout=60)
    return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}
