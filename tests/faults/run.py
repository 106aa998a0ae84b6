"""One run: films go in while faults are injected in the order that the seed gives, then the oracle judges."""

import json
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from tests.faults.faults import Fault
from tests.faults.films import Film
from tests.faults.oracle import Judgement
from tests.faults.world import World

_FILMS_PER_FAULT = (1, 3)
_LONGEST_WAIT_S = 2.5
_PAUSE_S = (0.1, 1.0)
_MOST_UNSENT = 80
_TELL_EVERY = 25
_MOST_IN_VAIN = 60


@dataclass
class Report:
    """What a run did and found."""

    seed: int
    injected: Counter[str] = field(default_factory=Counter)
    not_injected: Counter[str] = field(default_factory=Counter)
    """Tried again and again, in vain."""
    seconds: float = 0.0
    fault_seconds: float = 0.0
    settled_s: float = 0.0
    """From the last fault until all was sent, final and delivered."""
    judgement: Judgement | None = None
    answers_differ: list[str] | None = None
    """Of an undisturbed run with the same films; None: not compared."""
    notes: list[str] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        return self.injected.total()

    @property
    def faults_per_minute(self) -> float:
        return self.faults * 60 / self.fault_seconds if self.fault_seconds else 0.0

    @property
    def faultless(self) -> bool:
        judged = self.judgement
        return judged is not None and judged.faultless and not (self.answers_differ or self.not_injected)

    def as_json(self) -> str:
        values = {**vars(self), "faults": self.faults, "faultless": self.faultless}
        values["judgement"] = self.judgement and asdict(self.judgement)
        return json.dumps(values, indent=2)

    def as_markdown(self) -> str:
        """Return the table of the faults, and what became of what was acknowledged."""
        judged = self.judgement
        assert judged is not None
        lines = ["| fault | injected |", "|---|---|"]
        lines += [f"| {name} | {count} |" for name, count in sorted(self.injected.items())]
        lines += [f"| {name}: could not be injected | {count} |" for name, count in sorted(self.not_injected.items())]
        lines += [
            f"| **all** | **{self.faults}** |",
            "",
            "| acknowledged | lost | unfinished | not indexed | duplicates | undelivered | "
            "delivered | dead letters | delivered again, same bytes |",
            "|---|---|---|---|---|---|---|---|---|",
            f"| {judged.acknowledged} | {len(judged.lost)} | {len(judged.unfinished)} | {len(judged.otherwise)} "
            f"| {len(judged.duplicates)} | {len(judged.undelivered)} | {judged.delivered} "
            f"| {judged.dead_letters} | {judged.sent_again} |",
            "",
            f"Seed {self.seed}, {self.seconds / 60:.1f} minutes, {self.faults_per_minute:.1f} faults a minute; all was "
            f"delivered {self.settled_s:.0f} s after the last; answers that differ from an undisturbed run: "
            + ("not compared" if self.answers_differ is None else str(len(self.answers_differ))),
        ]
        return "\n".join(lines) + "\n"


def disturb(world: World, films: Iterator[Film], report: Report, plan: deque[Fault], *, until: float) -> None:
    """Inject these faults, or as many as there is time for (`until`: monotonic), while films are sent."""
    choice = random.Random(report.seed)
    vain = 0
    while plan and vain < _MOST_IN_VAIN:
        if time.monotonic() > until:
            report.notes.append(f"time was over before {len(plan)} more faults could be injected")
            return
        fault = plan.popleft()
        own = random.Random(choice.random())  # of this fault alone: what one needs does not change the next
        if _one(world, films, fault, own):
            report.injected[fault.name] += 1
            vain = 0
            if report.faults % _TELL_EVERY == 0:
                print(f"{report.faults} faults, {world.oracle.count()} acknowledged", flush=True)
        else:  # what is to be hit is down from an earlier fault: later
            plan.append(fault)
            vain += 1
            time.sleep(0.5)
    report.not_injected.update(fault.name for fault in plan)


def _one(world: World, films: Iterator[Film], fault: Fault, choice: random.Random) -> bool:
    """Send some films, and inject the fault while they are on their way. False where it could not be done."""
    if world.senders.unsent() < _MOST_UNSENT:
        before = world.oracle.count()
        world.senders.add(list(islice(films, choice.randint(*_FILMS_PER_FAULT))))
        _wait(lambda: world.oracle.count() > before, choice.uniform(0.2, _LONGEST_WAIT_S))
    injected = fault.inject(world, choice)
    time.sleep(choice.uniform(*_PAUSE_S))
    return injected


def _wait(holds: Callable[[], bool], deadline_s: float) -> None:
    end = time.monotonic() + deadline_s
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
