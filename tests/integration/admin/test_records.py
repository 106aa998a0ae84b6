"""`regionmir delete`, `removed`, `patient` and `reconcile --pacs`, as an operator types them; a real Orthanc."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from db import instances, objects, patients, removal, removed
from db.engine import Database
from db.tables import StudyRow
from regionmir.admin.main import main
from regionmir.archive.removing import drop_copies
from regionmir.storage import FileStore
from regionmir.storage.bucket import BucketStore
from tests.conftest import absent
from tests.support.bucket import CREDENTIALS, bucket_server, new_bucket
from tests.support.dicom import radiograph
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from tests.support.orthanc import PROGRAM, running_orthanc

Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command and returns its exit code, the JSON printed, and what it complains of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))

    def run(*arguments: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["regionmir", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), json.loads(out) if "--json" in arguments and out else out, err

    return run


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileStore]:
    """Return the store of a site whose objects are in a bucket."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with bucket_server() as server:
        url = new_bucket(server, "films")
        monkeypatch.setenv("REGIONMIR_S3_URL", url)
        with closing(BucketStore(tmp_path / "elsewhere", url, 1 << 30)) as store:
            yield store


def filed(database: Database) -> set[str]:
    with database.session() as session:
        return {one.sop_instance_uid for one in instances.listing(session)}


def test_what_is_deleted_is_in_no_bucket_either_and_a_hidden_object_is_read_from_there(
    database: Database, bucket: FileStore, run: Run
) -> None:
    films = [synthetic_film(seed) for seed in range(2)]
    for film in films:
        file_film(database, bucket, film)
    why = ("--reason", "sent by mistake")
    code, told, _ = run("delete", "study", films[0].StudyInstanceUID, *why, "--yes", "--json")
    assert (code, told["objects_removed"]) == (0, 1)
    (left,) = bucket.keys()
    copies = list(bucket.objects_dir.rglob("*.dcm"))
    assert len(copies) == 2, "the machine on which they arrived has both"
    for copy in copies:
        os.utime(copy, (1, 1))
    assert drop_copies(database, bucket) == 1
    assert [copy.name for copy in bucket.objects_dir.rglob("*.dcm")] == [left.rpartition("/")[2]]
    with database.session() as session:
        assert [one.storage_key for one in objects.expected(session)] == [left]
        kept = removal.Removal("operator", "rejected", again=removed.Again.HIDE, keep=True)
        removal.remove(session, removal.named("instance", films[1].SOPInstanceUID), kept)
    assert run("removed", "restore", films[1].SOPInstanceUID, *why)[0] == 0
    assert filed(database) == {films[1].SOPInstanceUID}


def test_a_study_without_instances_can_be_deleted(database: Database, tmp_path: Path, run: Run) -> None:
    film = synthetic_film(1)
    file_film(database, FileStore(tmp_path / "data"), film)
    with database.session() as session:
        session.execute(text("DELETE FROM instance"))
    code, told, _ = run("delete", "study", film.StudyInstanceUID, "--reason", "a ghost", "--yes", "--json")
    assert (code, told["instances"], told["studies"]) == (0, 0, 1)
    with database.session() as session:
        assert session.scalars(select(StudyRow.pk)).all() == []


def test_a_study_is_deleted_after_a_look_and_an_interrupted_deletion_is_found_and_ended(
    database: Database, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, films = FileStore(tmp_path / "data"), [synthetic_film(seed) for seed in range(3)]
    for film in films:
        file_film(database, store, film)
    study, why = films[0].StudyInstanceUID, ("--reason", "sent by mistake")
    code, told, err = run("delete", "study", study, *why, "--json")
    assert (code, told) == (2, "")
    assert "--yes" in err
    code, told, _ = run("delete", "study", study, *why, "--dry-run", "--json")
    assert (code, told["instances"], told["dry_run"]) == (0, 1, True)
    assert len(filed(database)) == 3

    code, told, _ = run("delete", "study", study, *why, "--yes", "--block", "--json")
    assert (code, told["instances"], told["objects_removed"]) == (0, 1, 1)
    assert run("delete", "study", study, *why, "--yes")[0] == 1
    assert file_film(database, store, films[0]) not in filed(database), "blocked"
    assert run("fsck", "--set-aside", "--json")[1]["removed"] == 1, "what was sent again is not kept"

    monkeypatch.setattr("regionmir.archive.removing.remove_objects", lambda *_: 0)  # a crash after the commit
    run("delete", "patient", films[1].PatientID, *why, "--yes")
    monkeypatch.undo()
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))
    code, found, _ = run("fsck", "--json")
    assert (code, found["faults"]) == (0, {"unremoved": 1})
    assert run("fsck", "--set-aside", "--json")[1]["removed"] == 1
    assert run("fsck", "--deep", "--json")[1]["findings"] == []
    assert filed(database) == {films[2].SOPInstanceUID}
    code, listed, _ = run("removed", "list", "--json")
    assert {(one["why"], one["again"], one["is_kept"]) for one in listed} == {
        ("deleted", "refuse", False),
        ("deleted", "accept", False),
    }


