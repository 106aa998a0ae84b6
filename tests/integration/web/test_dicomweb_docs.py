"""The examples of docs/dicomweb.md, run as they stand."""

import re
import shutil
import subprocess
from pathlib import Path

from db.engine import Database
from tests.conftest import absent
from tests.support.films import synthetic_film
from tests.support.web_server import url_of, web_server

PAGE = Path(__file__).resolve().parents[3] / "docs" / "dicomweb.md"


def test_the_examples_of_the_page_work(database: Database, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        absent("curl")
    [script] = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    folder = tmp_path / "got"
    folder.mkdir()
    with web_server(tmp_path / "web", url_of(database), anonymous_store=True) as served:
        served.file(*(synthetic_film(n, rows=64, columns=64) for n in range(2)))
        script = script.replace("http://127.0.0.1:8080", served.url)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    written = re.findall(r"-o (\S+)", script)
    assert sorted(path.name for path in folder.iterdir()) == sorted(written)
    assert (folder / "stored.dcm").read_bytes() == (folder / "native.dcm").read_bytes()
    assert (folder / "rendered.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")
    assert len((folder / "frame.raw").read_bytes()) == 64 * 64 * 2
