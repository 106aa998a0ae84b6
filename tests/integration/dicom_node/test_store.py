"""C-STORE over real associations: what is acknowledged is kept unchanged, what is refused says why."""

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pydicom
import pytest
from psycopg.pq import TransactionStatus
from pydicom.uid import generate_uid

from db import at_once, instances
from db.engine import Database
from dicom_node import arrival
from dicom_node.contexts import STORAGE_SYNTAXES
from dicom_node.waiting import WaitingDul
from tests.support.dicom import (
    CR,
    EXPLICIT,
    IMPLICIT,
    associate,
    begin_store,
    encoded,
    radiograph,
    send_fragment,
    store,
    store_bytes,
)
from tests.support.files import FailingFiles, RecordingFiles

PRIVATE_CLASS = "1.2.826.0.1.3680043.9.9999.1.1"
SAMPLES = (
    "CT_small",
    "MR_small_bigendian",
    "MR_small_RLE",
    "JPEG2000",
    "JPEG-lossy",
    "image_dfl",
    "MR_small_jp2klossless",
    "MR_small_jpeg_ls_lossless",
    "JPGExtended",
    "liver_expb_1frame",
    "examples_ybr_color",
    "reportsi",
)
"""Files of the pydicom wheel, of many transfer syntaxes."""


def test_an_acknowledged_instance_is_stored_byte_for_byte(running) -> None:
    assoc = associate(running.port)
    dataset = radiograph()
    assert store(assoc, dataset).status == 0x0000
    assoc.release()
    assert running.stored_dataset(dataset.SOPInstanceUID) == encoded(dataset)
    (row,) = running.instances()
    assert (row.state, row.source_ae, row.modality) == ("received", "TESTSCU", "CR")
    assert running.calls == [("wake", "")]
    assert running.incoming() == []


def test_write_sync_rename_folder_sync_and_commit_come_before_the_response(start_node, monkeypatch) -> None:
    calls: list[tuple[str, str]] = []
    running = start_node(files=RecordingFiles(calls), calls=calls)
    watch_commits(monkeypatch, calls)
    assoc = associate(running.port)
    calls.clear()
    assert store(assoc, radiograph(size=300)).status == 0x0000
    calls.append(("response", ""))
    assoc.release()
    names = [name for name, _ in calls]
    expected = ["create", "write", "sync", "close", "rename", "sync_folder", "commit", "wake", "response"]
    assert list(dict.fromkeys(reversed(names)))[::-1] == expected
    assert names.count("commit") == names.count("sync") == 1


def watch_commits(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, str]]) -> None:
    """Note when the statement that files an instance is over, which is all of its transaction."""
    file = at_once.file

    def watched(connection: psycopg.Connection[Any], rows: at_once.Rows) -> bool:
        filed = file(connection, rows)
        if connection.info.transaction_status == TransactionStatus.IDLE:
            calls.append(("commit", ""))
        return filed

    monkeypatch.setattr(at_once, "file", watched)


def test_an_equal_instance_again_is_success_without_work(running) -> None:
    assoc = associate(running.port)
    dataset = radiograph()
    assert [store(assoc, dataset).status for _ in range(3)] == [0, 0, 0]
    assoc.release()
    assert len(running.instances()) == 1
    assert running.calls == [("wake", "")]


def test_another_version_is_refused_kept_and_listed(running) -> None:
    assoc = associate(running.port)
    dataset = radiograph()
    store(assoc, dataset)
    dataset.PatientID = "P2"
    refused = store(assoc, dataset)
    assert refused.status == 0x0124
    assert "no right to correct" in refused.comment
    assert store(assoc, dataset) == refused
    assert store(assoc, radiograph()).status == 0x0000
    assoc.release()
    with running.node.database.session() as session:
        (conflict,) = instances.conflicts(session)
    assert conflict.sop_instance_uid == dataset.SOPInstanceUID
    assert running.node.store.exists(conflict.storage_key)


