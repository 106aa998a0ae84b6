"""`regionmir deliveries`: results on their way to other AEs, and what to do about those that were refused."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_session, print_json
from regionmir.core.errors import ConfigurationError

if TYPE_CHECKING:
    from db.engine import Session

app = typer.Typer(no_args_is_help=True, help="Results on their way to other AEs.")

_STATES = ("waiting", "sending", "delivered", "dead", "dropped")
_NUMBERS = typer.Argument(None, metavar="[NUMBER]...", help="Numbers of deliveries, as `deliveries list` shows them.")
_TO = typer.Option(None, "--to", metavar="AE_TITLE", help="All to this destination.")
_ALL = typer.Option(False, "--all", help="All that are dead or wait.")


class _Change(Protocol):
    def __call__(self, session: "Session", *, pks: list[int], destination: str | None, everything: bool) -> int: ...


@app.command("list")
def list_(
    state: str | None = typer.Option(None, help=f"Only those in this state: {', '.join(_STATES)}."),
    to: str | None = _TO,
    limit: int = typer.Option(100, min=1, help="How many, the newest first."),
    as_json: bool = JSON,
) -> None:
    """Print deliveries, newest first. Dead ones were refused for good and wait for an operator.

    Example: regionmir deliveries list --state dead
    """
    from db import deliveries

    if state is not None and state not in _STATES:
        raise ConfigurationError(f"--state must be one of {', '.join(_STATES)}, not {state[:40]!r}")
    with open_session() as session:
        wanted = deliveries.DeliveryState(state) if state else None
        found = deliveries.listing(session, state=wanted, destination=to, limit=limit)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        typer.echo("no deliveries")
        return
    table = Table("number", "to", "kind", "state", "tried", "committed", "why", box=None, pad_edge=False)
    for one in found:
        tried, committed = str(one.attempts), one.commitment or "-"
        table.add_row(str(one.pk), one.destination, one.kind, one.state.value, tried, committed, one.reason or "-")
    console.print(table)


@app.command()
def retry(numbers: list[int] = _NUMBERS, to: str | None = _TO, everything: bool = _ALL, as_json: bool = JSON) -> None:
    """Try dead deliveries again, and waiting ones at once.

    Example: regionmir deliveries retry --to ORTHANC
    """
    from db import deliveries

    _change("retried", deliveries.retry, numbers, to, everything, as_json)


@app.command()
def drop(numbers: list[int] = _NUMBERS, to: str | None = _TO, everything: bool = _ALL, as_json: bool = JSON) -> None:
    """Give up deliveries that are dead or wait. They are not made again.

    Example: regionmir deliveries drop 17 18
    """
    from db import deliveries

    _change("dropped", deliveries.drop, numbers, to, everything, as_json)


def _change(
    done: str, change: _Change, numbers: list[int] | None, to: str | None, everything: bool, as_json: bool
) -> None:
    from db import audit

    if sum((bool(numbers), to is not None, everything)) != 1:
        raise ConfigurationError("say which: NUMBERS, or --to AE_TITLE, or --all")
    with open_session() as session:
        count = change(session, pks=numbers or [], destination=to, everything=everything)
        detail = {"deliveries": count, "to": to or ""}
        audit.record(session, f"deliveries {done}", actor="operator", address="", detail=detail)
    if as_json:
        print_json({done: count})
    else:
        typer.echo(f"{count} {done}")
