"""`regionmir users` over a real database."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from db import audit, users, web_sessions
from db.engine import Database
from regionmir.admin.main import app
from regionmir.admin.web_checks import web_access
from regionmir.core.errors import InvalidIdentifier, RegionMirError
from regionmir.core.records import Role, Way
from regionmir.core.settings import load_settings
from regionmir.web.signin.passwords import is_password

PASSWORD = "correct horse battery"


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path) -> Callable[..., Result]:  # type: ignore[no-untyped-def]
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("REGIONMIR_DATABASE_URL", url)
    monkeypatch.setenv("REGIONMIR_DATA_DIR", str(tmp_path))

    def run_users(*words: str, password: str | None = PASSWORD) -> Result:
        given = ["--password-stdin"] if words[0] in ("add", "passwd") else []
        result = CliRunner().invoke(app, ["users", *words, *given], input=f"{password}\n")
        if isinstance(result.exception, RegionMirError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return run_users


def test_a_user_is_added_given_another_role_and_disabled_and_all_is_audited(
    run: Callable[..., Result], database: Database
) -> None:
    run("add", "Mueller")
    run("role", "mueller", "reader", "--identified")
    with database.session() as session:
        (user,) = users.listing(session)
        found = users.with_password(session, "mueller")
        web_sessions.start(session, "hash", user.pk, "", idle_s=60, lasts_s=60)
    assert (user.name, user.role, user.identified) == ("mueller", Role.READER, True)
    assert found is not None
    assert is_password(found[1], PASSWORD)
    assert "1 sessions ended" in run("disable", "mueller").output
    assert json.loads(run("list", "--json").output)[0]["disabled"]
    assert "nothing: disabled" in run("list").output
    run("disable", "mueller", "--undo")
    with database.session() as session:
        events = audit.listing(session)
        assert web_sessions.find(session, "hash", idle_s=60, touch_s=60) is None
    assert [event.kind for event in events] == ["user enabled", "user disabled", "role changed", "user added"]
    assert PASSWORD not in str(events)
    assert "argon2" not in str(events)


def test_a_new_password_ends_the_sessions(run: Callable[..., Result], database: Database) -> None:
    run("add", "mueller")
    with database.session() as session:
        (user,) = users.listing(session)
        web_sessions.start(session, "hash", user.pk, "", idle_s=60, lasts_s=60)
    run("passwd", "mueller", password="another horse battery")
    with database.session() as session:
        found = users.with_password(session, "mueller")
        assert web_sessions.find(session, "hash", idle_s=60, touch_s=60) is None
    assert found is not None
    assert is_password(found[1], "another horse battery")


def test_a_second_user_of_a_name_an_unknown_one_and_a_weak_password_are_refused(
    run: Callable[..., Result], database: Database
) -> None:
    run("add", "mueller")
    with pytest.raises(RegionMirError, match="there is a user mueller"):
        run("add", "MUELLER")
    with pytest.raises(RegionMirError, match="no such user"):
        run("disable", "schmidt")
    with pytest.raises(InvalidIdentifier, match="12 to 256"):
        run("add", "schmidt", password="short")
    with database.session() as session:
        assert [user.name for user in users.listing(session)] == ["mueller"]


def test_users_of_one_name_are_told_apart_by_who_vouches(run: Callable[..., Result], database: Database) -> None:
    run("add", "mueller")
    with database.session() as session:
        users.put_external(session, Way.PROXY, "mueller", "mueller")
    with pytest.raises(RegionMirError, match="--way"):
        run("role", "mueller", "admin")
    run("role", "mueller", "admin", "--way", "proxy")
    with database.session() as session:
        assert {user.way: user.role for user in users.named(session, "mueller")} == {
            Way.LOCAL: Role.VIEWER,
            Way.PROXY: Role.ADMIN,
        }


def test_doctor_says_where_nobody_could_sign_in(run: Callable[..., Result]) -> None:
    settings = load_settings(signin="local")
    assert "regionmir users add" in list(web_access(settings))[-1].advice
    run("add", "mueller")
    assert "1 can sign in" in list(web_access(settings))[-1].found
