"""Doors of the web process over a real database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher

from db import audit, users
from db.engine import Database
from regionmir.core.records import Role
from regionmir.web.guard import Guard
from regionmir.web.signin import passwords
from regionmir.web.signin.service import SignIn
from tests.support.doors import door, url_of

PASSWORD = "correct horse battery"


@pytest.fixture
def opened(database: Database) -> Iterator[Callable[..., Guard]]:
    """Return a function that opens a door on the test's database, under these settings."""
    made: list[SignIn] = []

    def open_door(find_bearer: Any = None, **settings: Any) -> Guard:
        app, sign_in = door(url_of(database), find_bearer, **settings)
        made.append(sign_in)
        return app

    yield open_door
    for sign_in in made:
        sign_in.close()


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in no time: what the real parameters are is tested with the passwords themselves."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobody.cache_clear()


@pytest.fixture
def kept(_cheap_hashes: None) -> str:
    """Return the hash of `PASSWORD`."""
    return passwords.hash_password(PASSWORD, "nobody")


@pytest.fixture
def add(database: Database, kept: str) -> Callable[..., int]:
    """Return a function that adds a local user with `PASSWORD` and returns the key."""

    def add_user(name: str, role: Role = Role.VIEWER, *, identified: bool = False) -> int:
        with database.session() as session:
            assert users.add_local(session, name, kept, role, identified=identified)
            (user,) = users.named(session, name)
        return user.pk

    return add_user


@pytest.fixture
def trail(database: Database) -> Callable[[], list[tuple[str, str]]]:
    """Return a function that returns kind and actor of the audited events, oldest first."""

    def read() -> list[tuple[str, str]]:
        with database.session() as session:
            return [(event.kind, event.actor) for event in reversed(audit.listing(session))]

    return read
