"""Clients that send films again and again until each is acknowledged, whatever happens to the server meanwhile."""

import random
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from regionmir.core.errors import PeerRefused, PeerUnavailable
from regionmir.core.identifiers import AETitle
from regionmir.scu.peer import PeerAddress, Timeouts
from regionmir.scu.store import Result, store
from tests.faults.films import Film

SENDER = "MODALITY"
STORESCU = Path("/usr/bin/storescu")
_TIMEOUTS = Timeouts(connect_s=3, acse_s=10, dimse_s=20, network_s=20)
_PAUSE_S = 0.2
_MOST = 6
_STORED = re.compile(r"Sending file: (\S+)(?:(?!Sending file).)*?Received Store Response \(Success\)", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """Where films are sent: an AE on a port of loopback, and the base of its DICOMweb (empty: none)."""

    ae_title: str
    port: int
    dicomweb: str = ""


@dataclass
class Senders:
    """Threads that send what is added. `acknowledged` is called once for each film, when its Success is here."""

    target: Target
    acknowledged: Callable[[Film, str], None]
    seed: int = 0
    threads: int = 2
    _waiting: deque[Film] = field(default_factory=deque)
    _busy: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stop: threading.Event = field(default_factory=threading.Event)
    _started: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for number in range(self.threads):
            thread = threading.Thread(target=self._run, args=(random.Random(self.seed + number),), daemon=True)
            thread.start()
            self._started.append(thread)

    def add(self, films: Sequence[Film]) -> None:
        with self._changed:
            self._waiting.extend(films)
            self._changed.notify_all()

    def wait_until_sent(self, deadline_s: float) -> bool:
        """Return whether every film was acknowledged within this time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, deadline_s)

    def unsent(self) -> int:
        with self._changed:
            return len(self._waiting) + self._busy

    def stop(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._started:
            thread.join(60)

    def _run(self, choice: random.Random) -> None:
        while films := self._take(choice.randint(1, _MOST)):
            way, send = choice.choice(self._ways())
            done = set()
            try:
                for film in send(films):
                    done.add(film)
                    self._done(film, way)
            except (PeerUnavailable, PeerRefused, httpx.HTTPError, subprocess.TimeoutExpired):
                pass  # what was not acknowledged is sent again
            self._give_back([film for film in films if film not in done])
            if len(done) < len(films):
                time.sleep(_PAUSE_S)

    def _take(self, count: int) -> list[Film]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stop.is_set())
            if self._stop.is_set():
                return []
            films = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
            self._busy += len(films)
            return films

    def _give_back(self, unsent: list[Film]) -> None:
        with self._changed:
            self._waiting.extend(unsent)
            self._busy -= len(unsent)
            self._changed.notify_all()

    def _done(self, film: Film, way: str) -> None:
        self.acknowledged(film, way)
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def _ways(self) -> list[tuple[str, Callable[[list[Film]], Iterator[Film]]]]:
        ways = [("C-STORE", self._by_our_scu), ("C-STORE", self._by_our_scu)]
        if STORESCU.is_file():
            ways.append(("storescu", self._by_storescu))
        if self.target.dicomweb:
            ways.append(("STOW-RS", self._by_stow))
        return ways

    def _by_our_scu(self, films: list[Film]) -> Iterator[Film]:
        peer = PeerAddress(AETitle(self.target.ae_title), "127.0.0.1", self.target.port)
        of_path = {film.path: film for film in films}
        for outcome in store(peer, SENDER, list(of_path), timeouts=_TIMEOUTS):
            if outcome.result is Result.STORED:
                yield of_path[outcome.path]

    def _by_storescu(self, films: list[Film]) -> Iterator[Film]:
        paths = {str(film.path): film for film in films}
        where = ("-aet", SENDER, "-aec", self.target.ae_title, "127.0.0.1", str(self.target.port))
        said = subprocess.run(
            [str(STORESCU), "-v", "-nh", "-to", "5", "-td", "20", *where, *paths],
            capture_output=True, text=True, timeout=120, check=False, env={"TCP_NODELAY": "1"},
        )  # fmt: skip
        for path in _STORED.findall(said.stdout + said.stderr):
            yield paths[path]

    def _by_stow(self, films: list[Film]) -> Iterator[Film]:
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
        for film in films:
            body = film.path.read_bytes()
            url = f"{self.target.dicomweb}/studies"
            answer = httpx.post(url, content=body, headers=headers, trust_env=False, timeout=20)
            if answer.status_code != 200:
                return
            yield film
