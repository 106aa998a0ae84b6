"""Sign-in by a reverse proxy that says who is asking."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from db import users
from db.engine import Database
from regionmir.core.records import Role, Way
from regionmir.web.guard import Guard
from tests.support.doors import Browser

PROXY = "10.0.0.5"
MUELLER = {"X_Forwarded_User": "mueller", "X_Forwarded_For": "192.0.2.7"}


@pytest.fixture
def app(opened: Callable[..., Guard]) -> Guard:
    return opened(signin="proxy", http_proxies="10.0.0.0/28", reader_groups="chest", identified_groups="chest")


def test_whom_our_proxy_names_is_signed_in_once_and_audited(
    app: Guard, trail: Callable[[], list[tuple[str, str]]]
) -> None:
    browser = Browser(app, PROXY)
    for _ in range(3):
        who = browser.who(**MUELLER, X_Forwarded_Groups="clinic, chest")
    assert (who["name"], who["role"], who["disclosure"], who["way"]) == ("mueller", "reader", "identified", "proxy")
    assert who["address"] == "192.0.2.7"
    assert trail() == [("user added", "proxy"), ("signed in", "mueller")]


@pytest.mark.parametrize("address", ["192.0.2.9", "10.0.0.99", "127.0.0.1"])
def test_the_header_counts_from_our_proxy_only(app: Guard, address: str) -> None:
    assert Browser(app, address).get("/who", **MUELLER).status_code == 403


def test_a_session_alone_lets_nobody_in_past_the_proxy(app: Guard) -> None:
    browser = Browser(app, PROXY)
    browser.who(**MUELLER)
    direct = Browser(app, "192.0.2.9", cookies=browser.cookies)
    assert direct.get("/who").status_code == 403
    assert browser.get("/who").status_code == 401


def test_nobody_and_two_are_refused(app: Guard) -> None:
    for users_named in ([], [("X-Forwarded-User", "")], [("X-Forwarded-User", "a"), ("X-Forwarded-User", "b")]):
        import httpx

        assert Browser(app, PROXY).request("GET", "/who", httpx.Headers(users_named)).status_code == 401  # type: ignore[arg-type]


def test_another_name_is_another_session(app: Guard) -> None:
    browser = Browser(app, PROXY)
    mine = browser.who(**MUELLER)
    other = browser.who(X_Forwarded_User="schmidt")
    assert (other["name"], other["csrf"] != mine["csrf"]) == ("schmidt", True)


def test_groups_that_change_count_at_once_and_are_audited(
    app: Guard, trail: Callable[[], list[tuple[str, str]]]
) -> None:
    browser = Browser(app, PROXY)
    assert browser.who(**MUELLER, X_Forwarded_Groups="chest")["role"] == "reader"
    assert browser.who(**MUELLER)["role"] == "viewer"
    assert ("role changed", "proxy") in trail()


def test_a_change_needs_the_value_of_its_page_here_too(app: Guard) -> None:
    browser = Browser(app, PROXY)
    csrf = browser.who(**MUELLER, X_Forwarded_Groups="chest")["csrf"]
    headers = MUELLER | {"X_Forwarded_Groups": "chest"}
    assert browser.post("/write", {}, **headers).status_code == 403
    assert browser.post("/write", {"csrf": csrf}, **headers).json()["name"] == "mueller"


def test_a_user_that_we_disabled_stays_out(app: Guard, database: Database) -> None:
    browser = Browser(app, PROXY)
    browser.who(**MUELLER)
    with database.session() as session:
        user = users.find(session, Way.PROXY, "mueller")
        assert user is not None
        users.set_disabled(session, user.pk, True)
    assert browser.get("/who", **MUELLER).status_code == 403


def test_who_is_in_no_group_that_may_sign_in_stays_out_and_the_trail_does_not_grow_without_end(
    opened: Callable[..., Guard], database: Database
) -> None:
    app = opened(signin="proxy", http_proxies=PROXY, viewer_groups="clinic")
    statuses = [Browser(app, PROXY).get("/who", **MUELLER).status_code for _ in range(25)]
    assert statuses == [403] * 20 + [429] * 5
    with database.session() as session:
        assert session.execute(text("SELECT count(*) FROM audit_event")).scalar_one() == 20


def test_without_groups_an_operator_decides(opened: Callable[..., Guard], database: Database) -> None:
    browser = Browser(opened(signin="proxy", http_proxies=PROXY), PROXY)
    assert browser.who(**MUELLER)["role"] == "viewer"
    with database.session() as session:
        user = users.find(session, Way.PROXY, "mueller")
        assert user is not None
        users.set_rights(session, user.pk, Role.ADMIN, identified=True)
    browser.cookies.clear()
    assert browser.who(**MUELLER)["role"] == "admin"


def test_a_name_beyond_ascii_arrives_whole(app: Guard) -> None:
    who = Browser(app, PROXY).request("GET", "/who", {"X-Forwarded-User": "müller".encode()})  # type: ignore[dict-item]
    assert who.json()["name"] == "müller"
