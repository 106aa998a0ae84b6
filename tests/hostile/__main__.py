"""`python -m tests.hostile`: the whole campaign, or some of it; prints a table and fails on any finding."""

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from tests.hostile.campaign import ATTACKS, Tally, contained, run, shares, site
from tests.support.postgres import TestDatabases, throw_away_server


def main() -> int:
    """Return 0 where nothing crashed or hung."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--inputs", type=int, default=6000, help="about so many in all")
    parser.add_argument("--seed", type=int, default=1, help="other seeds are other inputs")
    parser.add_argument("--kind", choices=sorted(ATTACKS), help="this kind only")
    parser.add_argument("--out", type=Path, default=Path("build/hostile.json"), help="where the figures go")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    began = time.monotonic()
    wanted = {kind: n for kind, n in shares(asked.inputs).items() if asked.kind in (None, kind)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with throw_away_server(folder / "postgres") as server, site(TestDatabases(server.url), folder / "data") as on:
            tallies = []
            for kind, n in wanted.items():
                tallies.append(run(on, kind, range(asked.seed * 1_000_000, asked.seed * 1_000_000 + n)))
                print(f"{kind}: {tallies[-1].tried}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    _tell(tallies, time.monotonic() - began, asked.seed, asked.out)
    return 1 if any(tally.crashes or tally.hangs for tally in tallies) else 0


def _tell(tallies: list[Tally], seconds: float, seed: int, out: Path) -> None:
    table = Table(title=f"Hostile input, seed {seed}, {seconds:.0f} s; {contained()} decoding processes were lost")
    for column in ("kind", "inputs", "refused", "crashes", "hangs > 30 s", "slowest"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for one in tallies:
        counts = (one.tried, one.refused, len(one.crashes), len(one.hangs))
        table.add_row(one.kind, *map(str, counts), f"{one.slowest_s:.1f} s")
    totals = [sum(t.tried for t in tallies), sum(t.refused for t in tallies)]
    totals += [sum(len(t.crashes) for t in tallies), sum(len(t.hangs) for t in tallies)]
    table.add_section()
    table.add_row("all", *map(str, totals), f"{max(t.slowest_s for t in tallies):.1f} s")
    Console(width=100).print(table)
    for one in tallies:
        for finding in (*one.crashes, *one.hangs):
            print(finding)
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = {
        "seed": seed,
        "seconds": round(seconds),
        "lost_children": contained(),
        "kinds": [vars(t) for t in tallies],
    }
    out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
