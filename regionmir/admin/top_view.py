"""What `regionmir top` shows, drawn with Rich from one look."""

from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_MIB, _GIB = 2**20, 2**30


def view(seen: dict[str, Any], warning: str = "") -> RenderableType:
    """Return the picture of one look; `warning` stands above it."""
    parts: list[RenderableType] = [Text(warning, style="bold red")] if warning else []
    tables = [_work(seen), _queries(seen), _stages(seen), _processes(seen)]
    return Group(*parts, *(Panel(table, title_align="left", title=title) for title, table in tables))


def _work(seen: dict[str, Any]) -> tuple[str, Table]:
    table = Table(box=None, show_header=False, pad_edge=False)
    queue, indexed, minutes = seen["queue"], seen["indexed"], seen["window_s"] / 60
    broker = "Redis does not answer" if queue["wake_ups"] is None else f"{queue['wake_ups']} wake-ups"
    deliveries = {k: n for k, n in seen["deliveries"].items() if k != "oldest_s"}
    free = seen["disk"]["free_bytes"]
    rows = {
        "instances": _counts(seen["instances"]),
        "queue": f"{queue['waiting']} waiting, the oldest for {_time(queue['oldest_s'])}, {broker}",
        "in": f"{seen['received'] / minutes:.1f} a minute, {seen['associations_open']:.0f} associations open",
        "indexed": f"{indexed['count'] / minutes:.1f} a minute; from arrival {_time(indexed['median_s'])} (median), "
        f"{_time(indexed['p95_s'])} (p95)",
        "deliveries": f"{_counts(deliveries)}; overdue by {_time(seen['deliveries']['oldest_s'])}",
        "disk": "not on this machine" if free is None else f"{free / _GIB:.1f} GiB free",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return "the last five minutes", table


def _queries(seen: dict[str, Any]) -> tuple[str, Table]:
    table = _table("query", "outcome", "count", "median", "p95")
    for one in seen["queries"]:
        times = (_time(one[which] / 1000) for which in ("median_ms", "p95_ms"))
        table.add_row(one["kind"], one["outcome"], str(one["count"]), *times)
    return "queries", table


def _stages(seen: dict[str, Any]) -> tuple[str, Table]:
    table = _table("stage", "count", "mean", "p95")
    for name, one in sorted(seen["stages"].items()):
        table.add_row(name, f"{one['count']:.0f}", _time(one["mean_s"]), _time(one["p95_s"]))
    return "stages since the start", table


def _processes(seen: dict[str, Any]) -> tuple[str, Table]:
    table = _table("process", "figures at", "memory", "processor")
    for one in seen["processes"]:
        if one["answers"]:
            used = (f"{(one['memory_bytes'] or 0) / _MIB:.0f} MiB", _time(one["cpu_s"] or 0.0))
        else:
            used = ("does not answer", "")
        table.add_row(one["process"], one["address"], *used)
    return "processes", table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("query", "outcome", "stage", "process") else "right")
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
