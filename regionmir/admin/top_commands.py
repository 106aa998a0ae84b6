"""`regionmir top`: what the site does now, in the terminal."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.live import Live

from regionmir.admin.context import JSON, console, open_database, print_json, settings_in_force
from regionmir.admin.scraping import Distribution, Figures, fetch, targets
from regionmir.admin.status_commands import disk, wake_ups
from regionmir.admin.top_view import view
from regionmir.core.errors import ConfigurationError, DatabaseUnavailable
from regionmir.core.settings import Settings
from regionmir.monitoring.exporter import metrics_folder

if TYPE_CHECKING:
    from db.engine import Database

_STAGE = "regionmir_stage_seconds"


def top(
    every: float = typer.Option(2.0, "--every", min=0.2, help="Seconds between two looks."),
    once: bool = typer.Option(False, "--once", help="Look once and end."),
    as_json: bool = JSON,
) -> None:
    """Show queues, throughput, latencies and processes until Ctrl-C.

    The database tells of the whole site; processes and stages are those of this data folder.

    Example: regionmir top --once --json
    """
    if as_json and not once:
        raise ConfigurationError("--json prints one look: add --once")
    settings = settings_in_force()
    with open_database(settings) as database:
        if as_json:
            print_json(look(settings, database))
        elif once:
            console.print(view(look(settings, database)))
        else:
            _watch(settings, database, every)


def look(settings: Settings, database: "Database") -> dict[str, Any]:
    """Return what there is to see now, as JSON can hold it; times in seconds. Raises `DatabaseUnavailable`."""
    from db.figures import WINDOW_S, site_figures

    with database.session() as session:
        site = site_figures(session)
    told = [(target, fetch(target)) for target in targets(metrics_folder(settings))]
    answering = [figures for _, figures in told if figures is not None]
    return {
        "window_s": WINDOW_S,
        "instances": site.instances,
        "received": site.received,
        "indexed": asdict(site.indexed),
        "queue": {
            "waiting": site.instances["received"],
            "oldest_s": site.oldest_instance_s,
            "wake_ups": wake_ups(settings),
        },
        "deliveries": {**site.deliveries, "oldest_s": site.oldest_delivery_s},
        "queries": [asdict(recent) for recent in site.queries],
        "disk": disk(settings),
        "associations_open": sum(figures.value("regionmir_associations_open") or 0 for figures in answering),
        "stages": _stages(answering),
        "processes": [
            {
                "process": target.process,
                "address": target.address,
                "answers": figures is not None,
                "memory_bytes": figures and figures.value("process_resident_memory_bytes"),
                "cpu_s": figures and figures.value("process_cpu_seconds_total"),
            }
            for target, figures in told
        ],
    }


def _stages(told: list[Figures]) -> dict[str, dict[str, float | None]]:
    """Return each stage's count and times since its processes started, of all of them together."""
    found: dict[str, Distribution] = {}
    for figures in told:
        for (name, labels), times in figures.distributions.items():
            if name == _STAGE and times.count:
                stage = dict(labels)["stage"]
                found[stage] = found[stage] + times if stage in found else times
    return {
        stage: {"count": times.count, "mean_s": times.mean, "p95_s": times.quantile(0.95)}
        for stage, times in found.items()
    }


def _watch(settings: Settings, database: "Database", every_s: float) -> None:
    """Draw again and again; where the database goes away the last picture stays and says so."""
    seen = look(settings, database)
    with Live(view(seen), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        try:
            while True:
                time.sleep(every_s)
                try:
                    seen = look(settings, database)
                    live.update(view(seen), refresh=True)
                except DatabaseUnavailable as error:
                    live.update(view(seen, str(error)), refresh=True)
        except KeyboardInterrupt:
            return


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(top)