def test_a_sender_with_the_right_to_correct_replaces_the_version(running) -> None:
    running.register("EDITOR", can_correct=True)
    assoc = associate(running.port, calling="EDITOR")
    dataset = radiograph(StudyDescription="before")
    store(assoc, dataset)
    dataset.StudyDescription = "after"
    assert store(assoc, dataset).status == 0x0000
    assoc.release()
    assert running.stored_dataset(dataset.SOPInstanceUID) == encoded(dataset)
    assert len(running.calls) == 2


def test_every_transfer_syntax_is_accepted(running) -> None:
    offers = {f"1.2.3.{number}": [syntax] for number, syntax in enumerate(STORAGE_SYNTAXES)}
    assoc = associate(running.port, offers)
    taken = {str(context.abstract_syntax): context.transfer_syntax for context in assoc.accepted_contexts}
    assoc.release()
    assert taken == offers


def test_objects_of_many_syntaxes_arrive_unchanged(running) -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for number, name in enumerate(SAMPLES):
        data, sop_class, uid, syntax = renumbered(folder / f"{name}.dcm", number)
        assoc = associate(running.port, {sop_class: [syntax]})
        assert store_bytes(assoc, data, sop_class, uid).status == 0x0000, name
        assoc.release()
        assert running.stored_dataset(uid) == data, name
    assert len(running.instances()) == len(SAMPLES)


def renumbered(path: Path, number: int) -> tuple[bytes, str, str, str]:
    """Return data set, SOP class, instance UID and syntax of a file; the UID is made another one of equal length."""
    meta = pydicom.filereader.read_file_meta_info(path)
    uid = str(meta.MediaStorageSOPInstanceUID)
    data = path.read_bytes()[132 + 12 + meta.FileMetaInformationGroupLength :]
    if uid.encode() in data:
        other = f"{uid[:-4]}7{number:02d}9"
        data, uid = data.replace(uid.encode(), other.encode()), other
    return data, str(meta.MediaStorageSOPClassUID), uid, str(meta.TransferSyntaxUID)


def test_a_private_sop_class_is_stored(running) -> None:
    assoc = associate(running.port, {PRIVATE_CLASS: [EXPLICIT]})
    dataset = radiograph(SOPClassUID=PRIVATE_CLASS)
    assert store(assoc, dataset).status == 0x0000
    assoc.release()
    assert running.stored_dataset(dataset.SOPInstanceUID) == encoded(dataset)


def test_an_unknown_transfer_syntax_refuses_its_context_only(running) -> None:
    assoc = associate(running.port, {CR: ["1.2.3.4.5"], PRIVATE_CLASS: [EXPLICIT]})
    assert [context.abstract_syntax for context in assoc.accepted_contexts] == [PRIVATE_CLASS]
    assert [context.result for context in assoc.rejected_contexts] == [0x04]
    assert store(assoc, radiograph(SOPClassUID=PRIVATE_CLASS)).status == 0x0000
    assoc.release()


def test_a_known_syntax_is_taken_where_an_unknown_one_is_offered_first(running) -> None:
    assoc = associate(running.port, {CR: ["1.2.3.4.5", IMPLICIT, EXPLICIT]})
    assert assoc.accepted_contexts[0].transfer_syntax == [EXPLICIT]
    assoc.release()


def bad_instances() -> list[tuple[str, int, str]]:
    return [
        ("garbage", 0xC000, "data set"),
        ("empty", 0xC000, "data set"),
        ("truncated", 0xC000, "truncated"),
        ("no study", 0xC000, "StudyInstanceUID"),
        ("illegal series", 0xC000, "SeriesInstanceUID"),
        ("long study", 0xC000, "StudyInstanceUID"),
        ("other instance", 0xA900, "SOPInstanceUID"),
        ("other class", 0xA900, "SOPClassUID"),
        ("command without instance", 0xC001, "AffectedSOPInstanceUID"),
        ("command with illegal instance", 0xC001, "AffectedSOPInstanceUID"),
        ("command with long instance", 0xC001, "AffectedSOPInstanceUID"),
        ("command without class", 0xC001, "AffectedSOPClassUID"),
        ("without data set", 0xC000, "data set"),
    ]


