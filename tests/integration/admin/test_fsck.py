"""`regionmir fsck` on real objects and rows."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from db import instances
from db.engine import Database
from regionmir.admin.main import main
from regionmir.storage import FileStore
from tests.support.filing import file_film
from tests.support.films import synthetic_film

DAY_S = 86_400.0


@dataclass
class Archive:
    """A data folder and its database, and `regionmir fsck` on them."""

    database: Database
    store: FileStore
    run: Callable[..., tuple[int, dict[str, Any]]]
    seeds: Iterator[int] = field(default_factory=count)

    def file(self) -> tuple[str, Path]:
        """File one film; return its UID and where its object is."""
        uid = file_film(self.database, self.store, synthetic_film(next(self.seeds)))
        with self.database.session() as session:
            found = instances.detail(session, uid)
        assert found is not None
        return str(uid), self.store.path(found.storage_key)


@pytest.fixture
def archive(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Archive:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["regionmir", "fsck", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert not err
        return int(ended.value.code or 0), json.loads(out)

    return Archive(database, FileStore(tmp_path / "data"), run)


def age(path: Path, seconds: float) -> None:
    os.utime(path, times=(time.time() - seconds,) * 2)


def test_a_whole_archive_has_no_finding(archive: Archive) -> None:
    for _ in range(5):
        archive.file()
    code, found = archive.run("--deep")
    assert (code, found["objects"], found["findings"]) == (0, 5, [])


def test_missing_and_damaged_objects_are_named_and_the_exit_code_says_so(archive: Archive) -> None:
    films = [archive.file() for _ in range(4)]
    films[0][1].unlink()
    with films[1][1].open("ab") as file:
        file.write(b"\0\0")
    content = bytearray(films[2][1].read_bytes())
    content[-1] ^= 1
    films[2][1].write_bytes(content)
    code, found = archive.run()
    assert code == 1
    assert {(f["fault"], f["sop_instance_uid"]) for f in found["findings"]} == {
        ("missing", films[0][0]),
        ("damaged", films[1][0]),
    }
    code, found = archive.run("--deep")
    assert code == 1
    assert {(f["fault"], f["sop_instance_uid"]) for f in found["findings"]} == {
        ("missing", films[0][0]),
        ("damaged", films[1][0]),
        ("damaged", films[2][0]),
    }


def test_an_object_that_another_ae_sent_again_is_not_damaged(archive: Archive) -> None:
    film = synthetic_film(1)
    for source in ("CR1", "MAIN_PACS_ARCH"):
        film.file_meta.SourceApplicationEntityTitle = source
        file_film(archive.database, archive.store, film)
    code, found = archive.run()
    assert (code, found["objects"], found["findings"]) == (0, 1, [])


def test_a_file_without_a_row_is_set_aside_once_it_is_old_and_never_deleted(archive: Archive) -> None:
    _, kept = archive.file()
    key = "ab/cd/abcd" + "0" * 60 + "_1.2.840.10008.1.2.1.dcm"
    left_over = archive.store.path(key)
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(b"left over")
    assert archive.run("--set-aside") == (
        0,
        {"objects": 1, "deep": False, "faults": {}, "set_aside": 0, "removed": 0, "findings": []},
    )
    for path in (left_over, kept):
        age(path, 2 * DAY_S)
    code, found = archive.run()
    assert (code, [f["fault"] for f in found["findings"]]) == (0, ["unreferenced"])
    code, found = archive.run("--set-aside")
    assert (code, found["set_aside"]) == (0, 1)
    assert (kept.exists(), left_over.exists()) == (True, False)
    aside = list((archive.store.objects_dir.parent / "unreferenced").iterdir())
    assert [path.read_bytes() for path in aside] == [b"left over"]
    assert archive.run()[1]["findings"] == []


def test_an_object_that_arrives_while_it_is_set_aside_stays(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = archive.file()
    key = path.relative_to(archive.store.objects_dir).as_posix()
    monkeypatch.setattr(archive.store, "age_s", lambda _: 2 * DAY_S)  # as it was before the arrival replaced it
    assert not archive.store.set_aside(key, DAY_S)
    assert path.exists()
