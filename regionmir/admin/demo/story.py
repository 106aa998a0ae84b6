"""The demo on one page: films -> C-STORE -> indexed -> C-FIND for a region's like -> C-GET of the best -> pictures."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from db import instances, peers
from db.engine import Database
from db.peers import Peer
from db.retrieve import answered_regions
from regionmir.admin.demo.findings import Findings, read_findings, shared_finding
from regionmir.admin.demo.instance import Instance
from regionmir.admin.send_commands import files_in
from regionmir.admin.similar import SimilarAnswer, query_similar
from regionmir.admin.similar_picture import answer_picture
from regionmir.core.errors import RegionMirError
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Disclosure, InstanceState
from regionmir.core.settings import Settings
from regionmir.scu.get import get, save_into
from regionmir.scu.peer import PeerAddress
from regionmir.scu.store import Result, SentFile, store

CALLING_AE = AETitle("DEMO")
REGION = "RL"
INDEX_DEADLINE_S = 900.0
_UNFINISHED = (InstanceState.RECEIVED, InstanceState.INDEXING)


@dataclass(slots=True)
class Story:
    """What the demo did, as `demo.json` tells it. `seconds` by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)
    unsupported: dict[str, int] = field(default_factory=dict)
    answer: SimilarAnswer | None = None
    finding: dict[str, Any] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage."""
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 2)

    def as_json(self) -> dict[str, Any]:
        """Return the content of `demo.json`."""
        assert self.answer is not None
        return {
            "instances": self.instances,
            "unsupported": self.unsupported,
            "sent": self.sent,
            "seconds": self.seconds,
            "query": {
                "anchor": self.answer.anchor,
                "region": self.answer.anatomy.short,
                "anatomy": self.answer.anatomy.name,
                "result_set_code": self.answer.code,
                "coverage": self.answer.coverage,
                "milliseconds": round(1000 * self.answer.seconds, 1),
            },
            "hits": [
                {**asdict(hit), "anatomy": self.answer.anatomy.name, "result_set_code": self.answer.code}
                for hit in self.answer.hits
            ],
            "finding": self.finding,
        }


def tell(instance: Instance, dicom: Path, out: Path, story: Story, console: Console) -> None:
    """Send what is below `dicom` to the running instance, ask it for similar regions and write `out`.

    Raises `RegionMirError` where nothing could be sent, indexed or found.
    """
    settings = instance.settings()
    node = PeerAddress(AETitle(settings.ae_title), "127.0.0.1", settings.dicom_port)
    database = Database(settings.require_database_url(), application_name="regionmir demo", pool_size=1)
    try:
        _register_ourselves(database)
        with story.stage("send"):
            sent = _send(node, list(files_in([dicom])), console)
        story.sent = dict(Counter(outcome.result.value for outcome in sent))
        with story.stage("index"):
            story.instances = _wait_until_indexed(database, console)
        story.unsupported = _reasons(database)
        findings = read_findings(dicom)
        with story.stage("query"):
            story.answer = _ask(database, node, findings)
        story.finding = shared_finding(findings, story.answer)
        with story.stage("fetch the best hit"):
            _fetch(node, story.answer, out / "best-hit")
        with story.stage("picture"):
            _picture(database, node, story.answer, out / "similar.png")
    finally:
        database.close()
    (out / "demo.json").write_text(json.dumps(story.as_json(), indent=2) + "\n", encoding="utf-8")
    _print(story, settings, out, console)


def _register_ourselves(database: Database) -> None:
    ours = Peer(
        CALLING_AE,
        source_address="127.0.0.1",
        can_store=True,
        can_find=True,
        can_retrieve=True,
        disclosure=Disclosure.IDENTIFIED,
    )
    with database.session() as session:
        peers.upsert(session, ours)


def _send(node: PeerAddress, files: list[Path], console: Console) -> list[SentFile]:
    outcomes = []
    with _bar(console) as bar:
        task = bar.add_task("sending (C-STORE)", total=len(files))
        for outcome in store(node, CALLING_AE, files):
            outcomes.append(outcome)
            bar.advance(task)
    if not any(outcome.result is Result.STORED for outcome in outcomes):
        raise RegionMirError("nothing could be sent: the folder holds no DICOM file that the node takes")
    return outcomes


def _wait_until_indexed(database: Database, console: Console) -> dict[str, int]:
    """Return the counts by state once no instance waits any more."""
    deadline = time.monotonic() + INDEX_DEADLINE_S
    with _bar(console) as bar:
        task = bar.add_task("indexing (detect and embed)", total=None)
        while time.monotonic() < deadline:
            with database.session() as session:
                counts = instances.counts_by_state(session)
            total, waiting = sum(counts.values()), sum(counts[state] for state in _UNFINISHED)
            bar.update(task, total=total, completed=total - waiting)
            if waiting == 0:
                return counts
            time.sleep(0.2)
    raise RegionMirError(f"after {INDEX_DEADLINE_S:.0f} s instances still wait; see the log beside the data folder")


def _reasons(database: Database) -> dict[str, int]:
    with database.session() as session:
        found = instances.listing(session, state=InstanceState.UNSUPPORTED)
        return dict(Counter(one.reason for one in found))


def _ask(database: Database, node: PeerAddress, findings: Findings) -> SimilarAnswer:
    """Ask for the likes of the first indexed film, of one with a finding where findings are known."""
    with database.session() as session:
        indexed = [one.sop_instance_uid for one in instances.listing(session, state=InstanceState.INDEXED)]
    if not indexed:
        raise RegionMirError("no film was indexed: there is nothing to search; see `regionmir instances list`")
    ill = (uid for uid in indexed if findings.of_instance(uid) not in ("", "normal"))
    return query_similar(node, CALLING_AE, next(ill, indexed[0]), REGION)


def _fetch(node: PeerAddress, answer: SimilarAnswer, folder: Path) -> None:
    """Fetch the best hit's study by C-GET into `folder`."""
    folder.mkdir(exist_ok=True)
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = Uid(answer.hits[0].study_instance_uid)
    fetched = get(node, CALLING_AE, identifier, save_into(folder))
    if fetched.sub_operations.completed == 0:
        raise RegionMirError(f"the best hit could not be fetched: {fetched.status}")


