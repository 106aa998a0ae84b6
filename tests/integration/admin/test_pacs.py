"""`regionmir pacs` against a real Orthanc, as a user types it."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from db import browse, pacs, peers
from db.engine import Database
from db.peers import Peer
from regionmir.admin.main import main
from regionmir.core.identifiers import AETitle
from tests.conftest import absent
from tests.support.certificates import Authority, openssl
from tests.support.dicom import radiograph
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from tests.support.orthanc import PROGRAM, running_orthanc
from tests.support.ports import free_port
from tests.support.running_node import running_node


@pytest.fixture(autouse=True)
def _environment(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["regionmir", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_an_orthanc_is_registered_imported_and_its_mass_disappearance_agreed_to(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not PROGRAM.is_file():
        absent("Orthanc (apt-get install orthanc)")

    def asked(*arguments: str) -> Any:
        capsys.readouterr()
        assert run(monkeypatch, *arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    films = [radiograph(f"P{n}", size=8) for n in range(3)]
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.upload(*films)
        assert run(monkeypatch, "pacs", "add", "main", "--url", orthanc.url + "/") == 0
        assert asked("pacs", "echo", "main")["ae_title"] == "ORTHANC"
        assert asked("pacs", "import", "main")["imported"] == 3
        assert run(monkeypatch, "pacs", "open", films[0].StudyInstanceUID) == 0
        assert f"{orthanc.url}/app/explorer.html#study?uuid=" in capsys.readouterr().out

        orthanc.delete(*(film.StudyInstanceUID for film in films))
        assert run(monkeypatch, "pacs", "sync", "main") == 1
        assert "3 of 3 studies have disappeared" in capsys.readouterr().err
        assert asked("status")["pacs"] == {
            "hidden_studies": 0,
            "stopped": {"main": "3 of 3 studies have disappeared within a day"},
        }
        assert asked("pacs", "sync", "main", "--agree")["compared"]["hidden"] == 3
    with database.session() as session:
        assert browse.count_studies(session) == 0
        assert pacs.stopped(session) == {}
    assert asked("pacs", "list")[0]["studies"] == {"waiting": 0, "imported": 0, "failed": 0, "gone": 3}
    assert run(monkeypatch, "pacs", "remove", "main") == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["add", "main"], 2),
        (["add", "a/b", "--url", "http://pacs:8042"], 2),
        (["add", "main", "--url", "http://user:secret@pacs:8042"], 2),
        (["sync", "unknown"], 1),
        (["open", "1.2.3"], 1),
    ],
)
def test_what_can_not_be_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert run(monkeypatch, "pacs", *arguments) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_orthanc_that_is_away_and_a_plain_archive_without_dates_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "pacs", "add", "away", "--url", f"http://127.0.0.1:{free_port()}") == 0
    assert run(monkeypatch, "pacs", "add", "old", "--ae-title", "ARCHIVE") == 0
    assert run(monkeypatch, "pacs", "import", "away") == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert run(monkeypatch, "pacs", "import", "old") == 2
    assert "--since" in capsys.readouterr().err


def test_a_plain_archive_is_asked_over_tls_and_only_the_answer_is_on_standard_output(
    database: Database,
    database_factory: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if openssl() is None:
        absent("openssl")
    authority = Authority(tmp_path / "pki")
    us, them = authority.issue("us"), authority.issue("archive")
    theirs: dict[str, Any] = {"tls_certificate": them.certificate, "tls_key": them.key, "ae_title": "ARCHIVE"}
    theirs |= {"tls_authorities": authority.certificate, "dicom_tls_port": (port := free_port())}
    archived = Database(database_factory(), application_name="archive")
    with closing(archived), running_node(archived, tmp_path / "there", **theirs) as archive:
        archive.register("REGIONMIR")
        file_film(archived, archive.node.store, synthetic_film(1, StudyDate="20200102"))
        with database.session() as session:
            peers.upsert(session, Peer(AETitle("ARCHIVE"), host="127.0.0.1", port=port, tls=True))
        for name, value in {"CERTIFICATE": us.certificate, "KEY": us.key, "AUTHORITIES": authority.certificate}.items():
            monkeypatch.setenv(f"REGIONMIR_TLS_{name}", str(value))
        assert run(monkeypatch, "pacs", "add", "old", "--ae-title", "ARCHIVE") == 0
        capsys.readouterr()
        days = ("--since", "2020-01-01", "--until", "2020-01-02")
        code = run(monkeypatch, "pacs", "import", "old", *days, "--json")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert json.loads(said.out)["failed"] == 1, "it was found, and there is no node here that it could be moved to"
    assert "2020-01-02: 1 studies" in said.err
