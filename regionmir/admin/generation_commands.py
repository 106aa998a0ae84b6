"""`regionmir model embed|generations|shadow|activate|rollback|retire`: a new model beside the old one; the switch."""

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from regionmir.admin.context import JSON, console, open_database, open_session, print_json, settings_in_force

if TYPE_CHECKING:
    from db.analyses import Progress
    from db.engine import Database, Session
    from db.generations import RegisteredModel

_WATCH_S = 2.0

Number = Annotated[int, typer.Argument(help="Number of the generation: see `regionmir model generations`.")]


def embed(
    model: Annotated[str, typer.Argument(help="Folder of the model, the same on every index worker; or a name.")],
    as_json: bool = JSON,
) -> None:
    """Let the index workers embed every film with another model, beside the one that answers.

    They do so while nothing newer waits, for a share of their time (`REGIONMIR_GENERATION_SHARE`), newest films
    first. Run again, it also tries again what failed.

    Example: regionmir model embed /srv/models/new
    """
    from db import analyses, generations
    from models.registry import location, model_folder, read_card, verify_weights

    folder = model_folder(model)
    card = read_card(folder)
    verify_weights(folder, card)
    with open_session() as session:
        number = generations.propose(session, card.info, location(model))
        analyses.retry_failed(session, number)
        pending = analyses.pending(session, number)
        _record(session, "model proposed", number)
    if as_json:
        print_json({"generation": number, "pending": pending})
        return
    name = f"{card.name} {card.version}"
    typer.echo(f"generation {number} ({name}) looks at {pending} films; watch: regionmir model generations --watch")


def show_generations(
    watch: Annotated[bool, typer.Option("--watch", help="Until every generation has looked at every film.")] = False,
    as_json: bool = JSON,
) -> None:
    """Show the generations, how far each is, and in what time it will be done.

    Example: regionmir model generations --watch
    """
    with open_database(settings_in_force()) as database:
        found = _read(database)
        if as_json:
            print_json([_as_json(one, progress) for one, progress in found])
            return
        with Live(_table(found), console=console, auto_refresh=False) as live:
            while watch and any(progress.pending for one, progress in found if one.status != "retired"):
                time.sleep(_WATCH_S)
                found = _read(database)
                live.update(_table(found), refresh=True)


def shadow(
    number: Number,
    questions: Annotated[int, typer.Option(min=1, max=1000, help="Regions asked of each anatomy.")] = 50,
    as_json: bool = JSON,
) -> None:
    """Ask a generation what the one in use is asked, and compare: the same ten films? the same findings?

    Example: regionmir model shadow 2 --questions 100
    """
    from regionmir.query.shadow import compare

    with open_session() as session:
        found = compare(session, number, questions)
    lines: list[dict[str, Any]] = [
        {
            "anatomy": one.anatomy.short,
            "questions": one.questions,
            "overlap_at_10": one.overlap,
            "finding_agreement_now": one.agree_now,
            "finding_agreement_then": one.agree_then,
        }
        for one in found
    ]
    if as_json:
        print_json(lines)
        return
    table = Table("anatomy", "asked", "overlap@10", "agree in findings: now", f"generation {number}")
    for line in lines:
        shares = (line["overlap_at_10"], line["finding_agreement_now"], line["finding_agreement_then"])
        table.add_row(line["anatomy"], str(line["questions"]), *("-" if s is None else f"{s:.3f}" for s in shares))
    console.print(table)


def activate(
    number: Number,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Though films are missing: they are found once they are embedded.")
    ] = False,
    as_json: bool = JSON,
) -> None:
    """Let searches use this generation from now on; the one before stays ready for a rollback.

    Example: regionmir model activate 2
    """
    from db import generations

    with open_session() as session:
        generations.activate(session, number, incomplete=incomplete)
        _record(session, "model activated", number)
    _said(f"searches use generation {number}", number, as_json)


def rollback(as_json: bool = JSON) -> None:
    """Let searches use the generation that they used before.

    Example: regionmir model rollback
    """
    from db import generations

    with open_session() as session:
        number = generations.roll_back(session)
        _record(session, "model rolled back", number)
    _said(f"searches use generation {number} again", number, as_json)


def retire(
    number: Number,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: bool = JSON,
) -> None:
    """Drop the embeddings of a generation that is not used any more; its boxes stay for answers that were given.

    Example: regionmir model retire 1 --yes
    """
    from db import generations

    if not yes:
        typer.confirm(f"Drop all embeddings of generation {number}?", abort=True)
    with open_database(settings_in_force()) as database:
        generations.retire(database, number)
        with database.session() as session:
            _record(session, "model retired", number)
    _said(f"generation {number} is retired", number, as_json)


def _record(session: "Session", kind: str, number: int) -> None:
    from db import audit

    audit.record(session, kind, actor="operator", address="", detail={"model": number})


def _said(words: str, number: int, as_json: bool) -> None:
    if as_json:
        print_json({"generation": number})
    else:
        typer.echo(words)


def _read(database: "Database") -> "list[tuple[RegisteredModel, Progress]]":
    from db import analyses, generations

    with database.session() as session:
        return [(one, analyses.progress(session, one.pk)) for one in generations.listing(session)]


def _as_json(one: "RegisteredModel", progress: "Progress") -> dict[str, Any]:
    return {
        "generation": one.pk,
        "model": one.info.name,
        "version": one.info.version,
        "status": one.status,
        "dim": one.info.dim,
        "weights_sha256": one.info.weights_sha256,
        "folder": one.folder,
        "films": progress.counts,
        "pending": 0 if one.status == "retired" else progress.pending,
        "per_s": progress.per_s,
        "left_s": progress.left_s,
    }


def _table(found: "list[tuple[RegisteredModel, Progress]]") -> Table:
    table = Table("number", "model", "status", "width", "indexed", "other", "to do", "films/s", "time left")
    for one, progress in found:
        indexed = progress.counts.get("indexed", 0)
        other = progress.counts.get("unsupported", 0) + progress.counts.get("failed", 0)
        pending = 0 if one.status == "retired" else progress.pending
        left = _time_left(progress) if pending else ""
        name, figures = f"{one.info.name} {one.info.version}", (one.info.dim, indexed, other, pending)
        table.add_row(str(one.pk), name, one.status, *map(str, figures), f"{progress.per_s:.1f}", left)
    return table


def _time_left(progress: "Progress") -> str:
    return "unknown" if progress.left_s is None else str(timedelta(seconds=int(progress.left_s)))


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("embed")(embed)
    app.command("generations")(show_generations)
    for command in (shadow, activate, rollback, retire):
        app.command()(command)
