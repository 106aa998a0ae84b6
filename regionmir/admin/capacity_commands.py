"""`regionmir capacity`: from studies a day to machines, disk and time."""

from dataclasses import asdict

import typer
from rich.table import Table

from regionmir.admin.capacity.constants import measured
from regionmir.admin.context import JSON, console, print_json


def capacity(
    studies_per_day: float = typer.Option(..., "--studies-per-day", help="Studies of chest radiographs a day."),
    years: float = typer.Option(..., "--years", help="For how many years they are kept."),
    archive_studies: int = typer.Option(0, "--archive-studies", help="Studies taken over from an archive at first."),
    films_per_study: float = typer.Option(2.0, "--films-per-study", help="Assumed: films of a study."),
    film_mb: float = typer.Option(10.0, "--film-mb", help="Assumed: mean size of a film, in 10^6 bytes."),
    busiest_hour_share: float = typer.Option(0.15, "--busiest-hour-share", help="Assumed: of a day's studies."),
    utilisation: float = typer.Option(0.7, "--utilisation", help="How busy index workers may be in that hour."),
    cores_per_machine: int = typer.Option(16, "--cores-per-machine", help="Cores of a machine for index workers."),
    days_to_fill: float = typer.Option(14.0, "--days-to-fill", help="Days in which the archive is taken over."),
    core_price: float | None = typer.Option(None, "--core-price", help="A month of a core, in your currency."),
    tb_price: float | None = typer.Option(None, "--tb-price", help="A month of a TB of disk, in your currency."),
    as_json: bool = JSON,
) -> None:
    """Print what so many studies need: machines, disk, time to build the index and, with prices, the cost.

    Only measured constants go into it (docs/capacity.md lists them), and what the options say of the site.

    Example: regionmir capacity --studies-per-day 1500 --years 5 --archive-studies 1000000
    """
    from regionmir.admin.capacity.plan import Site, plan

    site = Site(
        studies_per_day,
        years,
        archive_studies,
        films_per_study,
        film_mb,
        busiest_hour_share=busiest_hour_share,
        utilisation=utilisation,
        cores_per_machine=cores_per_machine,
        days_to_fill=days_to_fill,
        core_price=core_price,
        tb_price=tb_price,
    )
    found = asdict(plan(site))
    if as_json:
        constants = {name: {"value": one.value, "unit": one.unit, "how": one.how} for name, one in measured().items()}
        print_json({"site": asdict(site), "plan": found, "measured": constants})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for line in _lines(found):
        table.add_row(*line)
    console.print(table)


def _lines(found: dict[str, float]) -> list[tuple[str, str]]:
    """Return what is printed: name and value."""
    beyond = "; beyond what was measured: n log n" if found["extrapolated"] else ""
    size, built = _size(found["hnsw_bytes"]), _time(found["index_build_s"])
    index = f"{size} of disk, as much memory to be fast; built in {built}{beyond}"
    lines = [
        ("films, regions", f"{found['films']:,.0f}, {found['regions']:,.0f}"),
        ("busiest hour", f"{found['films_per_s']:.2f} films/s, {_size(found['network_bytes_per_s'])}/s"),
        ("index workers", f"{found['index_cores']:.0f} cores on {found['machines']:.0f} machines"),
        ("objects", _size(found["objects_bytes"])),
        ("database", f"{_size(found['rows_bytes'])} without the index"),
        ("index", index if found["hnsw_bytes"] else "none: so few films are compared one by one"),
    ]
    if found["fill_cores"]:
        lines.append(("archive", f"{found['fill_cores']:.0f} more cores while it is taken over"))
    for name, cost in (("cores", found["cost_cores"]), ("disk", found["cost_disk"])):
        if cost is not None:
            lines.append((f"cost of {name}", f"{cost:,.0f} a month"))
    return lines


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(capacity)
