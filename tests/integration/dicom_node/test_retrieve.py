"""C-GET and C-MOVE against real peers: whose bytes arrive, what is converted, and what is refused."""

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from db import audit
from db.engine import Database
from regionmir.core.records import Disclosure, Rights
from regionmir.scu.association import association, receiver_roles
from regionmir.scu.get import FILM_CLASSES, GET_MODELS, RetrieveAnswer, get, storage_contexts
from regionmir.scu.move import MOVE_MODELS, move
from regionmir.scu.peer import Timeouts
from regionmir.scu.status import Status, SubOperations, read_status, read_sub_operations
from regionmir.scu.store import Result
from tests.support.films import save, synthetic_film, synthetic_uid, write_film, write_films
from tests.support.peers import AE_TITLE, dataset_bytes, receiver, storescp
from tests.support.running_node import RunningNode, running_node

Answers = Iterator[tuple[Dataset, Dataset | None]]

CALLER = "CALLER"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"

COMPRESSED = (
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
)
"""pydicom's own test files: one for each kind of transfer syntax that is not plain little endian."""


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(database, tmp_path / "node") as running:
        running.register(CALLER)
        yield running


def asking(level: str, **keys: object) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def study_of(path: Path) -> Dataset:
    return asking("STUDY", StudyInstanceUID=dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def bundled(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


class Box(dict[str, bytes]):
    """What a C-GET brought: Part 10 files by SOP Instance UID."""

    def take(self, uid: str, content: bytes) -> int:
        self[uid] = content
        return 0x0000


def fetch(
    node: RunningNode, identifier: Dataset, *, caller: str = CALLER, **options: object
) -> tuple[RetrieveAnswer, Box]:
    box = Box()
    return get(node.peer, caller, identifier, box.take, **options), box  # type: ignore[arg-type]


def contexts_for(*paths: Path) -> list[object]:
    files = [dcmread(path, stop_before_pixels=True) for path in paths]
    pairs = {(str(file.SOPClassUID), str(file.file_meta.TransferSyntaxUID)) for file in files}
    return [storage_contexts([sop_class], [syntax])[0] for sop_class, syntax in sorted(pairs)]


@pytest.mark.parametrize("name", COMPRESSED)
def test_c_get_brings_exactly_the_stored_bytes(node: RunningNode, name: str) -> None:
    path = bundled(name)
    assert [outcome.result for outcome in node.receive(path)] == [Result.STORED]

    answer, box = fetch(node, study_of(path), storage=contexts_for(path))

    assert answer.status.code == 0x0000
    assert (answer.sub_operations.completed, answer.sub_operations.failed) == (1, 0)
    assert [dataset_bytes(content) for content in box.values()] == [dataset_bytes(path.read_bytes())]


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_c_get_converts_losslessly_for_a_peer_that_takes_only_one_syntax(
    node: RunningNode, tmp_path: Path, name: str, syntax: str
) -> None:
    path = bundled(name)
    node.receive(path)
    original = dcmread(path)

    answer, box = fetch(node, study_of(path), storage=storage_contexts([original.SOPClassUID], [syntax]))

    assert answer.status.code == 0x0000
    (tmp_path / "got.dcm").write_bytes(box[original.SOPInstanceUID])
    converted = dcmread(tmp_path / "got.dcm")
    assert converted.file_meta.TransferSyntaxUID == syntax
    assert (converted.pixel_array == original.pixel_array).all()
    assert converted.PatientID == original.PatientID


def test_c_move_brings_exactly_the_stored_bytes_and_names_its_originator(node: RunningNode) -> None:
    paths = [bundled(name) for name in COMPRESSED if not name.startswith("MR_small") or "RLE" in name]
    node.receive(*paths)
    syntaxes = sorted({str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID) for path in paths})

    with receiver(syntaxes=syntaxes) as destination:
        node.register(AE_TITLE, port=destination.port)
        for path in paths:
            assert move(node.peer, CALLER, study_of(path), AE_TITLE).status.code == 0x0000

        by_uid = destination.by_uid()
    for path in paths:
        assert by_uid[dcmread(path).SOPInstanceUID].dataset == dataset_bytes(path.read_bytes()), path.name
    assert {one.originator for one in by_uid.values()} == {(CALLER, 1)}


def test_c_move_converts_for_a_destination_that_takes_implicit_only(node: RunningNode) -> None:
    path = bundled("MR_small_RLE.dcm")
    node.receive(path)

    with receiver(syntaxes=[IMPLICIT]) as destination:
        node.register(AE_TITLE, port=destination.port)
        answer = move(node.peer, CALLER, study_of(path), AE_TITLE)

    assert answer.status.code == 0x0000
    assert [one.transfer_syntax_uid for one in destination.received] == [IMPLICIT]


def test_dcmtk_gets_and_moves_byte_for_byte(node: RunningNode, dcmtk: Path, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 7)
    node.receive(film)
    study = f"StudyInstanceUID={dcmread(film).StudyInstanceUID}"
    where = ["127.0.0.1", str(node.peer.port), "-k", "QueryRetrieveLevel=STUDY", "-k", study]
    (tmp_path / "got").mkdir()
    (tmp_path / "moved").mkdir()
    options = ["-S", "-aet", CALLER, "-aec", node.peer.ae_title]

    subprocess.run([dcmtk / "getscu", *options, "+B", "-od", tmp_path / "got", *where], check=True, timeout=60)
    with storescp(dcmtk, tmp_path / "moved") as destination:
        node.register(AE_TITLE, port=destination.port)
        subprocess.run([dcmtk / "movescu", *options, "-aem", AE_TITLE, *where], check=True, timeout=60)

    for folder in ("got", "moved"):
        copies = [dataset_bytes(path.read_bytes()) for path in (tmp_path / folder).iterdir()]
        assert copies == [dataset_bytes(film.read_bytes())], folder


def test_what_cannot_be_converted_is_a_failed_sub_operation_that_names_its_instance(
    node: RunningNode, tmp_path: Path
) -> None:
    film = synthetic_film(1, transfer_syntax_uid="1.2.840.10008.1.2.5")
    broken = synthetic_film(
        2, transfer_syntax_uid="1.2.840.10008.1.2.5", StudyInstanceUID=film.StudyInstanceUID, PatientID=film.PatientID
    )
    broken.PixelData = encapsulate([b"\x01" * 100])
    node.receive(save(film, tmp_path / "1.dcm"), save(broken, tmp_path / "2.dcm"))

    answer, box = fetch(node, study_of(tmp_path / "1.dcm"), storage=storage_contexts([film.SOPClassUID], [EXPLICIT]))

    assert answer.status.code == 0xB000
    assert (answer.sub_operations.completed, answer.sub_operations.failed) == (1, 1)
    assert answer.failed == (str(broken.SOPInstanceUID),)
    assert set(box) == {film.SOPInstanceUID}


def test_each_object_is_asked_for_in_its_turn_and_a_missing_one_is_one_failed_sub_operation(
    node: RunningNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = write_films(tmp_path, 3, StudyInstanceUID=synthetic_uid("one study"), PatientID="ONE")
    node.receive(*films)
    missing = films[1]
    digest = hashlib.sha256(dataset_bytes(missing.read_bytes())).hexdigest()
    box, sent_before, there = Box(), [], node.node.store.path

    def path(key: str) -> Path:
        sent_before.append(len(box))
        if digest in key:
            raise FileNotFoundError("no such object in the bucket")
        return there(key)

    monkeypatch.setattr(node.node.store, "path", path)
    answer = get(node.peer, CALLER, study_of(missing), box.take)

    assert answer.status.code == 0xB000
    assert answer.failed == (str(dcmread(missing).SOPInstanceUID),)
    assert len(box) == 2
    assert sent_before[-1] > 0


def test_when_every_sub_operation_fails_so_does_the_retrieve(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)

    answer, _ = fetch(node, study_of(film), storage=storage_contexts(["1.2.840.10008.5.1.4.1.1.4"], [EXPLICIT]))

    assert answer.status.code == 0xA702
    assert answer.failed == (str(dcmread(film).SOPInstanceUID),)


def test_a_peer_that_refuses_an_instance_gets_the_others(node: RunningNode, tmp_path: Path) -> None:
    films = write_films(tmp_path, 3, StudyInstanceUID=synthetic_uid("one study"), PatientID="ONE")
    node.receive(*films)
    refused = str(dcmread(films[1]).SOPInstanceUID)
    box = Box()

    answer = get(
        node.peer,
        CALLER,
        study_of(films[0]),
        lambda uid, content: 0xA700 if uid == refused else box.take(uid, content),
    )

    assert answer.status.code == 0xB000
    assert answer.failed == (refused,)
    assert len(box) == 2


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_every_level_of_patient_root_is_answered(node: RunningNode, tmp_path: Path, level: str) -> None:
    films = write_films(tmp_path, 2)
    node.receive(*films)
    film = dcmread(films[1], stop_before_pixels=True)
    keys = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    wanted = keys[: 1 + ("PATIENT", "STUDY", "SERIES", "IMAGE").index(level)]

    answer, box = fetch(node, asking(level, **{key: film[key].value for key in wanted}), root="patient")

    assert answer.status.code == 0x0000
    assert set(box) == {film.SOPInstanceUID}


def test_a_list_of_uids_brings_each_of_them_and_no_more(node: RunningNode, tmp_path: Path) -> None:
    films = write_films(tmp_path, 3)
    node.receive(*films)
    studies = [dcmread(path).StudyInstanceUID for path in films]

    answer, box = fetch(node, asking("STUDY", StudyInstanceUID=studies[:2]))

    assert answer.sub_operations.completed == 2
    assert set(box) == {dcmread(path).SOPInstanceUID for path in films[:2]}


def test_a_patient_id_repeated_at_study_root_must_match(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    identifier = study_of(film)

    identifier.PatientID = dcmread(film).PatientID
    right, _ = fetch(node, identifier)
    identifier.PatientID = "ANOTHER"
    wrong, _ = fetch(node, identifier)

    assert right.sub_operations.completed == 1
    assert (wrong.status.code, wrong.sub_operations.completed) == (0x0000, 0)


@pytest.mark.parametrize(
    ("identifier", "root"),
    [
        (asking("STUDY"), "study"),
        (asking("PATIENT", PatientID="P"), "study"),
        (asking("FILM", StudyInstanceUID="1.2"), "study"),
        (asking("SERIES", SeriesInstanceUID="1.2"), "study"),
        (asking("SERIES", StudyInstanceUID=["1.2", "1.3"], SeriesInstanceUID="1.4"), "study"),
        (asking("STUDY", StudyInstanceUID="1.2"), "patient"),
        (asking("PATIENT", PatientID=["A", "B"]), "patient"),
    ],
    ids=["no key", "patient level", "unknown level", "no key above", "list above", "no patient", "list of patients"],
)
def test_an_identifier_that_does_not_fit_the_model_is_refused(
    node: RunningNode, identifier: Dataset, root: str
) -> None:
    answer, _ = fetch(node, identifier, root=root)

    assert answer.status.code == 0xA900
    assert answer.status.comment


def test_an_unknown_destination_is_refused(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    node.register("NO_ADDRESS")

    assert move(node.peer, CALLER, study_of(film), "NOBODY").status.code == 0xA801
    assert move(node.peer, CALLER, study_of(film), "NO_ADDRESS").status.code == 0xA801


def test_a_destination_that_is_not_there_fails_every_sub_operation(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    with receiver() as gone:
        node.register(AE_TITLE, port=gone.port)

    answer = move(node.peer, CALLER, study_of(film), AE_TITLE)

    assert answer.status.code == 0xA702
    assert answer.failed == (str(dcmread(film).SOPInstanceUID),)


def test_a_destination_that_aborts_in_the_middle_still_gets_everything(node: RunningNode, tmp_path: Path) -> None:
    films = write_films(tmp_path, 4, StudyInstanceUID=synthetic_uid("one study"), PatientID="ONE")
    node.receive(*films)
    aborted: list[int] = []

    def status(event: Event, number: int) -> int:
        if number == 3 and not aborted:
            aborted.append(number)
            event.assoc.abort()
        return 0x0000

    with receiver(status=status) as destination:
        node.register(AE_TITLE, port=destination.port)
        answer = move(node.peer, CALLER, study_of(films[0]), AE_TITLE)

    assert aborted
    assert answer.status.code == 0x0000
    assert answer.sub_operations.completed == 4
    assert len(destination.by_uid()) == 4


def test_more_than_128_contexts_go_to_the_destination_over_several_associations(
    node: RunningNode, tmp_path: Path
) -> None:
    shared = {"StudyInstanceUID": synthetic_uid("one study"), "PatientID": "ONE", "rows": 8, "columns": 8}
    films = [
        write_film(tmp_path / f"{n}.dcm", n, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{n}.999", **shared)
        for n in range(140)
    ]
    node.receive(*films)

    with receiver() as destination:
        node.register(AE_TITLE, port=destination.port)
        answer = move(node.peer, CALLER, study_of(films[0]), AE_TITLE)

    assert answer.status.code == 0x0000
    assert answer.sub_operations.completed == 140
    assert destination.associations == 3  # two contexts for each SOP class: stored syntax, and one to convert to


def cancelled(node: RunningNode, model: str, answers: Callable[[Association], Answers]) -> tuple[Status, SubOperations]:
    """Cancel after the first pending response and return the final status and counts."""
    contexts = [build_context(model), *storage_contexts(syntaxes=[EXPLICIT])]
    roles = receiver_roles(FILM_CLASSES)
    store = [(evt.EVT_C_STORE, lambda event: 0x0000)]
    with association(node.peer, CALLER, contexts, roles=roles, handlers=store) as opened:
        given = answers(opened)
        next(given)
        opened.send_c_cancel(9, query_model=model)
        *_, (last, _) = given
    status = read_status(last)
    assert status is not None
    return status, read_sub_operations(last)


@pytest.mark.parametrize("service", ["C-GET", "C-MOVE"])
def test_a_cancel_ends_a_retrieve_with_counts(node: RunningNode, tmp_path: Path, service: str) -> None:
    films = write_films(tmp_path, 30, StudyInstanceUID=synthetic_uid("one study"), PatientID="ONE", rows=8, columns=8)
    node.receive(*films)
    wanted = study_of(films[0])

    with receiver() as destination:
        node.register(AE_TITLE, port=destination.port)
        if service == "C-GET":
            model = GET_MODELS["study"]
            status, counts = cancelled(node, model, lambda opened: opened.send_c_get(wanted, model, msg_id=9))
        else:
            model = MOVE_MODELS["study"]
            status, counts = cancelled(
                node, model, lambda opened: opened.send_c_move(wanted, AE_TITLE, model, msg_id=9)
            )
            assert counts.completed == len(destination.received)

    assert status.is_cancel
    assert 0 < counts.remaining < 30
    assert counts.completed + counts.remaining == 30


@pytest.mark.parametrize("how", ["aborts", "is silent"])
def test_a_peer_that_fails_during_c_get_leaves_the_node_well(database: Database, tmp_path: Path, how: str) -> None:
    films = write_films(tmp_path, 3, StudyInstanceUID=synthetic_uid("one study"), PatientID="ONE", rows=8, columns=8)

    with running_node(database, tmp_path / "node", network_timeout_s=3.0) as node:
        node.register(CALLER)
        node.receive(*films)
        associations: list[Association] = []

        def store(event: Event) -> int:
            associations.append(event.assoc)
            if how == "aborts":
                event.assoc.abort()
            else:
                time.sleep(7.5)
            return 0x0000

        contexts = [build_context(GET_MODELS["study"]), *storage_contexts(syntaxes=[EXPLICIT])]
        impatient = Timeouts(dimse_s=9.0)
        roles = receiver_roles(FILM_CLASSES)
        with association(
            node.peer, CALLER, contexts, roles=roles, handlers=[(evt.EVT_C_STORE, store)], timeouts=impatient
        ) as opened:
            answers = list(opened.send_c_get(study_of(films[0]), GET_MODELS["study"]))
        answer, box = fetch(node, study_of(films[0]))

    assert read_status(answers[-1][0]) is None
    assert associations
    assert answer.status.code == 0x0000
    assert len(box) == 3


def test_strangers_get_nothing_and_learn_nothing(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)

    there, box = fetch(node, study_of(film), caller="STRANGER")
    not_there, _ = fetch(node, asking("STUDY", StudyInstanceUID="1.2.3"), caller="STRANGER")

    assert box == {}
    assert there.status == not_there.status
    assert there.status.code == 0x0124
    assert there.status.comment == "not registered to accept pseudonymous copies"


def test_a_pseudonymous_destination_that_is_not_marked_for_copies_gets_nothing(
    node: RunningNode, tmp_path: Path
) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)

    with receiver() as destination:
        node.register(AE_TITLE, port=destination.port, disclosure=Disclosure.PSEUDONYMOUS)
        answer = move(node.peer, CALLER, study_of(film), AE_TITLE)

    assert answer.status.code == 0x0124
    assert answer.status.comment
    assert destination.received == []


def test_the_right_to_retrieve_can_be_withheld(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    node.register("LISTER", rights=Rights(find=True))

    answer, box = fetch(node, study_of(film), caller="LISTER")

    assert answer.status.code == 0x0124
    assert answer.status.comment == "no right to retrieve"
    assert box == {}


def test_who_got_what_is_audited(node: RunningNode, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)
    fetch(node, study_of(film))

    with node.node.database.session() as session:
        events = audit.listing(session, kinds=["retrieve"])

    assert [(event.actor, event.address) for event in events] == [(CALLER, "127.0.0.1")]
    assert events[0].detail["instances"] == 1
    assert events[0].detail["destination"] == CALLER


def test_a_retrieve_while_the_database_is_away_fails_with_a_comment(
    node: RunningNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regionmir.core.errors import DatabaseUnavailable

    film = write_film(tmp_path / "film.dcm", 1)
    node.receive(film)

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr("dicom_node.retrieve.find_instances", away)
    answer, _ = fetch(node, study_of(film))

    assert answer.status.code == 0xA701
    assert answer.status.comment


def test_an_object_that_has_vanished_fails_alone(node: RunningNode, tmp_path: Path) -> None:
    films = write_films(tmp_path, 2, StudyInstanceUID=synthetic_uid("one study"), PatientID="ONE")
    node.receive(*films)
    objects = sorted(node.node.store.objects_dir.rglob("*.dcm"))
    objects[0].unlink()

    answer, box = fetch(node, study_of(films[0]))

    assert answer.status.code == 0xB000
    assert len(answer.failed) == 1
    assert len(box) == 1
