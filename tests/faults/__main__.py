"""`make soak`: faults for most of the time, then a calm part whose memory is judged; writes build/soak.*.

python -m tests.faults --seed 7 --minutes 60 --calm-minutes 20 --out build
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.faults.answers import answers, differences, undisturbed_answers
from tests.faults.faults import drawn
from tests.faults.films import Film, endless_films
from tests.faults.memory import MemoryCurve, draw
from tests.faults.run import Report, disturb
from tests.faults.volume import run_in_own_namespace
from tests.faults.world import World, running_world

_PICTURES = 250
_ANCHORS = 12
_CALM_PART = 1 / 3
_VOLUME_MIB = 4096
_STUCK_S = 300.0
_WARM_PART = 1 / 3
"""Of the calm part: a process that was just started takes memory that is no growth, until it has seen its work."""


def main(arguments: list[str]) -> int:
    """Run it; 0 if nothing that was acknowledged was lost, doubled or answered otherwise."""
    asked = _parse(arguments)
    run_in_own_namespace("tests.faults", ["--seed", str(asked.seed), *arguments])
    print(f"seed {asked.seed}: repeat with --seed {asked.seed} --faults {asked.faults}", flush=True)
    report = Report(asked.seed)
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        folder, films = Path(name), endless_films(Path(name) / "films", _shared(), _PICTURES)
        with running_world(folder / "run", seed=asked.seed, volume_mib=_VOLUME_MIB) as world:
            _drive(world, films, report, asked)
            sent = sorted(world.oracle.films.values(), key=lambda film: film.sop_instance_uid)
            anchors = random.Random(asked.seed).sample(sent, min(_ANCHORS, len(sent)))
            ours = answers(world.instance, sent, anchors)
        _write(report, asked.out)  # the comparison takes long
        theirs = undisturbed_answers(folder / "peace", sent, anchors)
        report.answers_differ = differences(ours, theirs)
        report.notes += [f"{name}: {ours[name]}; in peace {theirs[name]}" for name in report.answers_differ]
    _write(report, asked.out)
    return 0 if report.faultless else 1


def _drive(world: World, films: Iterator[Film], report: Report, asked: argparse.Namespace) -> None:
    began, calm_s = time.monotonic(), asked.calm_minutes * 60
    curve = MemoryCurve(world)
    curve.start()
    plan = drawn(random.Random(asked.seed), asked.faults, with_volume=world.volume is not None)
    disturb(world, films, report, plan, until=began + asked.minutes * 60 - calm_s)
    report.fault_seconds = time.monotonic() - began
    world.notes.append(f"when the faults ended, this was on its way: {world.left_or_unknown()}")
    report.settled_s = world.settle(_STUCK_S)
    calm_since_s = curve.now_s()
    _calm(world, films, time.monotonic() + calm_s)
    world.settle(_STUCK_S)
    curve.stop()
    report.seconds = time.monotonic() - began
    report.judgement = world.judge()
    report.notes += world.notes
    slopes = {role: round(value, 1) for role, value in curve.slopes(calm_since_s + calm_s * _WARM_PART).items()}
    peaks = {role: round(value) for role, value in curve.peaks().items()}
    report.memory = {"calm_since_s": calm_since_s, "calm_s": calm_s, "mib_per_hour": slopes, "peak_mib": peaks}
    asked.out.mkdir(parents=True, exist_ok=True)
    draw(curve, calm_since_s, asked.out / "soak-memory.png")


def _calm(world: World, films: Iterator[Film], until: float) -> None:
    """Send and ask without faults, but for connections that break off."""
    while time.monotonic() < until:
        world.senders.add(list(islice(films, 2)))
        world.senders.wait_until_sent(30)
        known = list(world.oracle.films.values())
        answers(world.instance, known, [random.choice(known)])
        time.sleep(1.0)
        world.proxy.cut()


def _write(report: Report, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(report.as_json())
    (out / "soak.md").write_text(report.as_markdown())
    print(report.as_markdown())
    calm_minutes = report.memory.get("calm_s", 0.0) / 60
    print(
        f"memory, MiB per hour in {calm_minutes:.1f} calm minutes, without the first:",
        report.memory.get("mib_per_hour"),
    )
    print("memory, peak MiB:", report.memory.get("peak_mib"))
    for note in report.notes:
        print("note:", note)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--minutes", type=float, default=60.0, help="of faults and calm together")
    parser.add_argument("--calm-minutes", type=float, help="without faults, at the end; default: a third of all")
    parser.add_argument("--faults", type=int, default=100_000, help="most faults injected")
    parser.add_argument("--out", type=Path, default=Path("build"))
    asked = parser.parse_args(arguments)
    if asked.calm_minutes is None:
        asked.calm_minutes = asked.minutes * _CALM_PART
    if asked.calm_minutes >= asked.minutes:
        parser.error("--calm-minutes must be less than --minutes")
    return asked


def _shared() -> Path | None:
    folder = Path(os.environ.get("REGIONMIR_SHARED_DIR") or Path(__file__).resolve().parents[3] / "shared")
    return folder if (folder / "data" / "cxr" / "images.csv").is_file() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
