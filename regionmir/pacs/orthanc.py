"""Orthanc's REST API as far as we need it, through pyorthanc (docs/adr/0009 says why that one)."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pyorthanc import Orthanc

from regionmir.core.errors import ConfigurationError, InvalidUid, PeerRefused, PeerUnavailable
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.pacs.listed import ListedStudy

TIMEOUT_S = 60.0
PAGE = 1000
"""Studies or changes asked for at once."""

ADDITIONS = frozenset({"NewStudy", "NewSeries", "NewInstance", "StableStudy", "UpdatedMetadata", "UpdatedAttachment"})


class Gone(PeerRefused):
    """Orthanc has no such resource (any more)."""


@dataclass(frozen=True, slots=True)
class Changes:
    """A part of Orthanc's log of changes. `contiguous`: no number is missing, so nothing was deleted meanwhile."""

    studies: tuple[str, ...]
    """Identifiers of studies that are new or have new instances."""
    last: int
    done: bool
    contiguous: bool


@dataclass(frozen=True, slots=True)
class RemoteInstance:
    """One instance of an Orthanc."""

    remote_id: str
    sop_instance_uid: Uid


class OrthancApi:
    """One Orthanc. Every call raises `PeerUnavailable` where trying later may help, else `PeerRefused`."""

    def __init__(self, url: str, username: str = "", password: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        self._client = Orthanc(
            url.rstrip("/"),
            username or None,
            password or None,
            return_raw_response=True,
            timeout=timeout_s,
            trust_env=False,
        )

    def close(self) -> None:
        self._client.close()

    def system(self) -> dict[str, Any]:
        """Return what Orthanc says of itself: `Version`, `DicomAet`, `DicomPort`, ..."""
        return dict(self._json(self._get("/system")))

    def studies(self) -> dict[str, str]:
        """Return all studies: Study Instance UID and Orthanc's identifier. Those without a valid UID are left out."""
        return {one.study_instance_uid: one.remote_id for one in self.listed()}

    def listed(self) -> list[ListedStudy]:
        """Return all studies with whose they are. Those without a valid UID are left out."""
        found: dict[str, ListedStudy] = {}
        since = 0
        while True:
            # Listing shifts while studies come and go; a page overlaps the one before by half, so that none is missed.
            page = self._json(self._get("/studies", {"since": str(since), "limit": str(PAGE), "expand": ""}))
            for study in page:
                uid = _uid(study)
                if uid is not None:
                    patient_id = str(study.get("PatientMainDicomTags", {}).get("PatientID", ""))
                    found[uid] = ListedStudy(uid, patient_id, str(study["ID"]))
            if len(page) < PAGE:
                return list(found.values())
            since += PAGE // 2

    def study_count(self) -> int:
        """Return how many studies it has."""
        return int(self._json(self._get("/statistics"))["CountStudies"])

    def study_uid(self, remote_id: str) -> Uid:
        """Return the Study Instance UID. Raises `Gone` where Orthanc has no such study."""
        uid = _uid(self._json(self._get(f"/studies/{_checked_id(remote_id)}")))
        if uid is None:
            raise PeerRefused("Orthanc has a study without a valid UID")
        return uid

    def has_study(self, remote_id: str) -> bool:
        """Return whether Orthanc has this study."""
        try:
            self._get(f"/studies/{_checked_id(remote_id)}")
        except Gone:
            return False
        return True

    def instances(self, remote_id: str, modalities: Collection[str] = ()) -> Iterator[RemoteInstance]:
        """Give the instances of a study, only of series of these modalities unless none is named."""
        for series in self._json(self._get(f"/studies/{_checked_id(remote_id)}/series")):
            modality = str(series.get("MainDicomTags", {}).get("Modality", ""))
            if modalities and modality not in modalities:
                continue
            for instance in self._json(self._get(f"/series/{_checked_id(series['ID'])}/instances")):
                uid = instance.get("MainDicomTags", {}).get("SOPInstanceUID", "")
                yield RemoteInstance(str(instance["ID"]), parse_uid(str(uid)))

    def file(self, instance_id: str) -> bytes:
        """Return an instance as the Part 10 file that Orthanc keeps."""
        return self._get(f"/instances/{_checked_id(instance_id)}/file").content

    def last_change(self) -> int:
        """Return the number of the newest change, 0 where there is none."""
        changes = self._json(self._get("/changes", {"last": ""}))["Changes"]
        return int(changes[-1]["Seq"]) if changes else 0

    def changes(self, since: int) -> Changes:
        """Return the changes after number `since`, as many as fit one answer."""
        answer = self._json(self._get("/changes", {"since": str(since), "limit": str(PAGE)}))
        numbers = [int(change["Seq"]) for change in answer["Changes"]]
        studies: dict[str, None] = {}
        for change in answer["Changes"]:
            if change["ResourceType"] == "Study" and change["ChangeType"] in ADDITIONS:
                studies[str(change["ID"])] = None
        contiguous = numbers == list(range(since + 1, since + 1 + len(numbers)))
        return Changes(tuple(studies), numbers[-1] if numbers else since, bool(answer["Done"]), contiguous)

    def _get(self, path: str, params: dict[str, str] | None = None) -> httpx.Response:
        """Return a successful answer: pyorthanc's own methods turn every failure into one exception without status."""
        try:
            answer: httpx.Response = self._client._get(f"{self._client.url}{path}", params=params)
        except httpx.TransportError as error:
            raise PeerUnavailable(f"Orthanc cannot be reached ({type(error).__name__})") from None
        except httpx.InvalidURL:
            raise ConfigurationError("the URL of this Orthanc does not parse") from None
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise Gone("Orthanc has no such resource")
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise PeerRefused("Orthanc does not let us in: check user name and password")
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise PeerUnavailable(f"Orthanc failed with HTTP status {answer.status_code}")
        if not answer.is_success:
            raise PeerRefused(f"Orthanc refused with HTTP status {answer.status_code}")
        return answer

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise PeerRefused("this URL does not answer like an Orthanc") from None


def read_password(path: str) -> str:
    """Return the password in a file, without the line's end. Raises `ConfigurationError`."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the password cannot be read ({type(error).__name__})") from None


def _uid(study: dict[str, Any]) -> Uid | None:
    try:
        return parse_uid(str(study.get("MainDicomTags", {}).get("StudyInstanceUID", "")))
    except InvalidUid:
        return None


def _checked_id(text: str) -> str:
    """Return an identifier of Orthanc: what is none must not become part of a path."""
    if not text or not all(c in "0123456789abcdef-" for c in text):
        raise Gone("not an identifier of Orthanc")
    return text