@pytest.mark.parametrize(("fault", "status", "comment"), bad_instances())
def test_a_bad_instance_gets_its_status_and_harms_no_other(running, fault: str, status: int, comment: str) -> None:
    assoc = associate(running.port)
    response = store_bytes(assoc, *faulty(fault))
    assert response.status == status
    assert comment in response.comment
    assert len(response.comment) <= 64
    good = radiograph()
    assert store(assoc, good).status == 0x0000
    assoc.release()
    assert [row.sop_instance_uid for row in running.instances()] == [good.SOPInstanceUID]
    assert running.incoming() == []


def faulty(fault: str) -> tuple[bytes | None, str | None, str | None]:
    """Return data set, SOP class and instance of a C-STORE with this fault."""
    dataset = radiograph()
    data, uid, series = encoded(dataset), str(dataset.SOPInstanceUID), dataset.SeriesInstanceUID.encode()
    whole = {"class": CR, "uid": uid, "data": data}
    changed: dict[str, dict[str, object]] = {
        "garbage": {"data": b"no data set, whatever the command says " * 100},
        "empty": {"data": b""},
        "truncated": {"data": data[:-100]},
        "no study": {"data": data.replace(dataset.StudyInstanceUID.encode(), bytes(len(dataset.StudyInstanceUID)))},
        "illegal series": {"data": data.replace(series, series[:-1] + b"x")},
        "long study": {"data": encoded_with_long_study(dataset)},
        "other instance": {"uid": generate_uid()},
        "other class": {"class": "1.2.840.10008.5.1.4.1.1.2"},
        "command without instance": {"uid": None},
        "command with illegal instance": {"uid": "1.2.abc"},
        "command with long instance": {"uid": "1." * 40 + "1"},
        "command without class": {"class": None},
        "without data set": {"data": None},
    }
    values = {**whole, **changed[fault]}
    return values["data"], values["class"], values["uid"]  # type: ignore[return-value]


def encoded_with_long_study(dataset: pydicom.Dataset) -> bytes:
    uid = dataset.StudyInstanceUID.encode()
    uid += b"\0" * (len(uid) % 2)
    long = b"1." * 40
    data = encoded(dataset)
    return data.replace(b"UI" + len(uid).to_bytes(2, "little") + uid, b"UI" + len(long).to_bytes(2, "little") + long)


def test_an_instance_over_the_limit_is_refused_and_leaves_nothing(start_node) -> None:
    running = start_node(max_instance_bytes=2**20)
    assoc = associate(running.port)
    response = store(assoc, radiograph(size=1024))
    assert (response.status, response.comment) == (0xA703, "larger than 1 MiB, nothing stored")
    assert store(assoc, radiograph()).status == 0x0000
    assoc.release()
    assert running.incoming() == []


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_folder"])
def test_a_full_disk_is_a700_and_sending_again_later_succeeds(start_node, operation: str) -> None:
    files = FailingFiles()
    running = start_node(files=files)
    assoc = associate(running.port)
    dataset = radiograph(size=300)
    files.fail(operation, errno.ENOSPC)
    response = store(assoc, dataset)
    assert response.status == 0xA700
    assert "disk full" in response.comment
    assert running.instances() == []
    assert running.incoming() == []
    files.heal()
    assert store(assoc, dataset).status == 0x0000
    assoc.release()


def test_without_database_nothing_is_acknowledged_and_it_recovers(
    start_node, database_factory: Callable[[], str], postgres_url: str
) -> None:
    url = database_factory()
    running = start_node(database=Database(url, application_name="test"))
    assoc = associate(running.port)
    before, dataset = radiograph(), radiograph()
    assert store(assoc, before).status == 0x0000
    with database_away(url, postgres_url):
        response = store(assoc, dataset)
        assert response.status == 0xA701
        assert "database" in response.comment
        assoc.release()
        assoc = associate(running.port)
        assert assoc.is_established
        assert store(assoc, dataset).status == 0xA701
        assert running.incoming() == []
    assert store(assoc, dataset).status == 0x0000
    assoc.release()
    assert [row.sop_instance_uid for row in running.instances()] == [before.SOPInstanceUID, dataset.SOPInstanceUID]
    running.node.database.close()


