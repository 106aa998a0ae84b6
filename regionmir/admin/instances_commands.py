"""`regionmir instances`: what is stored, and how far each instance got."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_session, print_json
from regionmir.core.errors import RegionMirError
from regionmir.core.identifiers import parse_uid
from regionmir.core.records import InstanceState

if TYPE_CHECKING:
    from db.instances import Conflict, InstanceDetail, InstanceSummary
    from db.regions import FiledRegion

app = typer.Typer(no_args_is_help=True, help="What is stored, and how far each instance got.")

_SHOWN = 50
_TIME = "%Y-%m-%d %H:%M:%S"


@app.command("list")
def list_(
    state: InstanceState | None = typer.Option(None, help="Only instances in this state."),
    reason: str | None = typer.Option(None, help="Only instances with this reason."),
    limit: int | None = typer.Option(None, min=1, help=f"At most so many (as text {_SHOWN} unless told, as JSON all)."),
    as_json: bool = JSON,
) -> None:
    """List instances in the order in which they were filed.

    Example: regionmir instances list --state failed
    """
    from db import instances

    with open_session() as session:
        if as_json:
            print_json(
                [_summary(found) for found in instances.listing(session, state=state, reason=reason, limit=limit)]
            )
            return
        shown = limit or _SHOWN
        found = instances.listing(session, state=state, reason=reason, limit=shown + 1)
    table = Table("SOP Instance UID", "modality", "state", "reason", "view", "received", box=None, pad_edge=False)
    for one in found[:shown]:
        received = one.received_at.strftime(_TIME)
        table.add_row(one.sop_instance_uid, one.modality, one.state.value, one.reason, one.view, received)
    console.print(table)
    if len(found) > shown:
        typer.echo("... and more; use --limit, or --json for all")


@app.command()
def show(sop_instance_uid: str = typer.Argument(metavar="UID", help="SOP Instance UID."), as_json: bool = JSON) -> None:
    """Show one instance: its state and why, its regions, its other versions.

    Example: regionmir instances show 1.2.840.113619.2.5.1762583153
    """
    from db import instances

    uid = parse_uid(sop_instance_uid)
    with open_session() as session:
        found = instances.detail(session, uid)
    if found is None:
        raise RegionMirError(f"no instance has the UID {uid}")
    if as_json:
        print_json(_detail(found))
        return
    for name, value in _detail(found).items():
        if name not in ("regions", "versions", "pk"):
            console.print(f"{name.replace('_', ' '):<22}{'-' if value in (None, '') else value}", markup=False)
    _print_regions(found)
    _print_versions(found.versions)


@app.command()
def conflicts(as_json: bool = JSON) -> None:
    """List versions that were refused, because another one is stored and the sender may not correct it.

    Example: regionmir instances conflicts
    """
    from db import instances

    with open_session() as session:
        found = instances.conflicts(session)
    if as_json:
        print_json([asdict(one) for one in found])
    elif not found:
        typer.echo("no conflicts")
    else:
        _print_versions(found)
        typer.echo("To let a sender replace instances: regionmir peers add AE_TITLE --correct ...")


@app.command()
def wanted(as_json: bool = JSON) -> None:
    """List what films sent to `RGN_*` and annotations asked, newest first, with the answer's code or why there is none.

    Example: regionmir instances wanted
    """
    from db import wanted_answers

    with open_session() as session:
        found = wanted_answers.listing(session)
    lines = [{**asdict(one), "anatomies": "+".join(a.short for a in one.anatomies)} for one in found]
    if as_json:
        print_json(lines)
        return
    if not lines:
        typer.echo("nothing was asked so")
        return
    table = Table("way", "asked by", "regions", "state", "answer", "for", "reason", box=None, pad_edge=False)
    for line in lines:
        shown = ("way", "caller_ae", "anatomies", "state", "result_set_code", "destination", "reason")
        table.add_row(*(str(line[name] or "") for name in shown))
    console.print(table)


def _summary(found: "InstanceSummary") -> dict[str, Any]:
    return {**asdict(found), "state": found.state.value}


def _detail(found: "InstanceDetail") -> dict[str, Any]:
    return {
        **_summary(found.summary),
        "sop_class_uid": found.sop_class_uid,
        "transfer_syntax_uid": found.transfer_syntax_uid,
        "storage_key": found.storage_key,
        "sha256": found.sha256,
        "rows": found.rows,
        "columns": found.columns,
        "regions": [_region(one) for one in found.regions],
        "versions": [asdict(one) for one in found.versions],
    }


def _region(filed: "FiledRegion") -> dict[str, Any]:
    region = filed.region
    return {
        "model_pk": filed.model_pk,
        "region": region.anatomy.short,
        "anatomy": region.anatomy.name,
        "box": region.box.as_tuple(),
        "score": region.score,
    }


def _print_regions(found: "InstanceDetail") -> None:
    if not found.regions:
        return
    table = Table("region", "anatomy", "x0", "y0", "x1", "y1", "score", "model", box=None, pad_edge=False)
    for filed in found.regions:
        region = filed.region
        corners = [f"{v:.0f}" for v in region.box.as_tuple()]
        table.add_row(region.anatomy.short, region.anatomy.name, *corners, f"{region.score:.2f}", str(filed.model_pk))
    console.print()
    console.print(table)


def _print_versions(versions: "tuple[Conflict, ...] | list[Conflict]") -> None:
    if not versions:
        return
    table = Table("version of", "kind", "comment", "from", "received", box=None, pad_edge=False)
    for one in versions:
        table.add_row(one.sop_instance_uid, one.kind, one.comment, one.source_ae, one.received_at.strftime(_TIME))
    console.print()
    console.print(table)
