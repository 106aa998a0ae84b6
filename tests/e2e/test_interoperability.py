"""What docs/interoperability.md tells: dcmtk, GDCM and Orthanc send, query and retrieve, in both disclosure modes.

Every cell of the table there is one test here. The answers are judged by the films that were sent.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from db import peers
from db.engine import Database
from regionmir.admin.demo.instance import Instance
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from regionmir.pixels.dicomize import WrittenFilm
from tests.conftest import absent
from tests.support.end_to_end import listed, new_instance, real_films, run_tool, wait_until_final
from tests.support.orthanc import PROGRAM, RunningOrthanc, running_orthanc
from tests.support.peers import Received, receiver
from tests.support.ports import free_port

COUNT = 12
REGION = "LLLZ"
HIT = re.compile(r"SIM [0-9A-Z]{8} LLLZ #(\d{3}) (-?\d\.\d\d)( PA| AP)?")
MODES = (Disclosure.IDENTIFIED, Disclosure.PSEUDONYMOUS)
CLIENTS = ("dcmtk", "gdcmscu", "Orthanc")

Answers = list[dict[str, str]]
ASKED = {"PatientID": (0x0010, 0x0020), "StudyInstanceUID": (0x0020, 0x000D), "StudyDescription": (0x0008, 0x1030)}
"""What every client asks to be answered."""

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Client:
    """A peer's program as one caller: each function runs it once."""

    find: Callable[[str, dict[str, str]], Answers]
    """Called AE title and keys -> answers."""
    retrieve: Callable[[str], list[Dataset]]
    """Study Instance UID -> what arrived at the caller."""
    store: Callable[[list[Path]], None]
    shows_answers: bool = True
    """False: `find` only counts them."""


@dataclass
class Site:
    """A RegionMIR with films that the clients sent, and the clients by name and mode."""

    instance: Instance
    films: tuple[WrittenFilm, ...]
    folder: Path
    clients: dict[tuple[str, Disclosure], Client] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, str]:
        return "127.0.0.1", str(self.instance.dicom_port)

    def path(self, film: WrittenFilm) -> Path:
        return self.folder / "dicom" / film.file


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shared_or_demo: Path | None, dcmtk: Path) -> Iterator[Site]:
    for program, package in ((PROGRAM, "orthanc"), (dcmtk / "gdcmscu", "libgdcm-tools")):
        if not program.is_file():
            absent(f"{program.name} (apt-get install {package})")
    folder = tmp_path_factory.mktemp("interoperability")
    films = real_films(folder, shared_or_demo, COUNT)
    with ExitStack() as stack:
        instance = stack.enter_context(new_instance(folder / "node"))
        site = Site(instance, films, folder)
        for mode in MODES:
            short = mode.value[:5].upper()
            ours = {"node": ("REGIONMIR", instance.dicom_port), "similar": (f"RGN_{REGION}", instance.dicom_port)}
            orthanc = stack.enter_context(
                running_orthanc(folder / f"orthanc {short}", title=f"ORTHANC_{short}", modalities=ours)
            )
            gdcm, ports = f"GDCM_{short}", {f"DCMTK_{short}": free_port(), orthanc.title: orthanc.dicom_port}
            _register(instance, mode, {**ports, gdcm: free_port()})
            made = (_dcmtk(site, dcmtk, *next(iter(ports.items()))), _gdcm(site, dcmtk, gdcm, mode), _orthanc(orthanc))
            site.clients.update({(name, mode): client for name, client in zip(CLIENTS, made, strict=True)})
        for n, name in enumerate(CLIENTS):
            site.clients[name, Disclosure.IDENTIFIED].store([site.path(film) for film in films[n :: len(CLIENTS)]])
        wait_until_final(instance, COUNT, 120)
        yield site


def _register(instance: Instance, mode: Disclosure, ports: dict[str, int]) -> None:
    database = Database(instance.settings().require_database_url(), application_name="test")
    rights: dict[str, Any] = {"can_store": True, "can_find": True, "can_retrieve": True, "source_address": "127.0.0.1"}
    rights |= {"disclosure": mode, "accepts_pseudonyms": mode is Disclosure.PSEUDONYMOUS}
    with database.session() as session:
        for title, port in ports.items():
            peers.upsert(session, peers.Peer(AETitle(title), host="127.0.0.1", port=port, **rights))
    database.close()