def test_patients_are_merged_corrected_and_moved(database: Database, tmp_path: Path, run: Run) -> None:
    store, films = FileStore(tmp_path / "data"), [synthetic_film(seed) for seed in range(3)]
    for film in films:
        file_film(database, store, film)
    why = ("--reason", "RIS message A40", "--yes", "--json")
    ids = [film.PatientID for film in films]
    assert run("patient", "merge", ids[0], ids[1], *why)[1]["studies"] == 1
    assert run("patient", "merge", ids[0], ids[1], *why)[0] == 1
    assert run("patient", "correct", ids[1], "--new-id", "RIGHT", "--birth-date", "1960-01-31", *why)[1]["studies"] == 2
    code, told, _ = run("patient", "move", films[2].StudyInstanceUID, "NEW", "--name", "New^Patient", *why)
    assert (code, told["instances"]) == (0, 1)
    with database.session() as session:
        assert [patients.find(session, one)[0].studies for one in ("RIGHT", "NEW")] == [2, 1]
    assert run("patient", "correct", "RIGHT", *why)[0] == 2


def test_an_orthanc_is_compared_both_ways_and_what_differs_put_right(
    database: Database, tmp_path: Path, run: Run
) -> None:
    if not PROGRAM.is_file():
        absent("Orthanc (apt-get install orthanc)")
    films = [radiograph(f"P{n}", size=8) for n in range(4)]
    second = radiograph("P0", size=8, StudyInstanceUID=films[0].StudyInstanceUID)
    late = radiograph("P1", size=8, StudyInstanceUID=films[1].StudyInstanceUID)
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.upload(*films, second)
        run("pacs", "add", "main", "--url", orthanc.url)
        run("pacs", "import", "main")
        code, found, _ = run("reconcile", "--pacs", "main", "--json")
        assert (code, found["studies"], found["missing"], found["gone"]) == (0, 4, {}, [])

        new, ours = radiograph("P9", size=8), films[3]
        orthanc.upload(new, late)
        orthanc.delete(films[2].StudyInstanceUID)
        lookup = orthanc.http.post("/tools/lookup", content=second.SOPInstanceUID).json()
        orthanc.http.delete(next(one["Path"] for one in lookup if one["Type"] == "Instance")).raise_for_status()
        run("delete", "study", ours.StudyInstanceUID, "--reason", "not wanted", "--yes")
        run("patient", "move", films[0].StudyInstanceUID, "P1", "--reason", "theirs", "--yes")
        with database.session() as session:  # as if our rows had been wrong from the beginning
            session.execute(update(StudyRow).values(known_as=[]))

        code, found, _ = run("reconcile", "--pacs", "main", "--json")
        assert code == 1
        assert (list(found["missing"]), list(found["incomplete"])) == ([new.StudyInstanceUID], [late.StudyInstanceUID])
        assert (found["gone"], found["gone_instances"]) == ([films[2].StudyInstanceUID], [second.SOPInstanceUID])
        assert {(one["here"], one["there"]) for one in found["other_patient"]} == {("P1", "P0")}
        assert (found["removed_here"], found["repair"]) == (1, None)

        code, found, _ = run("reconcile", "--pacs", "main", "--repair", "--json")
        assert (code, found["repair"]["instances"]) == (1, 3), "whose the studies are is left to the operator"
        assert filed(database) >= {new.SOPInstanceUID, late.SOPInstanceUID}
        assert second.SOPInstanceUID not in filed(database)
        assert ours.SOPInstanceUID not in filed(database), "what was deleted here is not fetched"
        with database.session() as session:
            kept = removed.get(session, second.SOPInstanceUID)
        assert kept is not None
        assert kept.is_kept
        code, found, _ = run("reconcile", "--pacs", "main", "--json")
        assert (found["missing"], found["incomplete"], found["gone"], found["gone_instances"]) == ({}, {}, [], [])
        restoring = ("removed", "restore", second.SOPInstanceUID, "--reason", "it was right")
        code, _, err = run(*restoring)
        assert code == 1
        assert "study belongs to another patient" in err
        with database.session() as session:
            session.execute(update(StudyRow).values(known_as=["P0\x1f\x1f"]))
        assert run(*restoring)[0] == 0
        assert second.SOPInstanceUID in filed(database)
