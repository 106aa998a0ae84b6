"""What the processes tell Prometheus: all that dashboard and alerts name, and nothing of a patient."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from db.engine import Database
from regionmir.admin.scraping import Target, targets
from tests.conftest import absent
from tests.support.dicom import associate, store
from tests.support.films import synthetic_film
from tests.support.peers import wait_for_port
from tests.support.ports import free_port
from tests.support.postgres import TestDatabases, durable_server

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "regionmir.json"
OURS = re.compile(r"\bregionmir_[a-z_]+|\bprocess_[a-z_]+")
CALLING = "ROOM7DRWHO"
CANARY = {"PatientName": "CANARY^YELLOW", "PatientID": "CANARY-4711", "AccessionNumber": "CANARYACC"}


@dataclass
class Site:
    """Node, both workers and web as processes of their own on one data folder."""

    folder: Path
    database: Database
    environment: dict[str, str]
    dicom_port: int
    http_port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, module: str, *arguments: str) -> None:
        self.processes.append(
            subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, env=self.environment)
        )

    def targets(self) -> list[Target]:
        return targets(self.folder / "run" / "metrics")

    def pages(self) -> dict[str, str]:
        """Return what each process tells, by its name."""
        found = {target.process: _page(target.address) for target in self.targets()}
        return {**found, "web": _page(f"127.0.0.1:{self.http_port}")}

    def top(self, *options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "regionmir.admin", "top", *options],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return done.stdout

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(60)


def until(condition: Any, deadline_s: float = 120.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def films() -> list[Dataset]:
    made = [synthetic_film(seed, rows=64, columns=64) for seed in range(3)]
    for film in made:
        for keyword, value in CANARY.items():
            setattr(film, keyword, value)
    return made


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with durable_server(tmp_path_factory.mktemp("durable")) as server:
        yield TestDatabases(server.url).migrated()


@pytest.fixture(scope="module")
def site(
    durable: str, redis_url: str, films: list[Dataset], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder, url, dicom_port, http_port = tmp_path_factory.mktemp("site"), durable, free_port(), free_port()
    settings = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": url,
        "REDIS_URL": redis_url,
        "DICOM_PORT": str(dicom_port),
        "HTTP_PORT": str(http_port),
        "RECALL_PROBE_S": "0.5",
        "DICOM_PROCESSES": "1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REGIONMIR_")}
    environment = {**kept, **{f"REGIONMIR_{name}": value for name, value in settings.items()}}
    database = Database(url, application_name="test")
    site = Site(folder, database, environment, dicom_port, http_port)
    try:
        site.start("dicom_node")
        site.start("tests.support.fake_worker", "0", "2")
        site.start("workers", "light")
        site.start("regionmir.web")
        wait_for_port(dicom_port, 120)
        wait_for_port(http_port, 120)
        until(lambda: len(site.targets()) == 3)
        _send(dicom_port, films)
        indexed = f'regionmir_instances{{state="indexed"}} {len(films)}.0'
        until(lambda: indexed in _page(f"127.0.0.1:{http_port}"))
        yield site
    finally:
        site.stop()
        database.close()


def _send(port: int, films: list[Dataset]) -> None:
    assoc = associate(port, calling=CALLING)
    for film in films:
        assert store(assoc, film).status == 0x0000
    assoc.release()


def _page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        return str(answer.read().decode("utf-8"))


def _expressions() -> list[str]:
    """Return the PromQL of dashboard and alerts."""
    import yaml

    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return alerts + [target["expr"] for panel in panels for target in panel["targets"]]


def _told(page: str) -> set[str]:
    """Return the names that a page lets one ask for, those of a histogram's parts included."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
        names.add(name)
        if kind == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return names


def test_everything_that_dashboard_and_alerts_name_is_told(site: Site) -> None:
    told = set().union(*map(_told, site.pages().values()))
    named = {name for expression in _expressions() for name in OURS.findall(expression)}
    assert len(named) > 20
    assert named - told == set()


def test_each_process_tells_of_its_own_work(site: Site) -> None:
    until(lambda: 'regionmir_instances_finished_total{state="indexed"} 3.0' in site.pages()["index worker"])
    pages = site.pages()
    assert sorted(pages) == ["index worker", "light worker", "node", "web"]
    assert 'regionmir_request_seconds_count{service="C-STORE",status="0000"} 3.0' in pages["node"]
    assert 'regionmir_associations_total{answer="accepted"} 1.0' in pages["node"]
    for process, stages in {"node": ("keep", "file"), "index worker": ("read", "write")}.items():
        for stage in stages:
            assert f'regionmir_stage_seconds_count{{stage="{stage}"}} 3.0' in pages[process]
    assert "regionmir_queue_age_seconds 0.0" in pages["web"]
    assert "regionmir_received_recent 3.0" in pages["web"]


def test_no_page_tells_of_a_patient_a_uid_or_who_called(site: Site, films: list[Dataset]) -> None:
    secrets = {*CANARY.values(), "CANARY", CALLING, *(str(film.SOPInstanceUID) for film in films)}
    for page in site.pages().values():
        assert [secret for secret in secrets if secret in page] == []
        assert re.search(r'"[^"]*(\d+\.){4,}\d+[^"]*"', page) is None  # a UID as a label


def test_labels_are_few(site: Site) -> None:
    for page in site.pages().values():
        labels = set(re.findall(r'([a-z_]+)="', page))
        assert labels <= {
            "answer", "anatomy", "kind", "le", "method", "name", "outcome", "quantile", "service", "stage", "state",
            "status", "version", "weights",
        }  # fmt: skip


def test_top_shows_the_site_to_programs_and_to_people(site: Site) -> None:
    seen = json.loads(site.top("--once", "--json"))
    assert seen["instances"]["indexed"] == 3
    assert seen["received"] == 3
    assert seen["indexed"]["count"] == 3
    assert seen["queue"]["oldest_s"] == 0
    assert {one["process"]: one["answers"] for one in seen["processes"]} == {
        "index worker": True, "light worker": True, "node": True,
    }  # fmt: skip
    assert seen["stages"]["keep"]["count"] == 3
    assert seen["stages"]["keep"]["mean_s"] > 0
    shown = site.top("--once")
    assert "3 indexed" in shown
    assert "light worker" in shown


def test_the_rules_and_the_dashboards_queries_are_what_prometheus_reads(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        absent("promtool (apt-get install prometheus)")
    queries = {
        "groups": [{"name": "g", "rules": [{"record": f"r{n}", "expr": e} for n, e in enumerate(_expressions())]}]
    }
    copied = tmp_path / "queries.yml"
    copied.write_text(json.dumps(queries), encoding="utf-8")
    for file in (RULES, copied):
        done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
