"""Addresses, cookies, paths, forms, groups and passwords."""

import asyncio
from typing import Any

import pytest
from starlette.datastructures import Headers, MutableHeaders

from db.users import User
from regionmir.core.errors import InvalidIdentifier
from regionmir.core.records import Disclosure, Role, Way
from regionmir.core.settings import Settings
from regionmir.web.signin.addresses import client_address
from regionmir.web.signin.answers import own_path
from regionmir.web.signin.caller import anonymous, caller_of
from regionmir.web.signin.cookies import csrf_of, is_csrf_of, session_cookie
from regionmir.web.signin.errors import SignInRefused
from regionmir.web.signin.exposure import proxies
from regionmir.web.signin.forms import MAX_BYTES, form_field
from regionmir.web.signin.identity import Granted, checked_identity, groups_of
from regionmir.web.signin.passwords import hash_password, is_outdated, is_password, parse_name


def scope_from(address: str, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    return {"type": "http", "client": (address, 1), "headers": headers}


@pytest.mark.parametrize(
    ("address", "forwarded", "found"),
    [
        ("10.0.0.1", ("192.0.2.7",), "192.0.2.7"),
        ("10.0.0.1", ("6.6.6.6, 192.0.2.7, 10.0.0.2",), "192.0.2.7"),
        ("10.0.0.1", ("6.6.6.6", "192.0.2.7"), "192.0.2.7"),
        ("10.0.0.1", ("nonsense",), "10.0.0.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("::ffff:10.0.0.1", ("192.0.2.7",), "192.0.2.7"),
        ("192.0.2.9", ("6.6.6.6",), "192.0.2.9"),
    ],
)
def test_the_browser_is_the_last_address_that_no_proxy_of_ours_has(
    address: str, forwarded: tuple[str, ...], found: str
) -> None:
    assert client_address(scope_from(address, *forwarded), proxies(Settings(http_proxies="10.0.0.0/24"))) == found


def test_cookies_are_read_by_no_script_and_sent_by_no_foreign_page() -> None:
    headers = MutableHeaders()
    session_cookie(secure=True).write(headers, "abc")
    session_cookie(secure=False).write(headers, "abc")
    secure, plain = headers.getlist("set-cookie")
    assert secure == "__Host-regionmir=abc; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert plain == "regionmir=abc; Path=/; HttpOnly; SameSite=Lax"


def test_with_tls_a_cookie_that_a_neighbour_could_plant_is_not_read() -> None:
    headers = Headers({"cookie": "regionmir=planted; other=1"})
    assert session_cookie(secure=True).read(headers) == ""
    assert session_cookie(secure=False).read(headers) == "planted"


def test_the_csrf_value_belongs_to_one_session_and_does_not_tell_its_token() -> None:
    assert is_csrf_of("token", csrf_of("token"))
    assert not is_csrf_of("other", csrf_of("token"))
    assert not is_csrf_of("token", "")
    assert not is_csrf_of("token", "ü")
    assert "token" not in csrf_of("token")


@pytest.mark.parametrize(
    "path",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\r\nSet-Cookie: x=1",
     "/" + 3000 * "a", "/\x00", "/ü"],
)  # fmt: skip
def test_after_sign_in_nobody_is_sent_elsewhere(path: str) -> None:
    assert own_path(path) == "/"


def test_after_sign_in_one_comes_back_to_where_one_wanted() -> None:
    assert own_path("/studies/2.25.1?page=2") == "/studies/2.25.1?page=2"


def read(content_type: str, *parts: bytes) -> tuple[str, bytes]:
    """Return the field `csrf`, and the body that the route reads afterwards."""

    async def run() -> tuple[str, bytes]:
        messages = [
            {"type": "http.request", "body": part, "more_body": n + 1 < len(parts)} for n, part in enumerate(parts)
        ]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        field, again = await form_field(Headers({"content-type": content_type}), receive, "csrf")
        body, more = b"", True
        while more:
            message = await again()
            body, more = body + message["body"], message["more_body"]
        return field, body

    return asyncio.run(run())


def test_a_form_is_read_and_still_there_for_the_route() -> None:
    assert read("application/x-www-form-urlencoded; charset=utf-8", b"a=1&cs", b"rf=x%2B") == ("x+", b"a=1&csrf=x%2B")


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "text/plain", ""])
def test_only_urlencoded_forms_state_the_value_in_their_body(content_type: str) -> None:
    assert read(content_type, b"csrf=x") == ("", b"csrf=x")


