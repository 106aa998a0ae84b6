"""The whole application on a socket: TLS, cookies, and sign-in by an OpenID provider in a process of its own."""

import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import trustme

from db import audit, users
from db.engine import Database
from regionmir.core.records import Role
from tests.integration.web.signin.conftest import PASSWORD
from tests.support.doors import url_of
from tests.support.live_web import live_web
from tests.support.ports import free_port


def page_form(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(csrf|next)" value="([^"]*)"', page))


def test_over_tls_a_user_signs_in_looks_and_signs_out(
    database: Database, add: Callable[..., int], tmp_path: Path
) -> None:
    add("mueller", Role.READER)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    files = {"http_tls_certificate": tmp_path / "certificate.pem", "http_tls_key": tmp_path / "key.pem"}
    with (
        live_web(scheme="https", signin="local", data_dir=tmp_path, database_url=url_of(database), **files) as url,
        httpx.Client(base_url=url, verify=trust, timeout=60, headers={"Accept": "text/html"}) as browser,
    ):
        first = browser.get("/")
        assert first.headers["location"] == "/sign-in?next=/"
        asked = browser.get(first.headers["location"])
        assert "max-age=31536000" in asked.headers["strict-transport-security"]
        form = page_form(asked.text) | {"name": "mueller", "password": PASSWORD}
        done = browser.post("/sign-in", data=form, headers={"Origin": url})
        assert done.headers["location"] == "/"
        assert done.headers["set-cookie"].startswith("__Host-regionmir=")
        assert done.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")
        assert "No study yet" in browser.get("/").text
        out = browser.post("/sign-out", data=page_form(browser.get("/sign-in").text), headers={"Origin": url})
        assert out.status_code == 303
        assert browser.get("/").status_code == 303
        assert browser.get("/healthz").status_code == 200


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of an OpenID provider that runs for this module."""
    port = free_port()
    log = (tmp_path_factory.mktemp("provider") / "log").open("w")
    claims = ['{"sub": "4711", "preferred_username": "mueller", "groups": ["chest"]}', '{"sub": "4712"}']
    words = [word for one in claims for word in ("--user-claims", one)]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true", *words]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert process.poll() is None
            try:
                found: str = httpx.get(f"http://localhost:{port}/.well-known/openid-configuration").json()["issuer"]
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield found
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.fixture
def ours(database: Database, issuer: str, tmp_path: Path) -> Iterator[str]:
    """Return the address of our application that signs people in there."""
    (tmp_path / "secret").write_text("a secret")
    with live_web(
        signin="oidc",
        oidc_issuer=issuer,
        oidc_client_id="regionmir",
        oidc_client_secret_file=tmp_path / "secret",
        reader_groups="chest",
        data_dir=tmp_path,
        database_url=url_of(database),
    ) as url:
        yield url


@pytest.fixture
def browser(ours: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ours, timeout=60, headers={"Accept": "text/html"}) as client:
        yield client


def at_the_provider(browser: httpx.Client, answer: dict[str, str]) -> str:
    """Ask for a page, follow to the provider, answer there, and return where it sends the browser."""
    asked = browser.get(browser.get("/?page=1").headers["location"]).text
    (link,) = re.findall(r'href="(/sign-in/oidc[^"]*)"', asked)
    leaving = browser.get(link)
    assert leaving.status_code == 303
    assert "HttpOnly; SameSite=Lax; Max-Age=600" in leaving.headers["set-cookie"]
    location = httpx.post(leaving.headers["location"], data=answer, timeout=60).headers["location"]
    if "state=" in location:
        return location
    state = dict(parse_qsl(urlsplit(leaving.headers["location"]).query))["state"]
    return f"{location}&state={state}"  # this provider leaves it out of an error, against RFC 6749 4.1.2.1


def test_an_openid_provider_signs_in_with_the_role_of_its_groups(browser: httpx.Client, database: Database) -> None:
    back = browser.get(at_the_provider(browser, {"sub": "4711"}))
    assert (back.status_code, back.headers["location"]) == (303, "/?page=1")
    assert browser.get("/").status_code == 200
    assert "mueller</b>, reader" in browser.get("/sign-in").text
    with database.session() as session:
        kinds = [event.kind for event in audit.listing(session)]
        (user,) = users.listing(session)
    assert kinds == ["signed in", "user added"]
    assert (user.role, user.subject.endswith("|4711")) == (Role.READER, True)


def test_what_came_back_once_does_not_come_back_again(browser: httpx.Client, ours: str) -> None:
    location = at_the_provider(browser, {"sub": "4711"})
    stolen = dict(browser.cookies)
    assert browser.get(location).status_code == 303
    with httpx.Client(base_url=ours, timeout=60, cookies=stolen) as thief:
        assert thief.get(location).status_code == 400


def test_a_sign_in_that_was_begun_in_another_browser_is_refused(browser: httpx.Client, ours: str) -> None:
    location = at_the_provider(browser, {"sub": "4711"})
    with httpx.Client(base_url=ours, timeout=60) as victim:
        assert victim.get(location).status_code == 400
        assert not victim.cookies
    forged = location.replace(dict(parse_qsl(urlsplit(location).query))["state"], "forged")
    assert browser.get(forged).status_code == 400


def test_a_user_that_declines_at_the_provider_is_not_signed_in_and_that_is_audited(
    browser: httpx.Client, database: Database
) -> None:
    refused = browser.get(at_the_provider(browser, {"action": "deny"}))
    assert refused.status_code == 401
    assert browser.get("/").status_code == 303
    with database.session() as session:
        (event,) = audit.listing(session)
    assert (event.kind, event.detail["reason"]) == ("sign-in failed", "provider: access_denied")


def test_a_user_without_groups_is_a_viewer_named_by_the_subject(browser: httpx.Client) -> None:
    assert browser.get(at_the_provider(browser, {"sub": "4712"})).status_code == 303
    assert "4712</b>, viewer" in browser.get("/sign-in").text
