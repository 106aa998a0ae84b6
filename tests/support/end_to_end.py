"""Driving a whole RegionMIR from outside: its command, dcmtk's tools, and real films."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom import dcmread

from regionmir.admin.demo.films import extract
from regionmir.admin.demo.instance import Instance
from regionmir.pixels.dicomize import Naming, WrittenFilm, dicomize_films, read_films
from tests.support.ports import free_port

FINAL = ("indexed", "unsupported", "failed")


def real_films(out: Path, shared: Path | None, count: int) -> tuple[WrittenFilm, ...]:
    """Make `count` DICOM objects of real radiographs: shared ones, or the demo's where these are absent."""
    if shared is not None:
        folder = shared / "data" / "cxr"
        films = [f for f in read_films(folder) if f.split in ("val", "unlabelled")]
    else:
        extract(out / "films")
        folder = out / "films" / "pictures"
        films = read_films(folder)
    step = max(1, len(films) // count)
    made = dicomize_films(films[::step][:count], out / "dicom", naming=Naming(burned_in_annotation="NO"))
    assert not made.errors
    assert len(made.written) == count
    return made.written


def new_instance(data_dir: Path, environment: Mapping[str, str] | None = None) -> Instance:
    """Return a RegionMIR, not started, on ports that nobody else takes before it listens or while it is down."""
    return Instance(data_dir, environment or {}, dicom_port=free_port(), http_port=free_port())


def command(instance: Instance, *arguments: str, check: bool = True) -> str:
    """Run `regionmir ARGUMENTS` against the instance and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REGIONMIR_")}
    environment["REGIONMIR_DATA_DIR"] = str(instance.data_dir)
    done = subprocess.run(
        [sys.executable, "-m", "regionmir.admin", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def states(instance: Instance) -> dict[str, int]:
    """Return how many instances are in each state."""
    counts: dict[str, int] = json.loads(command(instance, "status", "--json"))["instances"]
    return counts


def wait_until_final(instance: Instance, count: int, deadline_s: float) -> dict[str, int]:
    """Return the counts by state once `count` instances are final. Fails at the deadline."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        counts = states(instance)
        if sum(counts[state] for state in FINAL) >= count:
            return counts
        time.sleep(0.25)
    raise AssertionError(f"after {deadline_s} s: {counts}")


def listed(instance: Instance) -> list[dict[str, Any]]:
    """Return what `regionmir instances list --json` prints."""
    found: list[dict[str, Any]] = json.loads(command(instance, "instances", "list", "--json"))
    return found


def run_tool(*arguments: str, check: bool = True, timeout_s: float = 120) -> str:
    """Run one of dcmtk's tools and return what it prints on both streams."""
    done = subprocess.run(
        arguments,
        capture_output=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0 or not check, output
    return output


def find_similar(
    dcmtk: Path, instance: Instance, region: str, anchor: str, *, calling: str, check: bool = True
) -> list[dict[str, str]]:
    """Ask with dcmtk's findscu; return the answers as keyword -> value."""
    output = run_tool(
        str(dcmtk / "findscu"),
        "-v",
        "-S",
        *("-aet", calling, "-aec", f"RGN_{region}"),
        *("-k", "QueryRetrieveLevel=STUDY"),
        *("-k", f"StudyDescription=SIM {anchor}"),
        *("-k", "PatientID", "-k", "PatientName", "-k", "StudyInstanceUID", "-k", "AccessionNumber"),
        "127.0.0.1",
        str(instance.dicom_port),
        check=check,
    )
    answers = []
    for part in re.split(r"Find Response: \d+", output)[1:]:
        pairs = re.findall(r"\[(.*)\]\s+#\s+\d+,\s*\d+ (\w+)", part)
        answers.append({keyword: value.rstrip("\0 ") for value, keyword in pairs})
    return answers


def dataset_bytes(path: Path) -> bytes:
    """Return the data set of a Part 10 file: everything after the meta group."""
    content = path.read_bytes()
    with path.open("rb") as file:
        meta = dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta
    return content[144 + int(meta.FileMetaInformationGroupLength) :]