def _dcmtk(site: Site, dcmtk: Path, title: str, port: int) -> Client:
    def find(called: str, keys: dict[str, str]) -> Answers:
        out = site.folder / f"found by {title}"
        out.mkdir(exist_ok=True)
        for old in out.iterdir():
            old.unlink()
        asked = [word for key in (*ASKED, *keys) for word in ("-k", f"{key}={keys.get(key, '')}")]
        run_tool(
            str(dcmtk / "findscu"), "-S", "-X", "-od", str(out), "-aet", title, "-aec", called,
            "-k", "QueryRetrieveLevel=STUDY", *asked, *site.address,
        )  # fmt: skip
        return [_texts(dcmread(path)) for path in sorted(out.iterdir())]

    def retrieve(uid: str) -> list[Dataset]:
        """Get by getscu and by movescu; both bring the same."""
        key = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}")
        got, moved = site.folder / f"got by {title}", site.folder / f"moved to {title}"
        for folder, tool, more in ((got, "getscu", ()), (moved, "movescu", ("-aem", title, "+P", str(port)))):
            folder.mkdir()
            called = ("-S", "-aet", title, "-aec", "REGIONMIR", *more)
            run_tool(str(dcmtk / tool), *called, "-od", str(folder), *key, *site.address)
        arrived = [[dcmread(path) for path in folder.iterdir()] for folder in (got, moved)]
        assert arrived[0] == arrived[1]
        return arrived[1]

    def store(paths: list[Path]) -> None:
        run_tool(str(dcmtk / "storescu"), "-aet", title, "-aec", "REGIONMIR", *site.address, *map(str, paths))

    return Client(find, retrieve, store)


def _gdcm(site: Site, bin_folder: Path, title: str, mode: Disclosure) -> Client:
    """gdcmscu 3.0.21 aborts itself at the release of every association, and when it is sent an instance, with Orthanc
    as SCP too. So its answers are counted in its log, and the hit that it wants moved goes to a receiver of ours."""

    def command(called: str) -> list[str]:
        return [str(bin_folder / "gdcmscu"), "-D", "--aetitle", title, "--call", called]

    def run(*arguments: str, called: str) -> str:
        done = subprocess.run([*command(called), *arguments], capture_output=True, timeout=60, check=False)
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    def find(called: str, keys: dict[str, str]) -> Answers:
        words = [f"{group:x},{element:x}={keys.get(name, '')}" for name, (group, element) in ASKED.items()]
        keyed = [word for one in words for word in ("--key", one)]
        log = run("--find", "--studyroot", "--study", *keyed, *site.address, called=called)
        assert "C-Find was successful." in log, log[-2000:]
        pending = re.findall(r"\(US\) (65280|65281) .* Status", log)  # each is logged twice
        return [{} for _ in pending[::2]]

    def retrieve(uid: str) -> list[Dataset]:
        """Ask for the move, and stop asking once all has arrived: gdcmscu waits for it at a port of its own."""
        with receiver() as destination:
            _register(site.instance, mode, {title: destination.port})
            asked = ("--move", "--studyroot", "--study", "--key", f"20,d={uid}", "--port-scp", str(free_port()))
            asking = subprocess.Popen([*command(called="REGIONMIR"), *asked, *site.address], stderr=subprocess.DEVNULL)
            try:
                end = time.monotonic() + 30
                while not destination.received and time.monotonic() < end:
                    time.sleep(0.05)
            finally:
                asking.kill()
                asking.wait(10)
        return [_decoded(one) for one in destination.received]

    def store(paths: list[Path]) -> None:
        for path in paths:
            assert "was successful" in run("--store", "-i", str(path), *site.address, called="REGIONMIR")

    return Client(find, retrieve, store, shows_answers=False)


def _orthanc(orthanc: RunningOrthanc) -> Client:
    def query(called: str, keys: dict[str, str]) -> tuple[str, Answers]:
        modality = "node" if called == "REGIONMIR" else "similar"
        asked = {"Level": "Study", "Query": dict.fromkeys(ASKED, "") | keys}
        found = orthanc.http.post(f"/modalities/{modality}/query", json=asked).raise_for_status().json()["ID"]
        answers = orthanc.http.get(f"/queries/{found}/answers?expand&simplify").json()
        return found, [{name: str(one.get(name, "")) for name in ASKED} for one in answers]

    def find(called: str, keys: dict[str, str]) -> Answers:
        return query(called, keys)[1]

    def retrieve(uid: str) -> list[Dataset]:
        """Retrieve as a user of Orthanc Explorer does: the answer of a query, which also repeats its PatientID."""
        found, answers = query("REGIONMIR", {"StudyInstanceUID": uid})
        assert len(answers) == 1
        wanted = {"TargetAet": orthanc.title, "Synchronous": True}
        orthanc.http.post(f"/queries/{found}/answers/0/retrieve", json=wanted).raise_for_status()
        study = orthanc.http.get(f"/studies/{orthanc.study_id(uid)}/instances").json()
        return [dcmread(_file(orthanc, one["ID"])) for one in study]

    def store(paths: list[Path]) -> None:
        for path in paths:
            stored = orthanc.http.post("/instances", content=path.read_bytes()).raise_for_status().json()
            orthanc.http.post("/modalities/node/store", json=stored["ID"]).raise_for_status()

    return Client(find, retrieve, store)