def _picture(database: Database, node: PeerAddress, answer: SimilarAnswer, path: Path) -> None:
    with database.session() as session:
        regions = answered_regions(session, answer.code)
    path.write_bytes(answer_picture(answer, regions, node, CALLING_AE))


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _print(story: Story, settings: Settings, out: Path, console: Console) -> None:
    answer = story.answer
    assert answer is not None
    counts = ", ".join(f"{count} {state}" for state, count in story.instances.items() if count)
    kept = "; ".join(f"{count} {reason}" for reason, count in sorted(story.unsupported.items()))
    console.print(f"\n[bold]Instances[/]  {counts}" + (f"  (not indexed, by reason: {kept})" if kept else ""))
    console.print(
        f"[bold]Question[/]   which studies look like the {answer.anatomy.name} of {answer.anchor}?\n"
        f"[bold]Answer[/]     {answer.code}: {answer.coverage}, {1000 * answer.seconds:.0f} ms by C-FIND "
        f"at AE {answer.anatomy.ae_title}\n"
    )
    console.print(_table(answer, story.finding))
    if story.finding is not None:
        console.print(
            f"\n{story.finding['shared']} of {story.finding['of']} hits share the query's finding "
            f"({story.finding['finding']}); {100 * story.finding['expected_share']:.0f} % would be expected by chance."
        )
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in story.seconds.items())
    console.print(f"\n[bold]Seconds[/]    {seconds}")
    console.print(f"[bold]Written[/]    {out}/similar.png, {out}/demo.json, {out}/best-hit/")
    _print_next(answer, settings, console)


def _table(answer: SimilarAnswer, finding: dict[str, Any] | None) -> Table:
    table = Table("rank", "similarity", "patient", "accession", "study date", "view", box=None, pad_edge=False)
    of_hits = finding["of_hits"] if finding is not None else {}
    if of_hits:
        table.add_column("finding")
    for hit in answer.hits:
        row = [f"{hit.rank}", f"{hit.similarity:.2f}", hit.patient_id, hit.accession_number, hit.study_date, hit.view]
        table.add_row(*row, *([of_hits.get(str(hit.rank), "")] if of_hits else []))
    return table


def _print_next(answer: SimilarAnswer, settings: Settings, console: Console) -> None:
    port, short = settings.dicom_port, answer.anatomy.short
    console.print("\n[bold]Go on by hand[/]: start it again on the demo's data and ask with any DICOM client")
    lines = (
        f"REGIONMIR_DATA_DIR={settings.data_dir} REGIONMIR_DICOM_PORT={port} REGIONMIR_HTTP_PORT={settings.http_port} "
        "make up",
        f"findscu -v -S -aet {CALLING_AE} -aec RGN_{short} 127.0.0.1 {port} -k QueryRetrieveLevel=STUDY "
        f'-k StudyDescription="SIM {answer.hits[0].accession_number or answer.hits[0].study_instance_uid}" '
        "-k PatientID -k StudyInstanceUID",
        f"http://127.0.0.1:{settings.http_port}/",
    )
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
