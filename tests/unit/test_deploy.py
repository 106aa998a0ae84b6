"""What the files in deploy/ name exists; `make deploy-check` lints and renders them with their own tools."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from regionmir.core.settings import Settings
from regionmir.monitoring.exporter import PROCESSES
from regionmir.sandbox.pool import AT_ONCE

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(
    path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".yml", ".Dockerfile", ".service", ".tpl", ".cfg")
)
OF_OTHERS = {"REGIONMIR_DB_PASSWORD", "REGIONMIR_MODALITY", "REGIONMIR_HOOK"}
DOCKERFILES = sorted((DEPLOY / "container").glob("*.Dockerfile"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(DEPLOY).as_posix())
def test_every_setting_that_a_file_names_exists(file: Path) -> None:
    known = {f"REGIONMIR_{name.upper()}" for name in Settings.model_fields} | OF_OTHERS
    named = set(re.findall(r"REGIONMIR_[A-Z0-9_]+(?<!_)", file.read_text(encoding="utf-8")))
    assert named - known - {"REGIONMIR_HTTP"} == set()


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_images_are_rootless_pinned_and_have_a_health_check(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    last_stage = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last_stage, re.MULTILINE)
    assert "HEALTHCHECK" in last_stage
    assert "--constraint constraints.txt" in text
    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-", text, re.MULTILINE)
    assert ":latest" not in text


def test_images_tell_figures_at_the_ports_that_they_expose() -> None:
    ports = {process: 9464 + number for number, process in enumerate(PROCESSES)}
    node, worker = (
        (DEPLOY / "container" / f"{name}.Dockerfile").read_text(encoding="utf-8") for name in ("node", "worker")
    )
    assert f"EXPOSE 11112 {ports['node']}" in node
    assert f"EXPOSE {ports['index worker']} {ports['light worker']}" in worker


def test_every_package_that_an_image_copies_is_let_through_to_the_build() -> None:
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    for file in DOCKERFILES:
        for source in re.findall(r"^COPY (?!--from)(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE):
            assert set(source.split()[:-1]) <= set(allowed)


def test_services_of_the_compose_file_are_confined_and_pinned() -> None:
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"postgres", "valkey", "migrate", "node", "index-worker", "light-worker", "web"}
    for name, service in services.items():
        assert re.search(r":[0-9]", service["image"]), name
        if name in ("node", "index-worker", "light-worker", "web"):
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
    assert services["web"]["ports"] == ["127.0.0.1:8080:8080"]


def test_the_compose_file_passes_on_all_that_signing_in_takes_and_knows_its_own_gateway() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    passed = compose["services"]["web"]["environment"]
    of_sign_in = {
        f"REGIONMIR_{name.upper()}"
        for name in Settings.model_fields
        if name.startswith(("oidc_", "proxy_")) or name.endswith("_groups")
    }
    assert of_sign_in - set(passed) == {"REGIONMIR_OIDC_CLIENT_SECRET_FILE"}  # a file of its own, with the secret
    (network,) = compose["networks"]["default"]["ipam"]["config"]
    assert passed["REGIONMIR_HTTP_PROXIES"] == f"${{REGIONMIR_HTTP_PROXIES:-{network['gateway']}}}"


def test_every_process_of_the_chart_has_memory_for_the_objects_that_it_decodes_at_once() -> None:
    chart = DEPLOY / "helm" / "regionmir"
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    assert "REGIONMIR_DECODE_MEMORY_BYTES" in (chart / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    own = {"node": 0.5, "lightWorker": 0.5, "web": 0.5, "indexWorker": 1.5}
    for name, of_itself in own.items():
        limit = values[name]["resources"]["limits"]["memory"]
        assert float(limit.removesuffix("Gi")) >= AT_ONCE * values["decodeMemoryBytes"] / 2**30 + of_itself, name


def test_the_torch_of_the_images_is_the_pinned_one() -> None:
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert f"ARG TORCH={pinned[1]}\n" in (DEPLOY / "container" / "worker.Dockerfile").read_text(encoding="utf-8")


def test_every_panel_of_the_dashboard_asks_something_and_has_a_place_of_its_own() -> None:
    panels = json.loads((DEPLOY / "grafana" / "regionmir.json").read_text(encoding="utf-8"))["panels"]
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels) > 20


def test_every_alert_is_explained() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
    guide = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    alerts = [rule["alert"].removeprefix("RegionMir") for group in rules["groups"] for rule in group["rules"]]
    explained = guide.partition("| alert | first look |")[2]
    assert [name for name in alerts if name not in explained] == []
