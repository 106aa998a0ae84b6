"""`regionmir users`: who may sign in to the web process, and what each may do. Changes count from the next request."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_session, print_json
from regionmir.core.errors import InvalidIdentifier, RegionMirError
from regionmir.core.records import Role, Way

if TYPE_CHECKING:
    from db.engine import Session
    from db.users import User

app = typer.Typer(no_args_is_help=True, help="Who may sign in to the web process, and what each may do.")

_NAME = typer.Argument(metavar="NAME", help="Name of the user.")
_WAY = typer.Option(None, help="Who vouches for the user, where several users have this name.")
_STDIN = typer.Option(False, "--password-stdin", help="Read the password from standard input instead of asking.")


@app.command()
def add(
    name: str = _NAME,
    role: Role = typer.Option(Role.VIEWER, help="viewer looks, reader also writes, admin also administers."),
    identified: bool = typer.Option(False, help="As reader or admin, sees patients' identities."),
    password_stdin: bool = _STDIN,
) -> None:
    """Add a user who signs in with a password.

    Example: regionmir users add mueller --role reader
    """
    from db import audit, users
    from regionmir.web.signin.passwords import hash_password, parse_name

    parsed = parse_name(name)
    kept = hash_password(_password(password_stdin), parsed)
    with open_session() as session:
        if not users.add_local(session, parsed, kept, role, identified=identified):
            raise RegionMirError(f"there is a user {parsed}; see `regionmir users list`, `passwd` and `role`")
        detail = _detail(_one(session, parsed, Way.LOCAL))
        audit.record(session, "user added", actor="operator", address="", detail=detail)
    typer.echo(f"{parsed} added: {_rights(role, identified)}")


@app.command("list")
def list_(as_json: bool = JSON) -> None:
    """Print all users, those too for whom an OpenID provider or a proxy vouches.

    Example: regionmir users list
    """
    from db import users

    with open_session() as session:
        found = users.listing(session)
    if as_json:
        print_json([asdict(user) for user in found])
        return
    if not found:
        typer.echo("no users; see `regionmir users add --help`")
        return
    table = Table("name", "signs in by", "may", "last signed in", box=None, pad_edge=False)
    for user in found:
        rights = "nothing: disabled" if user.disabled else _rights(user.role, user.identified)
        table.add_row(user.name, user.way.value, rights, f"{user.signed_in_at:%F %R}" if user.signed_in_at else "never")
    console.print(table)


@app.command()
def passwd(name: str = _NAME, password_stdin: bool = _STDIN) -> None:
    """Set a new password and end all sessions of the user.

    Example: regionmir users passwd mueller
    """
    from db import audit, users, web_sessions
    from regionmir.web.signin.passwords import hash_password

    with open_session() as session:
        user = _one(session, name, Way.LOCAL)
    kept = hash_password(_password(password_stdin), user.name)
    with open_session() as session:
        users.set_password(session, user.pk, kept)
        ended = web_sessions.end_all(session, user.pk)
        audit.record(session, "password changed", actor="operator", address="", detail=_detail(user))
    typer.echo(f"{user.name}: new password; {ended} sessions ended")


@app.command("role")
def role_(
    name: str = _NAME,
    role: Role = typer.Argument(help="viewer, reader or admin."),
    identified: bool = typer.Option(False, help="As reader or admin, sees patients' identities."),
    way: Way | None = _WAY,
) -> None:
    """Set what a user may do. Where groups of a provider or proxy decide, they decide again at the next sign-in.

    Example: regionmir users role mueller admin
    """
    from db import audit, users

    with open_session() as session:
        user = _one(session, name, way)
        users.set_rights(session, user.pk, role, identified=identified)
        detail = _detail(_one(session, user.name, user.way))
        audit.record(session, "role changed", actor="operator", address="", detail=detail)
    typer.echo(f"{user.name}: {_rights(role, identified)}")


@app.command()
def disable(
    name: str = _NAME,
    undo: bool = typer.Option(False, "--undo", help="Let the user in again."),
    way: Way | None = _WAY,
) -> None:
    """Keep a user out and end all sessions; the audit trail keeps the name.

    Example: regionmir users disable mueller
    """
    from db import audit, users, web_sessions

    with open_session() as session:
        user = _one(session, name, way)
        users.set_disabled(session, user.pk, not undo)
        ended = 0 if undo else web_sessions.end_all(session, user.pk)
        kind = "user enabled" if undo else "user disabled"
        audit.record(session, kind, actor="operator", address="", detail=_detail(user) | {"disabled": not undo})
    typer.echo(f"{user.name} may sign in again" if undo else f"{user.name} disabled; {ended} sessions ended")


def _one(session: "Session", name: str, way: Way | None) -> "User":
    """Return the one user of this name. Raises `RegionMirError` where there is none, or more than one."""
    from db import users

    wanted = name.strip()
    known = {found.pk: found for text in {wanted, wanted.lower()} for found in users.named(session, text)}
    found = [user for user in known.values() if way in (None, user.way)]
    if len(found) > 1:
        raise RegionMirError(f"{len(found)} users have this name; say which by --way: `regionmir users list`")
    if not found:
        raise RegionMirError("there is no such user; see `regionmir users list`")
    return found[0]


def _password(from_stdin: bool) -> str:
    """Return a password that was typed twice, or the first line of standard input; never one on the command line."""
    if not from_stdin:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise InvalidIdentifier("standard input holds no password")
    return line


def _rights(role: Role, identified: bool) -> str:
    sees = "identities" if identified and role is not Role.VIEWER else "pseudonyms"
    return f"{role.value}, sees {sees}"


def _detail(user: "User") -> dict[str, Any]:
    from regionmir.web.signin.accounts import rights_of

    return rights_of(user)
