"""A real Orthanc on free ports of loopback, with a folder of its own."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydicom.dataset import Dataset

from tests.support.dicom import as_file
from tests.support.ports import free_port

PROGRAM = Path("/usr/sbin/Orthanc")


@dataclass
class RunningOrthanc:
    """An Orthanc that runs."""

    url: str
    dicom_port: int
    http: httpx.Client
    title: str = "ORTHANC"

    def upload(self, *datasets: Dataset) -> None:
        """Put instances into it."""
        for dataset in datasets:
            self.http.post("/instances", content=as_file(dataset)).raise_for_status()

    def study_id(self, study_instance_uid: str) -> str:
        found = self.http.post("/tools/lookup", content=study_instance_uid).json()
        return str(next(one["ID"] for one in found if one["Type"] == "Study"))

    def delete(self, *study_instance_uids: str) -> None:
        """Delete studies."""
        for uid in study_instance_uids:
            self.http.delete(f"/studies/{self.study_id(uid)}").raise_for_status()

    def study_uids(self) -> set[str]:
        found = self.http.get("/studies?expand").json()
        return {str(study["MainDicomTags"]["StudyInstanceUID"]) for study in found}


@contextmanager
def running_orthanc(
    folder: Path,
    *,
    modalities: Mapping[str, tuple[str, int]] | None = None,
    lua: Path | None = None,
    environment: Mapping[str, str] | None = None,
    title: str = "ORTHANC",
    plugins: Sequence[Path] = (),
    configuration: Mapping[str, Any] | None = None,
) -> Iterator[RunningOrthanc]:
    """Run an Orthanc under this AE title that knows these modalities: name -> (AE title, port).

    `configuration` is added to what its tests need.
    """
    folder.mkdir(parents=True, exist_ok=True)
    http_port, dicom_port = free_port(), free_port()
    known = {
        name: {"AET": aet, "Host": "127.0.0.1", "Port": port, "AllowStorageCommitment": True}
        for name, (aet, port) in (modalities or {}).items()
    }
    configuration = {
        **(configuration or {}),
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": title,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": known,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        "DicomScuTimeout": 10,
        "Plugins": [str(plugin) for plugin in plugins],
        "LuaScripts": [str(lua)] if lua else [],
        "StableAge": 1,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [str(PROGRAM), str(path)], stdout=log, stderr=log, env={**os.environ, **(environment or {})}
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http_port}", trust_env=False, timeout=30) as http:
            _wait(http, process, folder)
            yield RunningOrthanc(f"http://127.0.0.1:{http_port}", dicom_port, http, title)
    finally:
        process.terminate()
        process.wait(30)


def _wait(http: httpx.Client, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            http.get("/system").raise_for_status()
            return
        except httpx.HTTPError:
            assert process.poll() is None, (folder / "orthanc.log").read_text()
            assert time.monotonic() < end, "Orthanc does not answer"
            time.sleep(0.1)


def configured(folder: Path) -> tuple[Path, str, int]:
    """Write the configuration of an Orthanc on free ports that takes all that is sent; all else is as Orthanc has it.

    Returns its path, the URL of the REST API, and the DICOM port.
    """
    folder.mkdir(parents=True, exist_ok=True)
    http_port, dicom_port = free_port(), free_port()
    values = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    path = folder.with_name(f"{folder.name}.orthanc.json")  # beside it: the folder may lose its power
    path.write_text(json.dumps(values))
    return path, f"http://127.0.0.1:{http_port}", dicom_port
