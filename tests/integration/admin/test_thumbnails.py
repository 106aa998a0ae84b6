"""`regionmir thumbnails` on a data folder whose films were indexed before renditions were kept."""

import json
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from db import audit
from db.engine import Database
from regionmir.admin.main import main
from regionmir.storage import FileStore
from tests.support.fake_model import FakeModel
from tests.support.filing import file_film
from tests.support.films import synthetic_film
from workers.indexer import Indexer


def test_thumbnails_are_made_once_and_that_is_told(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(tmp_path)
    for seed in range(3):
        file_film(database, store, synthetic_film(seed))
    indexer = Indexer(database, store, FakeModel(), 4, lease_s=60)
    indexer.drain()
    indexer.close()
    with database.session() as session:
        session.execute(text("DELETE FROM rendition"))
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", database.url.render_as_string(hide_password=False))

    def run(*options: str) -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["regionmir", "thumbnails", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    assert json.loads(run("--json")) == {"made": 3, "left": 0}
    assert run() == "0 made\n"
    with database.session() as session:
        assert session.execute(text("SELECT count(*) FROM rendition")).scalar_one() == 3
        assert [one.detail["made"] for one in audit.listing(session, kinds=["thumbnails made"])] == [0, 3]
