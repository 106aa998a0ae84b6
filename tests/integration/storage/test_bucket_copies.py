"""Each kind of process drops the copies of its machine that nobody speaks of any more."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.bucket import CREDENTIALS, bucket_server, new_bucket
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
KEY = f"ab/cd/abcd{'0' * 60}_1.2.840.10008.1.2.1.dcm"
DEADLINE_S = 120.0


@pytest.mark.parametrize("module", ["dicom_node", "regionmir.web", "workers light", "tests.support.fake_worker 0 2"])
def test_a_process_drops_copies_of_deleted_objects(
    module: str, tmp_path: Path, durable_database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "objects" / KEY
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"a film that another machine has deleted")
    os.utime(copy, (1, 1))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with bucket_server() as server:
        settings = {
            "DATA_DIR": str(tmp_path),
            "S3_URL": new_bucket(server, "films"),
            "DATABASE_URL": durable_database,
            "REDIS_URL": redis_url,
            "DICOM_PORT": str(free_port()),
            "HTTP_PORT": str(free_port()),
        }
        environment = os.environ | {f"REGIONMIR_{name}": value for name, value in settings.items()}
        process = subprocess.Popen([sys.executable, "-m", *module.split()], cwd=ROOT, env=environment)
        try:
            began = time.monotonic()
            while copy.exists():
                assert process.poll() is None
                assert time.monotonic() - began < DEADLINE_S
                time.sleep(0.1)
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
