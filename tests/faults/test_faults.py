"""A short run of the fault harness, and that its oracle sees what is wrong."""

import os
import random
import time
from collections import deque
from pathlib import Path

import psycopg
import pytest

from regionmir.storage import FileStore
from tests.faults.faults import FAULTS, quick
from tests.faults.films import endless_films
from tests.faults.run import Report, disturb
from tests.faults.world import World, running_world
from tests.support.chance import seed_of_run

SHORT = 8
COUNT = int(os.environ.get("REGIONMIR_FAULTS", SHORT))
_LONGEST_S = 120.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_faults_lose_nothing_that_was_acknowledged_and_double_nothing(
    tmp_path: Path, shared_or_demo: Path | None
) -> None:
    seed = seed_of_run(long=COUNT > SHORT)
    report = Report(seed)
    films = endless_films(tmp_path / "films", shared_or_demo, 40)
    with running_world(tmp_path / "run", seed=seed) as world:
        disturb(world, films, report, quick(random.Random(seed), COUNT), until=time.monotonic() + _LONGEST_S)
        clock = deque(fault for fault in FAULTS if fault.name.startswith("clock"))
        disturb(world, films, report, clock, until=time.monotonic() + _LONGEST_S)
        assert {"clock an hour back", "clock an hour forward"} <= set(report.injected)
        world.settle(_LONGEST_S)
        judged = world.judge()
        print(dict(report.injected), judged)
        assert report.faults >= COUNT // 2, report.notes
        assert judged.faultless
        assert judged.acknowledged > 0
        _spoil(world)
        seen = world.judge()
    assert [len(seen.lost), len(seen.unfinished), len(seen.duplicates)] == [2, 1, 1]
    assert not seen.faultless


def _spoil(world: World) -> None:
    """Take one object from the disk and one row from the database, let one wait again, and deliver what is not ours."""
    settings = world.instance.settings()
    uids = sorted(world.oracle.films)[:3]
    with psycopg.connect(settings.require_database_url()) as connection:
        (key,) = connection.execute("SELECT storage_key FROM instance WHERE sop_instance_uid = %s", uids[:1]).fetchone()  # type: ignore[misc]
        FileStore(settings.data_dir).delete(key)
        rename = "UPDATE instance SET sop_instance_uid = '1.2.3.' || pk WHERE sop_instance_uid = %s"
        connection.execute(rename, uids[1:2])
        waits = "UPDATE instance SET state = 'received', attempts = 0 WHERE sop_instance_uid = %s"
        connection.execute("LOCK TABLE instance IN EXCLUSIVE MODE")
        connection.execute(waits, uids[2:])
    with (world.pacs.folder / "stored.jsonl").open("a") as log:
        log.write('["1.2.3.4.5", "00"]\n')
