"""The viewer under a path of ours: its page, its files, its configuration."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi import FastAPI

from regionmir.core.ohif import ohif_folder
from regionmir.web import ohif
from regionmir.web.guard import LOOPBACK_NAMES, Guard
from regionmir.web.site import Site
from tests.support.web_client import WebClient

PAGE = """<!doctype html><html><head><meta name="x"><script>console.time("a"),window.PUBLIC_URL="/"</script>
<link rel="manifest" href="/manifest.json"><script rel="preload" as="script" src="/app-config.js"></script>
<script rel="preload" as="script" type="module" src="/init-service-worker.js"></script>
<script>function browserImportFunction(n){return import(n)}window.PUBLIC_URL="/"</script>
<script defer src="/app.bundle.0f6159c501addfe9.js"></script></head><body></body></html>
"""


LONG = "/ohif/" + "x" * 300
"""No file can have such a name."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The viewer's folder, with a page and a few files."""
    folder = ohif_folder(tmp_path)
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "app.bundle.0f6159c501addfe9.js").write_text("viewer()")
    (folder / "assets" / "logo.svg").write_text("<svg/>")
    (tmp_path / "ohif" / "secret.js").write_text("secret")
    return folder


@pytest.fixture
def client(tmp_path: Path) -> WebClient:
    app = FastAPI()
    app.state.site = cast(Site, _site(tmp_path))
    app.include_router(ohif.router)
    return WebClient(Guard(app, LOOPBACK_NAMES))


def _site(data_dir: Path) -> Site:
    site = object.__new__(Site)
    object.__setattr__(site, "settings", SimpleNamespace(data_dir=data_dir))
    return site


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "path",
    ["/ohif/", "/ohif/viewer?StudyInstanceUIDs=1.2", "/ohif/viewer/answer?url=/x", "/ohif/local", LONG],
)
def test_every_view_gets_the_page_with_addresses_of_ours(client: WebClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert '<base href="/ohif/">' in answer.text
    assert 'src="/ohif/app.bundle.0f6159c501addfe9.js"' in answer.text
    assert 'href="/ohif/manifest.json"' in answer.text
    assert '<script src="/static/viewer.js"></script>' in answer.text
    assert "<script>" not in answer.text
    assert "service-worker" not in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in answer.headers["content-security-policy"].split("script-src")[1].split(";")[0]


@pytest.mark.usefixtures("folder")
def test_files_come_with_their_kind_and_hashed_ones_are_kept(client: WebClient) -> None:
    bundle = client.get("/ohif/app.bundle.0f6159c501addfe9.js")
    assert (bundle.text, "immutable" in bundle.headers["cache-control"]) == ("viewer()", True)
    logo = client.get("/ohif/assets/logo.svg")
    assert logo.headers["content-type"].startswith("image/svg")
    assert logo.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "path",
    ["/ohif/..%2fsecret.js", "/ohif/%2e%2e/secret.js", "/ohif/absent.js", "/ohif/%00.js", f"{LONG}.js"],
)
def test_what_is_no_file_of_the_viewer_is_not_given(client: WebClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_without_the_viewer_the_page_says_how_to_install_it(client: WebClient) -> None:
    answer = client.get("/ohif/")
    assert answer.status_code == 404
    assert "regionmir ohif install" in answer.text


@pytest.mark.usefixtures("folder")
def test_the_configuration_names_our_services_and_no_others(client: WebClient) -> None:
    text = client.get("/ohif/app-config.js").text
    values, _, handler = text.removeprefix("window.config = ").removesuffix(";\n").partition(";\n")
    config = json.loads(values)
    assert handler == "window.config.httpErrorHandler = window.sayWhy"
    assert config["routerBasename"] == "/ohif"
    assert [source["sourceName"] for source in config["dataSources"]] == ["archive", "similar", "answer"]
    assert "http" not in values
