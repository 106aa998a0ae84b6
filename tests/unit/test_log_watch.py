"""A patient in any log fails the run, and the place is named; planted in each way that a log takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import seed
from tests.support.canaries import Canaries
from tests.support.films import synthetic_film
from tests.support.log_watch import PATIENTS

ROOT = Path(__file__).parents[2]

CONFTEST = """
from tests.support.log_watch import LogWatch

def pytest_configure(config):
    config.pluginmanager.register(LogWatch())
"""

INVENTED = [
    str(seed.film(7).header.patient_id),
    seed.film(7).header.attributes["00100010"]["Value"][0]["Alphabetic"],
    str(synthetic_film(3).PatientID),
    str(synthetic_film(3).PatientName),
    Canaries().text("place"),
    Canaries().name("place").split("=")[1],
    Canaries().uid("place"),
]

PLANTED = {
    "structlog": "import structlog; structlog.get_logger('regionmir').debug('filed', why='{}')",
    "logging": "import logging; logging.getLogger('some.library').warning('%s', '{}')",
    "traceback": """
    import structlog
    try:
        raise ValueError('{}')
    except ValueError:
        structlog.get_logger('regionmir').exception('failed')
""",
    "file": """
    import subprocess, sys
    with open(tmp_path / 'node.log', 'w') as log:
        subprocess.run([sys.executable, '-c', 'import sys; print("{}", file=sys.stderr)', 'workers'], stderr=log)
""",
    "pipe": """
    import subprocess, sys
    command = [sys.executable, '-c', 'import sys; print("{}", file=sys.stderr)', 'dicom_node']
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert list(process.stderr)
""",
    "run": """
    import subprocess, sys
    command = [sys.executable, '-c', 'import sys; print("{}", file=sys.stderr)', 'regionmir.admin']
    assert subprocess.run(command, capture_output=True).stderr
""",
    "terminal": """
    import subprocess, sys
    subprocess.run([sys.executable, '-c', 'import sys; print("{}", file=sys.stderr)', 'dicom_node'])
""",
}


def run(folder: Path, marker: str = "", *options: str) -> "subprocess.CompletedProcess[str]":
    """Run one test for each way; each logs a patient, and passes."""
    tests = [f"def test_{way}(tmp_path):\n    {body.format('Canary7^Real').strip()}\n" for way, body in PLANTED.items()]
    (folder / "test_planted.py").write_text("\n".join(["import pytest", marker, *tests]))
    (folder / "conftest.py").write_text(CONFTEST)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(folder), f"--rootdir={folder}", *options],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_planted_patient_is_found_in_every_way_and_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1, done.stdout
    assert f"{len(PLANTED)} passed" in done.stdout
    told = done.stdout.split("patients in logs")[1]
    assert [way for way in PLANTED if f"test_{way}" not in told] == []


def test_tests_that_log_a_patient_on_purpose_are_passed_over(tmp_path: Path) -> None:
    done = run(tmp_path, "pytestmark = pytest.mark.plants_leaks")
    assert done.returncode == 0, done.stdout
    assert f"{len(PLANTED)} passed" in done.stdout


@pytest.mark.parametrize(("marker", "code"), [("", 1), ("pytestmark = pytest.mark.plants_leaks", 0)])
def test_what_processes_of_a_parallel_run_find_counts_as_well(tmp_path: Path, marker: str, code: int) -> None:
    done = run(tmp_path, marker, "-p", "xdist", "-n", "1")
    assert done.returncode == code, done.stdout
    assert ("patients in logs" in done.stdout) == bool(code)


@pytest.mark.parametrize("patient", INVENTED)
def test_names_and_ids_that_tests_invent_are_known(patient: str) -> None:
    assert PATIENTS.search(f"line with {patient}.".encode())


def test_what_is_logged_of_instances_is_no_patient() -> None:
    line = b"2.25.141320597212152993360238280156503364229 from 127.0.0.1 sha256 5826b32351b1bdc28c73625eb007094f RGN-AB"
    assert not PATIENTS.search(line)
