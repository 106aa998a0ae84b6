"""`regionmir status`: how far everything is."""

import shutil
from typing import Any

import typer
from rich.table import Table

from regionmir.admin.context import JSON, console, open_database, print_json, settings_in_force
from regionmir.admin.running import endpoints_of
from regionmir.core.errors import BrokerUnavailable
from regionmir.core.settings import Settings

_GIB = 2**30


def status(as_json: bool = JSON) -> None:
    """Print how many instances are in which state, what waits, the disk and the model.

    Example: regionmir status --json
    """
    found = collect(settings_in_force())
    if as_json:
        print_json(found)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _lines(found):
        table.add_row(name, value)
    console.print(table)


def collect(settings: Settings) -> dict[str, Any]:
    """Return the status as one value that JSON can hold. Raises `ConfigurationError` and `DatabaseUnavailable`."""
    from db import deliveries, generations, instances, pacs, visibility
    from db.browse import count_studies

    with open_database(settings) as database, database.session() as session:
        counts = instances.counts_by_state(session)
        stored_bytes = instances.total_bytes(session)
        studies = count_studies(session)
        active = generations.active(session)
        outbox = deliveries.counts_by_state(session)
        hidden = visibility.count_hidden(session)
        stopped = pacs.stopped(session)
    running = endpoints_of(settings)
    return {
        "instances": counts,
        "studies": studies,
        "queue": {"waiting": counts["received"], "wake_ups": wake_ups(settings)},
        "deliveries": outbox,
        "pacs": {"hidden_studies": hidden, "stopped": stopped},
        "disk": {"instances_bytes": stored_bytes, **disk(settings)},
        "model": None
        if active is None
        else {
            "name": active.info.name,
            "version": active.info.version,
            "dim": active.info.dim,
            "regions": [anatomy.short for anatomy in active.info.anatomies],
        },
        "node": {"ae_title": settings.ae_title, "host": settings.dicom_host, "port": settings.dicom_port},
        "web": {"host": settings.http_host, "port": settings.http_port},
        "supervisor_pid": None if running is None else running.pid,
    }


def wake_ups(settings: Settings) -> int | None:
    """Return how many wake-ups wait on the broker; None if it does not answer."""
    if settings.redis_url is None:
        return None
    from regionmir.queue import CeleryQueue

    queue = CeleryQueue(settings.redis_url)
    try:
        return queue.depth()
    except BrokerUnavailable:
        return None
    finally:
        queue.close()


def disk(settings: Settings) -> dict[str, int | None]:
    """Return free and total bytes of the file system with the objects; None where it is not of this machine."""
    if not settings.data_dir.is_dir():
        return {"free_bytes": None, "total_bytes": None}
    usage = shutil.disk_usage(settings.data_dir)
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    disk, model, wake_ups = found["disk"], found["model"], found["queue"]["wake_ups"]
    free = "" if disk["free_bytes"] is None else f", {disk['free_bytes'] / _GIB:.1f} GiB free"
    instances = ", ".join(f"{count} {state}" for state, count in found["instances"].items())
    broker = "Redis does not answer" if wake_ups is None else f"{wake_ups} wake-ups on the broker"
    return [
        ("studies", str(found["studies"])),
        ("instances", instances),
        ("queue", f"{found['queue']['waiting']} waiting, {broker}"),
        ("deliveries", ", ".join(f"{count} {state}" for state, count in found["deliveries"].items())),
        *[
            ("archive", f"{name}: {why}; hide them: regionmir pacs sync {name} --agree")
            for name, why in found["pacs"]["stopped"].items()
        ],
        ("disk", f"{disk['instances_bytes'] / _GIB:.2f} GiB of instances{free}"),
        (
            "model",
            "none yet" if model is None else f"{model['name']} {model['version']}, {len(model['regions'])} regions",
        ),
        ("node", f"{found['node']['ae_title']} at {found['node']['host']}:{found['node']['port']}"),
        ("supervisor", f"process {found['supervisor_pid']}" if found["supervisor_pid"] else "not on this data folder"),
    ]


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(status)
