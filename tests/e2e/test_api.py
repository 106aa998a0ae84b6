"""The whole program asked by the client of its JSON API, and the notebook of the documentation run against it."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from regionmir.admin.demo.instance import Instance
from regionmir.client import Box, ClientError, RegionMir
from regionmir.pixels.dicomize import WrittenFilm
from tests.support.end_to_end import command, new_instance, real_films, wait_until_final
from tests.support.notebook import run_notebook

COUNT = 16
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"
NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "similar-regions.ipynb"

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Filled:
    instance: Instance
    films: tuple[WrittenFilm, ...]
    folder: Path
    identified: str
    pseudonymous: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.instance.http_port}"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, shared_or_demo: Path | None) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("api")
    films = real_films(folder, shared_or_demo, COUNT)
    with new_instance(folder / "node") as instance:
        command(instance, "send", str(folder / "dicom"))
        wait_until_final(instance, COUNT, 120)
        scopes = ("--scope", "query", "--scope", "read", "--scope", "write")
        known = command(instance, "tokens", "add", "known", *scopes, "--disclosure", "identified").strip()
        stranger = command(instance, "tokens", "add", "stranger", *scopes).strip()
        yield Filled(instance, films, folder, known, stranger)


def test_a_program_asks_draws_and_uploads(filled: Filled) -> None:
    with RegionMir(filled.url, filled.identified) as mir:
        assert mir.health().ready
        anchor = filled.films[0].accession_number
        found = mir.similar(anchor, ["CARD"], k=5)
        assert found.code is not None
        assert found.anchor is not None
        assert mir.result_set(found.code).hits == found.hits
        (instance,) = mir.lookup(anchor)
        heart = instance.region("CARD")
        assert heart is not None
        drawn = mir.similar(anchor, ["CARD"], k=5, box=heart.box)
        assert [hit.instance.id for hit in drawn.hits] == [hit.instance.id for hit in found.hits]
        film = mir.upload(filled.folder / "dicom" / filled.films[0].file)
        uploaded = mir.similar(film, ["CARD"], k=5)
        assert [hit.instance.id for hit in uploaded.hits] == [hit.instance.id for hit in found.hits]
        assert mir.region_png(found.hits[0].instance, "CARD").startswith(b"\x89PNG")
        mir.forget(film)


def test_errors_say_what_to_do(filled: Filled) -> None:
    with RegionMir(filled.url, filled.pseudonymous, patience_s=0) as mir:
        anchor = filled.films[0].accession_number
        with pytest.raises(ClientError, match="outside the image") as outside:
            mir.similar(anchor, ["CARD"], box=Box(1e6, 1e6, 2e6, 2e6))
        assert (outside.value.status, outside.value.code) == (422, "bad-box")
        with pytest.raises(ClientError, match="--disclosure identified"):
            mir.lookup(anchor)
        with pytest.raises(ClientError, match="no film that can be read"):
            mir.upload(b"no film")
    with RegionMir(filled.url, "rgn_wrong") as mir, pytest.raises(ClientError, match="tokens list"):
        mir.regions()


def test_the_notebook_runs_and_shows_nothing_of_the_originals(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIONMIR_URL", filled.url)
    monkeypatch.setenv("REGIONMIR_TOKEN", filled.pseudonymous)
    said = run_notebook(NOTEBOOK)
    assert "#1 " in said
    assert not any(film.patient_id in said or film.accession_number in said for film in filled.films)


@pytest.mark.parametrize("number", [0, 1])
def test_the_shell_examples_of_the_documentation_run(filled: Filled, number: int) -> None:
    block = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[number]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "REGIONMIR_DATA_DIR": str(filled.instance.data_dir),
        "URL": filled.url,
        "ACCESSION": filled.films[0].accession_number,
        "FILE": str(filled.folder / "dicom" / filled.films[0].file),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert '"rank":1' in done.stdout


def test_the_python_example_of_the_documentation_runs(filled: Filled) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {
        "URL": filled.url,
        "TOKEN": filled.pseudonymous,
        "ACCESSION": filled.films[0].accession_number,
        "FILE": filled.folder / "dicom" / filled.films[0].file,
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, DOCUMENT.name, "exec"), names)
    lines = printed.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3", str(COUNT), "unknown-anchor"]


def test_the_notebook_holds_no_pictures() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    kinds = {kind for cell in cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert kinds <= {"text/plain"}
    assert NOTEBOOK.stat().st_size < 30_000
