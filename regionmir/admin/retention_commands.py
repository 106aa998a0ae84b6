"""`regionmir retention`: what is kept for how long, and applying it now."""

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_database, print_json, settings_in_force
from regionmir.core.keeping import Kept

if TYPE_CHECKING:
    from db.peers import Peer
    from regionmir.core.settings import Settings

app = typer.Typer(no_args_is_help=True, help="What is kept, for how long, and of whom.")

_ALWAYS = {
    "regions and embeddings": "kept until their study is deleted",
    "pseudonyms": "kept for ever: they must not be given twice",
    "audit trail": "kept for ever: append-only, in a hash chain; archive it with `regionmir audit export`",
    "process logs": "to standard error, without patients' data: as journald or the container engine is set",
}


@app.command()
def show(as_json: bool = JSON) -> None:
    """Print the rules in force, what each AE has of its own, and what is kept now.

    Example: regionmir retention show
    """
    from db import peers, retention

    settings = settings_in_force()
    with open_database(settings) as database, database.session() as session:
        own = [peer for peer in peers.listing(session) if peer.storage is not None or peer.keep_days is not None]
        held = retention.held(session)
    rules = _rules(settings)
    if as_json:
        print_json({"rules": rules, "always": _ALWAYS, "ae_titles": {p.ae_title: _own(p) for p in own}, "held": held})
        return
    for name, value in {**rules, **_ALWAYS}.items():
        console.print(f"{name:<24} {value}", markup=False)
    for peer in own:
        console.print(f"{'objects of ' + peer.ae_title:<24} {_own(peer)}", markup=False)
    table = Table("AE title", *(kept.value for kept in Kept), box=None, pad_edge=False)
    for ae_title, counts in sorted(held.items()):
        table.add_row(ae_title, *(str(counts[kept.value]) for kept in Kept))
    console.print(table)


@app.command()
def run(
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done, and change nothing."),
    as_json: bool = JSON,
) -> None:
    """Apply the rules now; a light worker does so once a day. Every object reduced or removed is in the audit trail.

    Files go an hour after their last writing at the earliest, and not while a backup copies objects.

    Example: regionmir retention run --dry-run
    """
    from regionmir.archive.retention import Retention, terms_of
    from regionmir.storage import open_store

    settings = settings_in_force()
    with open_database(settings) as database, closing(open_store(settings)) as store:
        rules = Retention(database, store, terms_of(settings), settings.max_pixels)
        report = rules.rehearse() if dry_run else rules.run()
    if as_json:
        print_json({"dry_run": dry_run, **asdict(report)})
        return
    would = "would be " if dry_run else ""
    console.print(f"{report.reduced} objects {would}reduced, {report.removed} {would}removed: {report.bytes} bytes")
    for rule, count in report.by_rule.items():
        console.print(f"  {count} by rule: {rule}", markup=False)
    console.print(f"{report.queries} queries {would}forgotten; {report.files} files {'waiting' if dry_run else 'gone'}")
    if report.left:
        console.print(f"{report.left} objects left whole: no reduced copy can be made of them")
    if report.postponed:
        console.print("files go later: a backup copies objects now")


def _rules(settings: "Settings") -> dict[str, str]:
    """Return the rules of the settings in words."""
    return {
        "objects": settings.storage_policy.value,
        "objects after days": _days(settings.retention_days),
        "deleted from PACS": _days(settings.retention_hidden_days),
        "replaced versions": _days(settings.retention_versions_days),
        "log of queries": _days(settings.retention_query_log_days),
    }


def _days(days: int) -> str:
    return f"removed after {days} days" if days else "kept"


def _own(peer: "Peer") -> Any:
    return {"storage": peer.storage.value if peer.storage else None, "keep_days": peer.keep_days}