def _decoded(one: Received) -> Dataset:
    syntax = UID(one.transfer_syntax_uid)
    return read_dataset(BytesIO(one.dataset), syntax.is_implicit_VR, syntax.is_little_endian)


def _file(orthanc: RunningOrthanc, identifier: str) -> BytesIO:
    return BytesIO(orthanc.http.get(f"/instances/{identifier}/file").raise_for_status().content)


def _texts(answer: Dataset) -> dict[str, str]:
    return {name: str(answer.get(name, "")) for name in ASKED}


@pytest.mark.parametrize("name", CLIENTS)
def test_what_each_sends_is_acknowledged_and_indexed(site: Site, name: str) -> None:
    sent = {film.sop_instance_uid for film in site.films[CLIENTS.index(name) :: len(CLIENTS)]}
    state = {one["sop_instance_uid"]: one["state"] for one in listed(site.instance)}
    assert {state[uid] for uid in sent} == {"indexed"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CLIENTS)
def test_an_ordinary_query_lists_every_study_as_the_caller_may_see_it(site: Site, name: str, mode: Disclosure) -> None:
    answers = site.clients[name, mode].find("REGIONMIR", {})
    assert len(answers) == COUNT
    if not site.clients[name, mode].shows_answers:
        return
    originals = {(film.patient_id, film.study_instance_uid) for film in site.films}
    seen = {(one["PatientID"], one["StudyInstanceUID"]) for one in answers}
    assert len(seen) == COUNT
    if mode is Disclosure.IDENTIFIED:
        assert seen == originals
    else:
        assert all(re.fullmatch(r"RGN-[A-Z2-7]{10}", patient) for patient, _ in seen)
        assert all(uid.startswith("2.25.") for _, uid in seen)
        assert not {uid for _, uid in seen} & {uid for _, uid in originals}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_similarity_query_ranks_the_studies_of_others(site: Site, name: str, mode: Disclosure) -> None:
    anchor = site.films[2]
    answers = _similar(site, name, mode)
    assert len(answers) == 10
    if not site.clients[name, mode].shows_answers:
        return
    found = sorted((match for one in answers if (match := HIT.fullmatch(one["StudyDescription"]))), key=_rank)
    assert [_rank(match) for match in found] == list(range(1, len(answers) + 1))
    similarities = [float(match[2]) for match in found]
    assert similarities == sorted(similarities, reverse=True)
    patients = {one["PatientID"] for one in answers}
    assert anchor.patient_id not in patients
    assert (patients <= {film.patient_id for film in site.films}) == (mode is Disclosure.IDENTIFIED)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_hit_is_retrieved_as_the_caller_may_have_it(site: Site, name: str, mode: Disclosure) -> None:
    reader = name if site.clients[name, mode].shows_answers else "dcmtk"
    best = next(one for one in _similar(site, reader, mode) if " #001 " in one["StudyDescription"])
    (arrived,) = site.clients[name, mode].retrieve(best["StudyInstanceUID"])
    assert arrived.StudyInstanceUID == best["StudyInstanceUID"]
    assert arrived.PatientID == best["PatientID"]
    copied = arrived.get("LongitudinalTemporalInformationModified") == "MODIFIED"
    assert copied == (mode is Disclosure.PSEUDONYMOUS)
    films = {dcmread(site.path(film)).PixelData: film for film in site.films}
    original = films[arrived.PixelData]
    assert (original.sop_instance_uid == arrived.SOPInstanceUID) == (mode is Disclosure.IDENTIFIED)


def _similar(site: Site, name: str, mode: Disclosure) -> Answers:
    asked = {"StudyDescription": f"SIM {site.films[2].accession_number}"}
    return site.clients[name, mode].find(f"RGN_{REGION}", asked)


def _rank(match: "re.Match[str]") -> int:
    return int(match[1])


def test_orthanc_knows_of_a_refusal_but_not_why(site: Site) -> None:
    """It turns a failure status into HTTP 500, without the Error Comment; the row before it is lost with it."""
    with pytest.raises(httpx.HTTPStatusError, match="500"):
        site.clients["Orthanc", Disclosure.IDENTIFIED].find(f"RGN_{REGION}", {"StudyDescription": "SIM NOSUCH"})
