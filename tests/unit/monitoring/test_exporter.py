import json
import os
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from regionmir.admin.scraping import Distribution, Target, fetch, read_figures, targets
from regionmir.core.errors import QueryRefused
from regionmir.core.settings import Settings, load_settings
from regionmir.monitoring.exporter import Exporter, metrics_folder
from regionmir.monitoring.stages import stage


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path)


def test_a_process_tells_its_figures_on_the_loopback_at_a_port_that_it_writes_down(settings: Settings) -> None:
    with Exporter(settings, "node") as exporter:
        assert targets(metrics_folder(settings)) == [Target("node", f"127.0.0.1:{exporter.port}")]
        with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=10) as answer:
            assert b"regionmir_associations_open" in answer.read()
    assert targets(metrics_folder(settings)) == []


def test_what_is_written_down_has_the_form_that_prometheus_reads(settings: Settings) -> None:
    with Exporter(settings, "index worker") as exporter:
        (file,) = metrics_folder(settings).glob("*.json")
        assert json.loads(file.read_text()) == [
            {"targets": [f"127.0.0.1:{exporter.port}"], "labels": {"process": "index worker"}}
        ]


def test_a_port_that_is_taken_keeps_no_process_from_its_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = load_settings(data_dir=tmp_path, metrics_port=taken.getsockname()[1])
        with Exporter(settings, "node") as exporter:
            assert exporter.port == 0
    assert targets(metrics_folder(settings)) == []


def five_free_ports() -> int:
    """Return the first of five ports in a row that are free."""
    for first in range(20_000, 30_000, 5):
        with ExitStack() as taken, suppress(OSError):
            for port in range(first, first + 5):
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    pytest.fail("no five free ports in a row")


def test_each_of_several_processes_of_a_node_has_a_port_of_its_own(settings: Settings) -> None:
    first = five_free_ports()
    settings = settings.model_copy(update={"metrics_port": first})
    kinds = ("node", 0), ("index worker", 0), ("light worker", 0), ("node", 1), ("node", 2)
    with ExitStack() as running:
        exporters = [running.enter_context(Exporter(settings, process, number)) for process, number in kinds]
        assert [exporter.port for exporter in exporters] == list(range(first, first + 5))


def test_what_a_killed_process_wrote_down_is_forgotten_at_the_next_start(settings: Settings) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = metrics_folder(settings)
    folder.mkdir(parents=True)
    left = folder / f"node@{socket.gethostname()}@{dead.pid}.json"
    alive = folder / f"node@{socket.gethostname()}@{os.getppid()}.json"
    elsewhere = folder / f"node@another-host@{dead.pid}.json"
    for file in (left, alive, elsewhere):
        file.write_text("[]")
    with Exporter(settings, "node"):
        assert not left.exists()
        assert alive.exists()
        assert elsewhere.exists()


def test_a_process_that_does_not_answer_has_no_figures() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert fetch(Target("node", f"127.0.0.1:{port}")) is None


def test_a_stage_is_timed_and_an_error_in_it_counted_but_no_refusal() -> None:
    from prometheus_client import generate_latest

    from regionmir.monitoring.figures import REGISTRY

    with stage("tried"):
        pass
    with pytest.raises(OSError, match="x"), stage("tried"):
        raise OSError("x")
    with pytest.raises(QueryRefused), stage("tried"):
        raise QueryRefused("no-hits", "none")
    figures = read_figures(generate_latest(REGISTRY).decode())
    label = (("stage", "tried"),)
    assert figures.distributions["regionmir_stage_seconds", label].count == 3
    assert figures.values["regionmir_stage_failures_total", label] == 1


def test_a_quantile_lies_straight_between_two_bounds() -> None:
    times = Distribution(10, 5.0, ((0.1, 5.0), (0.2, 9.0), (float("inf"), 10.0)))
    assert times.mean == 0.5
    assert times.quantile(0.25) == pytest.approx(0.05)
    assert times.quantile(0.7) == pytest.approx(0.15)
    assert times.quantile(0.99) == pytest.approx(0.2)  # beyond the bounds: the largest finite one
    assert Distribution(0, 0.0, ()).quantile(0.5) is None


def test_the_times_of_two_processes_are_added_up() -> None:
    one, other = (
        Distribution(count, total, ((0.1, count), (float("inf"), count))) for count, total in ((2, 0.1), (6, 0.5))
    )
    assert one + other == Distribution(8, 0.6, ((0.1, 8), (float("inf"), 8)))