def test_a_form_that_is_too_large_is_not_kept_but_passed_on() -> None:
    part = MAX_BYTES * b"a"
    assert read("application/x-www-form-urlencoded", b"csrf=x&a=", part, part) == ("", b"csrf=x&a=" + part + part)


GROUPS = groups_of(
    Settings(viewer_groups="clinic", reader_groups="radiology, chest", admin_groups="pacs", identified_groups="chest")
)


@pytest.mark.parametrize(
    ("has", "granted"),
    [
        (("clinic",), Granted(Role.VIEWER, False)),
        (("radiology",), Granted(Role.READER, False)),
        (("chest", "clinic"), Granted(Role.READER, True)),
        (("pacs", "radiology"), Granted(Role.ADMIN, False)),
    ],
)
def test_groups_decide_the_role(has: tuple[str, ...], granted: Granted) -> None:
    assert GROUPS.granted(has) == granted


@pytest.mark.parametrize("has", [(), ("finance",), ("Clinic",)])
def test_who_is_in_no_group_that_may_sign_in_is_refused(has: tuple[str, ...]) -> None:
    with pytest.raises(SignInRefused, match="may not use"):
        GROUPS.granted(has)


def test_without_groups_in_the_settings_groups_decide_nothing() -> None:
    assert groups_of(Settings()).granted(("pacs",)) is None
    assert groups_of(Settings(admin_groups="pacs")).granted(()) == Granted(Role.VIEWER, False)


def test_a_name_from_outside_is_shown_without_control_characters() -> None:
    assert checked_identity(Way.OIDC, "i|s", " A\x1b[31m\nB ", ()).name == "A[31mB"
    assert checked_identity(Way.OIDC, "i|s", "\n", ()).name == "i|s"
    for subject in ("", "a\nb", 600 * "x"):
        with pytest.raises(SignInRefused):
            checked_identity(Way.PROXY, subject, "name", ())


def user(role: Role, *, identified: bool) -> User:
    import datetime as dt

    return User(1, "mueller", Way.LOCAL, "mueller", role, identified, False, dt.datetime.now(dt.UTC), None)


@pytest.mark.parametrize(
    ("role", "identified", "disclosure", "may_write", "is_admin"),
    [
        (Role.VIEWER, False, Disclosure.PSEUDONYMOUS, False, False),
        (Role.VIEWER, True, Disclosure.PSEUDONYMOUS, False, False),
        (Role.READER, False, Disclosure.PSEUDONYMOUS, True, False),
        (Role.READER, True, Disclosure.IDENTIFIED, True, False),
        (Role.ADMIN, False, Disclosure.PSEUDONYMOUS, True, True),
        (Role.ADMIN, True, Disclosure.IDENTIFIED, True, True),
    ],
)
def test_what_each_role_may_do_and_see(
    role: Role, identified: bool, disclosure: Disclosure, may_write: bool, is_admin: bool
) -> None:
    caller = caller_of(user(role, identified=identified), "192.0.2.7", "x")
    assert (caller.disclosure, caller.may_write, caller.is_admin) == (disclosure, may_write, is_admin)


def test_anonymous_sees_pseudonyms_and_writes_nothing() -> None:
    caller = anonymous("127.0.0.1")
    assert (caller.disclosure, caller.may_write, caller.is_admin) == (Disclosure.PSEUDONYMOUS, False, False)


def test_a_password_is_kept_as_argon2id_and_nothing_else_matches() -> None:
    kept = hash_password("correct horse battery", "mueller")
    assert kept.startswith("$argon2id$")
    assert "correct" not in kept
    assert is_password(kept, "correct horse battery")
    assert not is_password(kept, "correct horse batterx")
    assert not is_password(None, "nobody's password")
    assert not is_outdated(kept)


@pytest.mark.parametrize("password", ["short", 300 * "abcd", "aaaaaaaaaaaaaaaaaa", "Dr.Mueller-Long"])
def test_easy_passwords_are_refused(password: str) -> None:
    with pytest.raises(InvalidIdentifier):
        hash_password(password, "dr.mueller-long")


@pytest.mark.parametrize("name", ["", "a b", "müller", "-x", "x" * 65, "a\nb"])
def test_names_have_one_form(name: str) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_name(name)
    assert parse_name(" Mueller.A@ct-1 ") == "mueller.a@ct-1"
