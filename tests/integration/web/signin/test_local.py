"""Sign-in with name and password, sessions, roles, CSRF."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from db import audit, users
from db.engine import Database
from regionmir.core.records import Disclosure, Role
from regionmir.web.guard import Guard
from regionmir.web.signin.accounts import MOST_FAILURES
from regionmir.web.signin.caller import Scope, WebCaller
from tests.integration.web.signin.conftest import PASSWORD
from tests.support.doors import Browser

HTML = {"accept": "text/html"}


@pytest.fixture
def app(opened: Callable[..., Guard]) -> Guard:
    return opened(signin="local")


@pytest.fixture
def reader(app: Guard, add: Callable[..., int]) -> Browser:
    """Return a browser in which a reader is signed in."""
    add("mueller", Role.READER, identified=True)
    browser = Browser(app)
    assert browser.sign_in("mueller", PASSWORD).status_code == 303
    return browser


def token_of(browser: Browser) -> str:
    return browser.cookies["regionmir"]


def test_who_is_not_signed_in_gets_the_page_of_sign_in_and_programs_get_401(app: Guard) -> None:
    sent = Browser(app).get("/who?page=2&a=%C3%BC", **HTML)
    assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in?next=/who%3Fpage%3D2%26a%3D%25C3%25BC")
    refused = Browser(app).get("/who")
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert Browser(app).get("/nothing", **HTML).status_code == 303
    assert Browser(app).post("/write").status_code == 401


def test_a_user_signs_in_and_comes_to_what_was_wanted(app: Guard, add: Callable[..., int]) -> None:
    add("mueller", Role.READER, identified=True)
    browser = Browser(app, address="192.0.2.7")
    assert 'name="password"' in browser.get("/sign-in?next=/who", **HTML).text
    done = browser.post("/sign-in", {"name": " Mueller", "password": PASSWORD, "next": "/who"})
    assert (done.status_code, done.headers["location"]) == (303, "/who")
    cookie = done.headers["set-cookie"]
    assert cookie.startswith("regionmir=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")
    who = browser.who()
    assert (who["name"], who["role"], who["disclosure"]) == ("mueller", "reader", "identified")
    assert (who["may_write"], who["address"], who["way"]) == (True, "192.0.2.7", "local")


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_sign_in_sends_nobody_to_another_site(app: Guard, add: Callable[..., int], target: str) -> None:
    add("mueller")
    done = Browser(app).post("/sign-in", {"name": "mueller", "password": PASSWORD, "next": target})
    assert done.headers["location"] == "/"


def test_every_refusal_reads_the_same_and_all_is_audited(
    app: Guard, add: Callable[..., int], database: Database, trail: Callable[[], list[tuple[str, str]]]
) -> None:
    pk = add("gone")
    add("mueller")
    with database.session() as session:
        users.set_disabled(session, pk, True)
    tries = [("mueller", "wrong password!"), ("nobody", PASSWORD), ("gone", PASSWORD), ("hunter2 my secret", "x")]
    answers = {(Browser(app).sign_in(*one).status_code, Browser(app).sign_in(*one).text) for one in tries[:2]}
    answers |= {(refused.status_code, refused.text) for refused in (Browser(app).sign_in(*one) for one in tries[2:])}
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert [kind for kind, _ in trail()] == 6 * ["sign-in failed"]
    assert "hunter2" not in str(trail())
    assert {actor for _, actor in trail()} > {"mueller", "gone"}


def test_a_session_begins_under_a_new_token_and_the_planted_one_stays_worthless(
    app: Guard, add: Callable[..., int]
) -> None:
    add("mueller")
    victim = Browser(app)
    victim.cookies.set("regionmir", "planted-by-somebody", domain="localhost.local", path="/")
    victim.sign_in("mueller", PASSWORD)
    attacker = Browser(app)
    attacker.cookies.set("regionmir", "planted-by-somebody", domain="localhost.local", path="/")
    assert attacker.get("/who").status_code == 401


def test_signing_in_again_ends_the_session_before(reader: Browser, app: Guard) -> None:
    old = token_of(reader)
    reader.sign_in("mueller", PASSWORD)
    assert token_of(reader) != old
    assert Browser(app).get("/who", cookie=f"regionmir={old}").status_code == 401
    assert reader.who()["name"] == "mueller"


def test_the_database_does_not_hold_what_the_browser_holds(reader: Browser, database: Database) -> None:
    with database.session() as session:
        rows = (
            session.execute(text("SELECT * FROM web_session")).all()
            + session.execute(text("SELECT * FROM audit_event")).all()
        )
    assert rows
    assert token_of(reader) not in str(rows)
    assert PASSWORD not in str(rows)


def test_signing_out_ends_the_session_for_every_holder_of_the_cookie(
    reader: Browser, app: Guard, trail: Callable[[], list[tuple[str, str]]]
) -> None:
    token, csrf = token_of(reader), reader.who()["csrf"]
    page = reader.get("/sign-in").text
    assert "mueller" in page
    assert csrf in page
    out = reader.post("/sign-out", {"csrf": csrf})
    assert (out.status_code, out.headers["location"]) == (303, "/sign-in?out=true")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert out.headers["clear-site-data"] == '"cache"'
    assert Browser(app).get("/who", cookie=f"regionmir={token}").status_code == 401
    assert "signed out" in reader.get("/sign-in?out=true").text
    assert trail() == [("signed in", "mueller"), ("signed out", "mueller")]


@pytest.mark.parametrize("past", ["seen_at = now() - interval '31 minutes'", "ends_at = now() - interval '1 second'"])
def test_a_session_ends_unused_after_half_an_hour_and_used_after_a_working_day(
    reader: Browser, database: Database, past: str
) -> None:
    assert reader.who()["name"] == "mueller"
    with database.session() as session:
        session.execute(text(f"UPDATE web_session SET {past}"))
    assert reader.get("/who").status_code == 401


def test_a_session_in_use_does_not_become_idle(reader: Browser, database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE web_session SET seen_at = now() - interval '29 minutes'"))
    reader.who()
    with database.session() as session:
        idle = session.execute(text("SELECT extract(epoch FROM now() - seen_at) FROM web_session")).scalar_one()
    assert idle < 60


def test_sessions_that_are_over_are_forgotten(reader: Browser, database: Database, app: Guard) -> None:
    with database.session() as session:
        session.execute(text("UPDATE web_session SET seen_at = now() - interval '31 minutes'"))
    Browser(app).sign_in("mueller", PASSWORD)
    with database.session() as session:
        assert session.execute(text("SELECT count(*) FROM web_session")).scalar_one() == 1


def test_a_role_and_a_lock_count_from_the_next_request_on(reader: Browser, database: Database) -> None:
    with database.session() as session:
        (user,) = users.named(session, "mueller")
        users.set_rights(session, user.pk, Role.VIEWER, identified=True)
    assert (reader.who()["may_write"], reader.who()["disclosure"]) == (False, "pseudonymous")
    with database.session() as session:
        users.set_disabled(session, user.pk, True)
    assert reader.get("/who").status_code == 401


def test_pages_of_administrators_need_an_administrator(reader: Browser, app: Guard, add: Callable[..., int]) -> None:
    assert reader.get("/admin").status_code == 403
    add("chief", Role.ADMIN)
    chief = Browser(app)
    chief.sign_in("chief", PASSWORD)
    assert chief.get("/admin").json() == {"name": "chief"}


def test_a_viewer_may_ask_and_not_write(app: Guard, add: Callable[..., int]) -> None:
    add("guest")
    guest = Browser(app)
    guest.sign_in("guest", PASSWORD)
    csrf = guest.who()["csrf"]
    assert guest.post("/write", {"csrf": csrf}).status_code == 403
    assert guest.post("/ask/similar", {"csrf": csrf}).json() == {"name": "guest"}


def test_a_change_needs_the_value_of_its_session_in_form_or_header(reader: Browser) -> None:
    csrf = reader.who()["csrf"]
    assert reader.post("/write", {"a": "1", "csrf": csrf}).json()["body"] == f"a=1&csrf={csrf}"
    header = {"X-CSRF-Token": csrf, "Content-Type": "application/json"}
    assert reader.request("POST", "/write", header, content=b'{"a": 1}').json()["body"] == '{"a": 1}'


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({}, b""),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=1"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"csrf=00"),
        ({"X-CSRF-Token": "00"}, b""),
        ({"Content-Type": "text/plain"}, b"csrf={csrf}"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"csrf={csrf}"),
    ],
)
def test_a_change_without_that_value_is_refused(reader: Browser, headers: dict[str, str], content: bytes) -> None:
    content = content.replace(b"{csrf}", reader.who()["csrf"].encode())
    for path in ("/write", "/sign-out", "/ask/similar"):
        assert reader.request("POST", path, headers, content=content).status_code == 403
    assert reader.who()["name"] == "mueller"


def test_the_value_of_another_session_is_refused(reader: Browser, app: Guard) -> None:
    other = Browser(app)
    other.sign_in("mueller", PASSWORD)
    assert reader.post("/write", {"csrf": other.who()["csrf"]}).status_code == 403


@pytest.mark.parametrize("foreign", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_foreign_page_neither_signs_in_nor_writes(reader: Browser, app: Guard, foreign: dict[str, str]) -> None:
    assert reader.post("/write", {"csrf": reader.who()["csrf"]}, **foreign).status_code == 403
    stranger = Browser(app)
    assert stranger.sign_in("mueller", PASSWORD, **foreign).status_code == 403
    assert not stranger.cookies


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example"])
def test_a_rebound_name_gets_nothing_even_with_a_session(reader: Browser, host: str) -> None:
    assert reader.get("/who", host=host).status_code == 421
    assert reader.sign_in("mueller", PASSWORD, host=host, Origin=f"http://{host}").status_code == 421


def test_after_too_many_failures_even_the_right_password_has_to_wait(
    app: Guard, add: Callable[..., int], database: Database
) -> None:
    add("mueller")
    add("schmidt")
    for _ in range(MOST_FAILURES[0]):
        assert Browser(app, "192.0.2.7").sign_in("mueller", "wrong password!").status_code == 401
    late = Browser(app, "192.0.2.7").sign_in("mueller", PASSWORD)
    assert (late.status_code, late.headers["retry-after"]) == (429, "900")
    assert Browser(app, "192.0.2.8").sign_in("mueller", PASSWORD).status_code == 303
    assert Browser(app, "192.0.2.7").sign_in("schmidt", PASSWORD).status_code == 303


@pytest.mark.parametrize(("actor", "address", "which"), [("schmidt", "192.0.2.7", 1), ("mueller", "192.0.2.9", 2)])
def test_many_names_from_one_address_and_one_name_from_many_are_throttled(
    app: Guard, add: Callable[..., int], database: Database, actor: str, address: str, which: int
) -> None:
    add("mueller")
    add("schmidt")
    failures = [("x", "192.0.2.7"), ("mueller", "192.0.2.8")][which - 1]
    with database.session() as session:
        for _ in range(MOST_FAILURES[which]):
            audit.record(session, "sign-in failed", actor=failures[0], address=failures[1], detail={})
    assert Browser(app, address).sign_in(actor, PASSWORD).status_code == 429


def test_names_that_do_not_exist_are_throttled_alike(app: Guard) -> None:
    answers = [Browser(app).sign_in("nobody", "wrong password!").status_code for _ in range(MOST_FAILURES[0] + 1)]
    assert answers == [401] * MOST_FAILURES[0] + [429]


def test_nothing_secret_is_logged(
    app: Guard, add: Callable[..., int], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    add("mueller")
    with caplog.at_level(logging.DEBUG):
        browser = Browser(app)
        browser.sign_in("mueller", "a wrong secret")
        browser.sign_in("mueller", PASSWORD)
        browser.post("/write", {"csrf": "no"})
    said = caplog.text + "".join(capsys.readouterr())
    assert "sign-in failed" in said
    for secret in ("a wrong secret", PASSWORD, token_of(browser), "mueller"):
        assert secret not in said


def test_while_the_database_is_away_the_door_says_so(opened: Callable[..., Guard], tmp_path: Any) -> None:
    from tests.support.doors import door

    app, sign_in = door(f"postgresql:///none?host={tmp_path}", signin="local")
    browser = Browser(app)
    browser.cookies.set("regionmir", "x", domain="localhost.local", path="/")
    answer = browser.get("/who")
    sign_in.close()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def robot(token: str, address: str) -> WebCaller | None:
    known = token == "right"
    scopes = frozenset({Scope.WRITE})
    return WebCaller("robot", Role.READER, Disclosure.IDENTIFIED, scopes, address, way="token") if known else None


@pytest.mark.parametrize("signin", ["none", "local"])
def test_a_bearer_token_speaks_for_its_caller_without_cookie_or_csrf(opened: Callable[..., Guard], signin: str) -> None:
    browser = Browser(opened(robot, signin=signin))
    assert browser.who(authorization="Bearer right")["name"] == "robot"
    assert browser.request("POST", "/write", {"Authorization": "Bearer right"}).json()["name"] == "robot"
    for wrong in ("Bearer wrong", "Bearer ", "bearer x"):
        assert browser.get("/who", authorization=wrong).status_code == 401


def test_a_bearer_token_means_nothing_where_nobody_looks_it_up(opened: Callable[..., Guard]) -> None:
    assert Browser(opened()).get("/who", authorization="Bearer right").status_code == 401


def test_without_sign_in_the_loopback_is_anonymous_pseudonymous_and_read_only(opened: Callable[..., Guard]) -> None:
    browser = Browser(opened())
    who = browser.who()
    assert (who["name"], who["disclosure"], who["may_write"], who["csrf"]) == ("anonymous", "pseudonymous", False, "")
    assert browser.post("/write").status_code == 403
    assert browser.request("DELETE", "/who").status_code == 403
    assert browser.post("/ask/similar").status_code == 200
    assert browser.get("/admin").status_code == 403
    assert browser.post("/sign-in", {"name": "a", "password": "b"}).status_code == 404
    assert "Nobody signs in here" in browser.get("/sign-in").text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_without_sign_in_a_proxy_on_the_same_machine_lets_nobody_in(opened: Callable[..., Guard], header: str) -> None:
    assert Browser(opened()).get("/who", **{header: "192.0.2.7"}).status_code == 403
    assert Browser(opened(http_without_signin=True)).get("/who", **{header: "192.0.2.7"}).status_code == 200


def test_probes_and_the_style_need_no_sign_in_and_nothing_else_does(app: Guard) -> None:
    for path in ("/healthz", "/readyz", "/static/style.css", "/static/icon.svg"):
        assert Browser(app).get(path).status_code == 404  # the door let it through to an application without them
    for path in ("/metrics", "/sign-in/other", "/healthz/x", "/who"):
        assert Browser(app).get(path).status_code == 401
