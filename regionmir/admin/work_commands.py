"""`regionmir reconcile` and `regionmir reindex`: set work going again."""

import datetime as dt
import time
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from regionmir.admin.context import JSON, console, open_database, print_json, settings_in_force
from regionmir.admin.reconcile_pacs import reconcile_pacs
from regionmir.core.errors import BrokerUnavailable, ConfigurationError
from regionmir.core.identifiers import parse_uid
from regionmir.core.records import InstanceState
from regionmir.core.settings import Settings

if TYPE_CHECKING:
    from db.engine import Database

_POLL_S = 0.5
_DATES = ["%Y-%m-%d", "%Y%m%d"]


def reconcile(
    pacs: str | None = typer.Option(None, metavar="NAME", help="Compare with this archive (`regionmir pacs list`)."),
    repair: bool = typer.Option(False, "--repair", help="Fetch what is missing here, hide what is gone there."),
    agree: bool = typer.Option(False, "--agree", help="Hide all that is gone, however many they are."),
    since: dt.datetime | None = typer.Option(None, formats=_DATES, help="First study date; only for plain DICOM."),
    until: dt.datetime | None = typer.Option(None, formats=_DATES, help="Last study date; only for plain DICOM."),
    as_json: bool = JSON,
) -> None:
    """Give back what dead workers held, and wake the workers if anything waits. The light worker does this by itself.

    With --pacs: compare what is here with what an archive has, both ways. Exit code 1 where something is left.

    Examples: regionmir reconcile; regionmir reconcile --pacs main --repair
    """
    if pacs is not None:
        first, last = since and since.date(), until and until.date()
        reconcile_pacs(pacs, first, last, repair=repair, agree=agree, as_json=as_json)
        return
    if repair or agree or since or until:
        raise ConfigurationError("--repair, --agree, --since and --until need --pacs NAME")
    _give_back(as_json)


def _give_back(as_json: bool) -> None:
    from regionmir.queue import CeleryQueue
    from workers.reconcile import reconcile as put_right

    settings = settings_in_force()
    queue = CeleryQueue(settings.require_redis_url())
    try:
        with open_database(settings) as database:
            found = put_right(database, queue, lease_s=settings.lease_s, delivery_lease_s=settings.delivery_lease_s)
    finally:
        queue.close()
    if as_json:
        print_json({"requeued": found.requeued, "waiting": found.waiting, "woken": found.woken})
    else:
        typer.echo(f"{found.requeued} given back, {found.waiting} waiting")


def reindex(
    uids: list[str] = typer.Argument(None, metavar="[UID]...", help="SOP Instance, Series or Study Instance UIDs."),
    everything: bool = typer.Option(False, "--all", help="All that are indexed or failed."),
    state: InstanceState | None = typer.Option(None, help="All in this state: indexed, failed or unsupported."),
    wait: bool = typer.Option(False, "--wait", help="Show progress, and return when nothing waits any more."),
    as_json: bool = JSON,
) -> None:
    """Index instances again, for instance after a new model or a repaired failure.

    Example: regionmir reindex --state failed --wait
    """
    from db import audit, instances

    named = [parse_uid(uid) for uid in uids or []]
    if sum((bool(named), everything, state is not None)) != 1:
        raise ConfigurationError("say what to index again: UIDs, or --state STATE, or --all")
    settings = settings_in_force()
    with open_database(settings) as database:
        with database.session() as session:
            count = instances.reindex(session, uids=named, state=state, everything=everything)
            audit.record(session, "reindex", actor="operator", address="", detail={"instances": count})
        _wake(settings)
        if wait:
            _show_progress(database, count)
        with database.session() as session:
            counts = instances.counts_by_state(session)
    if as_json:
        print_json({"queued": count, "instances": counts})
    else:
        typer.echo(f"{count} queued; now {', '.join(f'{n} {name}' for name, n in counts.items())}")


def _wake(settings: Settings) -> None:
    """Wake the workers; without a broker they look into the table by themselves."""
    if settings.redis_url is None:
        return
    from regionmir.queue import CeleryQueue

    queue = CeleryQueue(settings.redis_url)
    try:
        queue.wake()
    except BrokerUnavailable as error:
        typer.echo(f"{error}; the workers will find the instances a little later", err=True)
    finally:
        queue.close()


def _show_progress(database: "Database", count: int) -> None:
    columns = (TextColumn("indexing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=count)
        while left := _unfinished(database):
            bar.update(task, completed=max(0, count - left))
            time.sleep(_POLL_S)


def _unfinished(database: "Database") -> int:
    from db import instances

    with database.session() as session:
        counts = instances.counts_by_state(session)
    return counts["received"] + counts["indexing"]


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(reconcile)
    app.command()(reindex)
