"""`regionmir audit` and `regionmir db roles`, as a user types them."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlalchemy import text

from db import audit
from db.engine import Database
from regionmir.admin.main import main


class Terminal:
    """Runs `regionmir ...`; `out` and `err` are what it printed last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._captured = monkeypatch, captured
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        self._monkeypatch.setattr(sys, "argv", ["regionmir", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        self.out, self.err = self._captured.readouterr()
        return int(ended.value.code or 0)


@pytest.fixture
def regionmir(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return Terminal(monkeypatch, capsys)


def record(database: Database, *names: str) -> None:
    for name in names:
        with database.session() as session:
            audit.record(session, "peer added", actor="operator", address="", detail={"ae_title": name})


def test_a_sound_trail_is_verified_and_a_changed_one_is_not(regionmir: Terminal, database: Database) -> None:
    record(database, "ONE", "TWO", "THREE")
    assert regionmir("audit", "verify", "--json") == 0
    first = json.loads(regionmir.out)
    assert (first["ok"], first["events"]) == (True, 3)
    assert regionmir("audit", "verify", "--expect", first["head"]) == 0
    assert regionmir("audit", "verify", "--expect", "0" * 64) == 1
    assert "were removed or replaced" in regionmir.out
    with database.session() as session:
        session.execute(text("ALTER TABLE audit_event DISABLE TRIGGER USER"))
        session.execute(text("UPDATE audit_event SET actor = 'nobody' WHERE detail ->> 'ae_title' = 'TWO'"))
    assert regionmir("audit", "verify") == 1
    assert "event 2 (row" in regionmir.out
    assert "1 before it are sound" in regionmir.out


def test_the_trail_is_searched_and_that_is_recorded(regionmir: Terminal, database: Database) -> None:
    record(database, "ONE", "TWO")
    assert regionmir("audit", "search", "--text", "two", "--json") == 0
    assert [found["detail"] for found in json.loads(regionmir.out)] == [{"ae_title": "TWO"}]
    assert regionmir("audit", "search", "--kind", "audit searched") == 0
    assert "audit searched" in regionmir.out
    with database.session() as session:
        assert 'originalText="Audit Log Used"' in audit.listing(session, kinds=["audit searched"])[0].message


def test_the_trail_is_exported_for_programs_and_as_dicom_messages(
    regionmir: Terminal, database: Database, tmp_path: Path
) -> None:
    record(database, "ONE", "TWO")
    assert regionmir("audit", "export", "trail.jsonl") == 0
    lines = [json.loads(line) for line in (tmp_path / "trail.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["peer added", "peer added", "audit exported"]
    assert (tmp_path / "trail.jsonl").stat().st_mode & 0o777 == 0o600
    assert regionmir("audit", "export", "trail.jsonl") == 2
    assert regionmir("audit", "export", "-", "--form", "xml") == 0
    assert {child.tag for child in ElementTree.fromstring(regionmir.out)} == {"AuditMessage"}


def test_roles_are_printed_for_an_administrator(regionmir: Terminal) -> None:
    assert regionmir("db", "roles") == 0
    assert "CREATE ROLE regionmir_node LOGIN" in regionmir.out
    assert regionmir("db", "roles", "--apply") == 2
    assert "superuser" in regionmir.err


def test_a_peer_is_registered_with_its_certificate_and_verbs(regionmir: Terminal) -> None:
    fingerprint = "sha256:" + "ab" * 32
    options = ("--disclosure", "identified", "--certificate", fingerprint.upper(), "--tls", "--no-move", "--no-commit")
    assert regionmir("peers", "add", "PACS", "--host", "10.0.0.2", "--port", "2762", *options) == 0
    assert "no-move no-commit" in regionmir.out
    assert regionmir("peers", "list") == 0
    assert "10.0.0.2:2762 TLS" in regionmir.out
    assert regionmir("peers", "add", "PACS", "--disclosure", "identified") == 2
    assert "--certificate" in regionmir.err
