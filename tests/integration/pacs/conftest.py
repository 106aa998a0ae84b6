"""What these tests share: a follower of a real Orthanc, with a store and a database of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db import pacs
from db.engine import Database
from db.pacs import Pacs
from regionmir.core.settings import Settings
from regionmir.pacs.following import Follower
from regionmir.pacs.source import follower
from tests.conftest import absent
from tests.support.orthanc import PROGRAM, RunningOrthanc, running_orthanc


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[RunningOrthanc]:
    """Return a running Orthanc, empty."""
    if not PROGRAM.is_file():
        absent("Orthanc (apt-get install orthanc)")
    with running_orthanc(tmp_path / "orthanc") as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with a data folder of their own."""
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def following(orthanc: RunningOrthanc, database: Database, settings: Settings) -> Iterator[Callable[[], Follower]]:
    """Return a function that gives a follower of that Orthanc, by its row as it is now."""
    with database.session() as session:
        pacs.upsert(session, Pacs("main", url=orthanc.url, modalities=("CR", "DX")))
    made: list[Follower] = []

    def make() -> Follower:
        with database.session() as session:
            found = pacs.get(session, "main")
        assert found is not None
        made.append(follower(settings, database, found))
        return made[-1]

    yield make
    for one in made:
        one.api.close()
