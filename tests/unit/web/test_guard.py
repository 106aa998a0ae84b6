"""Who may ask, and for what."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from regionmir.core.errors import ConfigurationError
from regionmir.core.settings import Settings
from regionmir.web.guard import LOOPBACK_NAMES, Guard, allowed_names
from tests.support.web_client import WebClient


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("inside")


@pytest.fixture
def client() -> WebClient:
    paths = [Route(path, answer, methods=["GET", "POST", "PUT", "DELETE"]) for path in ("/", "/healthz")]
    return WebClient(Guard(Starlette(routes=paths), LOOPBACK_NAMES | {"pacs.example"}))


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "PACS.example", "pacs.example.:80"]
)
def test_our_names_are_let_in(client: WebClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).text == "inside"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8080",
        "user@localhost",
        "localhost/x",
        "localhost:x",
        "",
        "10.0.0.1",
    ],
)
def test_foreign_names_that_lead_to_our_address_get_nothing(client: WebClient, host: str) -> None:
    response = client.get("/", headers={"Host": host})
    assert response.status_code == 421
    assert "inside" not in response.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "http://["]
)
def test_pages_of_other_origins_get_nothing(client: WebClient, origin: str) -> None:
    assert client.get("/", headers={"Host": "localhost:8080", "Origin": origin}).status_code == 403


def test_our_own_pages_may_ask(client: WebClient) -> None:
    headers = {"Host": "localhost:8080", "Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/", headers=headers).status_code == 200


def test_a_link_on_a_foreign_page_may_be_followed_but_not_embedded(client: WebClient) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/", headers={**foreign, "Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert client.get("/", headers={**foreign, "Sec-Fetch-Mode": "no-cors"}).status_code == 403


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW"])
def test_only_known_methods_are_allowed(client: WebClient, method: str) -> None:
    response = client.request(method, "/")
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_a_foreign_page_changes_nothing(client: WebClient, method: str, foreign: dict[str, str]) -> None:
    response = client.request(method, "/", foreign)
    assert (response.status_code, "inside" in response.text) == (403, False)


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}])
def test_our_pages_and_programs_may_send_changes(client: WebClient, headers: dict[str, str]) -> None:
    assert client.request("POST", "/", headers).text == "inside"


def test_probes_are_answered_by_any_name(client: WebClient) -> None:
    assert client.get("/healthz", headers={"Host": "10.0.0.7:8080"}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_answer_forbids_inline_scripts_frames_and_foreign_resources(client: WebClient, host: str) -> None:
    headers = client.get("/", headers={"Host": host}).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


def test_with_tls_browsers_are_told_to_use_nothing_else() -> None:
    secure = WebClient(Guard(Starlette(routes=[Route("/", answer)]), LOOPBACK_NAMES, secure=True))
    assert int(secure.get("/").headers["Strict-Transport-Security"].removeprefix("max-age=")) >= 31536000


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "node.example"])
def test_beyond_the_loopback_names_are_needed(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match="REGIONMIR_HTTP_NAMES"):
        allowed_names(Settings(data_dir=tmp_path, http_host=host))
    named = Settings(data_dir=tmp_path, http_host=host, http_names="pacs.example, Other")
    assert allowed_names(named) == LOOPBACK_NAMES | {"pacs.example", "other"}
    outside = Settings(data_dir=tmp_path, http_host=host, http_external_url="https://Us.example:8443")
    assert allowed_names(outside) == LOOPBACK_NAMES | {"us.example"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_the_loopback_no_name_is_needed(tmp_path: Path, host: str) -> None:
    assert allowed_names(Settings(data_dir=tmp_path, http_host=host)) == LOOPBACK_NAMES
