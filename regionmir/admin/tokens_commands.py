"""`regionmir tokens`: tokens by which programs ask the JSON API. Changes count from the next request on."""

import datetime as dt
import re
from dataclasses import asdict
from enum import StrEnum

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_session, print_json
from regionmir.core.errors import ConfigurationError, RegionMirError
from regionmir.core.records import Disclosure

app = typer.Typer(no_args_is_help=True, help="Tokens by which programs ask the JSON API.")

_NAME = typer.Argument(help="1 to 12 letters, digits, dots, hyphens: what logs and the audit trail call its holder.")
_NAMES = re.compile(r"[A-Za-z0-9.-]{1,12}", re.ASCII)
_LONGEST_DAYS = 3650


class _Scope(StrEnum):
    """What a token may do: `regionmir.web.signin.caller.Scope`, which the command line must not need to load."""

    QUERY = "query"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@app.command()
def add(
    name: str = _NAME,
    scope: list[_Scope] = typer.Option(
        [_Scope.QUERY, _Scope.READ],
        help="query: ask; read: see instances, pictures, answers; write: upload films; admin: delete. May be repeated.",
    ),
    disclosure: Disclosure = typer.Option(Disclosure.PSEUDONYMOUS, help="What answers reveal to its holder."),
    days: int = typer.Option(90, min=1, max=_LONGEST_DAYS, help="Days after which it expires."),
) -> None:
    """Make a token and print it, once: only a hash of it is kept.

    Example: regionmir tokens add research --scope query --scope read --days 30
    """
    from db import api_tokens, audit

    if not _NAMES.fullmatch(name) or name.lower() == "anonymous":
        raise ConfigurationError("a token's name is 1 to 12 letters, digits, dots or hyphens, and not `anonymous`")
    scopes = sorted({one.value for one in scope})
    with open_session() as session:
        token = api_tokens.add(session, name, scopes=scopes, disclosure=disclosure, lifetime=dt.timedelta(days=days))
        if token is None:
            raise RegionMirError(f"there is a token named {name}, perhaps a revoked one: choose another name")
        detail = {"name": name, "scopes": scopes, "disclosure": disclosure.value, "days": days}
        audit.record(session, "token added", actor="operator", address="", detail=detail)
    typer.echo(token)
    typer.echo(f"{name}: {' '.join(scopes)}, {disclosure.value}, for {days} days; it is not shown again", err=True)


@app.command("list")
def list_(as_json: bool = JSON) -> None:
    """Print all tokens, never the tokens themselves.

    Example: regionmir tokens list
    """
    from db import api_tokens

    with open_session() as session:
        found = api_tokens.listing(session)
    if as_json:
        print_json([{**asdict(token), "scopes": sorted(token.scopes)} for token in found])
        return
    if not found:
        typer.echo("no tokens; see `regionmir tokens add --help`")
        return
    table = Table("name", "may", "answers", "state", "expires", "last used", box=None, pad_edge=False)
    now = dt.datetime.now(dt.UTC)
    for token in found:
        state = "revoked" if token.revoked_at else "expired" if token.expired(now) else "good"
        used = f"{token.used_at:%Y-%m-%d %H:%M}" if token.used_at else "never"
        may = " ".join(sorted(token.scopes))
        table.add_row(token.name, may, token.disclosure.value, state, f"{token.expires_at:%Y-%m-%d}", used)
    console.print(table)


@app.command()
def revoke(name: str = typer.Argument(help="Name of the token.")) -> None:
    """Let a token count no more, from the next request on.

    Example: regionmir tokens revoke research
    """
    from db import api_tokens, audit

    with open_session() as session:
        if not api_tokens.revoke(session, name):
            raise RegionMirError("no token of this name counts; see `regionmir tokens list`")
        audit.record(session, "token revoked", actor="operator", address="", detail={"name": name})
    typer.echo(f"{name} revoked")