@contextmanager
def database_away(url: str, maintenance_url: str) -> Iterator[None]:
    """Cut all connections to a database and allow none until the block ends."""
    name = url.rsplit("/", 1)[1].split("?")[0]
    with psycopg.connect(maintenance_url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_an_ae_without_the_right_to_store_is_refused(running) -> None:
    running.register("READER", can_store=False)
    assoc = associate(running.port, calling="READER")
    response = store(assoc, radiograph())
    assert (response.status, response.comment) == (0x0124, "this AE may not store here")
    assoc.release()
    assert running.instances() == []


def test_our_own_pseudonymous_copy_is_acknowledged_and_never_indexed(running) -> None:
    assoc = associate(running.port)
    original = radiograph()
    store(assoc, original)
    names = running.node.pseudonymizer
    copy = radiograph(
        "RGN-AAAAAAAAAA",
        SOPInstanceUID=names.uid("instance", original.SOPInstanceUID),
        StudyInstanceUID=names.uid("study", original.StudyInstanceUID),
        SeriesInstanceUID=names.uid("series", original.SeriesInstanceUID),
    )
    assert store(assoc, copy).status == 0x0000
    assoc.release()
    states = {row.sop_instance_uid: (row.state, row.reason) for row in running.instances()}
    assert states[copy.SOPInstanceUID] == ("unsupported", "own_copy")
    assert states[original.SOPInstanceUID] == ("received", "")


@pytest.mark.parametrize("ending", ["abort", "close"])
def test_a_transfer_that_breaks_off_leaves_nothing(running, ending: str) -> None:
    assoc = associate(running.port)
    dataset = radiograph()
    begin_store(assoc, True, CR, dataset.SOPInstanceUID)
    send_fragment(assoc, encoded(dataset)[:500], last=False)
    wait_until(lambda: len(running.incoming()) == 1)
    if ending == "abort":
        assoc.abort()
    else:
        assoc.dul.socket.close()
    wait_until(lambda: running.incoming() == [])
    assert running.instances() == []


def wait_until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


class SlowFiles(RecordingFiles):
    """Notes on which thread an object is made durable, and takes its time."""

    def __init__(self, takes_s: float) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []
        self._takes_s = takes_s

    def rename(self, source: Path, target: Path) -> None:
        self.threads.append(threading.current_thread())
        time.sleep(self._takes_s)
        super().rename(source, target)


def test_the_thread_that_reads_stores_and_answers(start_node) -> None:
    files = SlowFiles(0.0)
    assoc = associate(start_node(files=files).port)
    assert [store(assoc, radiograph()).status for _ in range(3)] == [0x0000, 0x0000, 0x0000]
    assoc.release()
    _, *later = files.threads  # the association may not serve yet when its first object has arrived
    assert [isinstance(one, WaitingDul) for one in later] == [True, True]


def test_requests_that_wait_for_no_answer_are_answered_in_their_order(start_node, monkeypatch) -> None:
    """The first is made to take pynetdicom's way, so that the thread of the association serves it."""
    usual = arrival.store_command
    assoc = associate(start_node(files=SlowFiles(0.3)).port)
    films = [radiograph() for _ in range(3)]
    first = films[0].SOPInstanceUID.encode()
    monkeypatch.setattr(arrival, "store_command", lambda data: None if first in data else usual(data))
    for film in films:
        begin_store(assoc, True, film.SOPClassUID, film.SOPInstanceUID)
        send_fragment(assoc, encoded(film), last=True)
    answers = [assoc.dimse.get_msg(block=True)[1] for _ in films]
    assoc._reactor_checkpoint.set()
    assoc.release()
    assert [one.AffectedSOPInstanceUID for one in answers] == [film.SOPInstanceUID for film in films]


def test_while_we_store_the_peer_is_not_idle(start_node) -> None:
    assoc = associate(start_node(files=SlowFiles(7.5), network_timeout_s=3.0).port)
    assert store(assoc, radiograph()).status == 0x0000
    assoc.release()
