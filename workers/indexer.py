"""Drains the table of waiting instances: claim, index, repeat until none is left. One indexer per process."""

import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import structlog

from db import generations, instances, unanswered
from db.engine import Database
from db.instances import ClaimedInstance
from regionmir.core.errors import Transient
from regionmir.core.keeping import StoragePolicy
from regionmir.core.periodic import Periodic
from regionmir.monitoring.figures import FINISHED
from regionmir.pixels.layout import DEFAULT_MAX_PIXELS
from regionmir.storage.uploads import Uploads
from workers.boxes import embed_waiting
from workers.explaining import explain_waiting
from workers.models import InUse, Models
from workers.pipeline import Analyser, ObjectPaths, Outcome, judged, read_film, write_outcomes
from workers.reading import Film, Wanted
from workers.uploads import index_uploaded

_READERS = 2
"""Threads that read and decode the next batch while the model looks at this one."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed rows and their films, which are being read. `alone`: one film that was there when a worker died."""

    rows: tuple[tuple[ClaimedInstance, "Future[Film | Outcome]"], ...] = ()
    alone: bool = False
    side: int = 0
    """Of the model that they are read for."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A batch that was looked at and is being written, while the model looks at the next one."""

    began: float
    outcomes: tuple[tuple[ClaimedInstance, Outcome], ...]
    written: "Future[None]"


@dataclass
class Indexer:
    """Indexes whatever waits. `drain` may be called from any thread and at any time: a call too many does nothing."""

    database: Database
    objects: ObjectPaths
    model: Analyser
    batch_size: int
    lease_s: float
    max_pixels: int = DEFAULT_MAX_PIXELS
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
    uploads: Uploads | None = None
    """Where films are that were uploaded to be compared; None: this indexer leaves them alone."""
    models: Models | None = None
    """Says which model searches use from now on; None: `model` is used, whatever others do."""
    storage_policy: StoragePolicy = StoragePolicy.KEEP
    """Of AEs without one of their own: whether renditions are kept."""

    def __post_init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read-film")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write-films")
        self._writing: Writing | None = None
        self._held: set[int] = set()
        self._fixed: InUse | None = None

    def drain(self, *, wait: bool = True) -> int:
        """Index until nothing waits and return how many instances were done.

        While another thread drains, waits for it (`wait`) or returns 0. Raises `Transient`; what was claimed is then
        released at the next call, or when its lease ends.
        """
        if not self._one_at_a_time.acquire(blocking=wait):
            return 0
        try:
            self._release(self._held)
            with Periodic("renew-leases", self.lease_s / 3, self._renew):
                return self._drain()
        finally:
            self._one_at_a_time.release()

    def embed_boxes(self) -> int:
        """Embed the drawn boxes and uploaded films that wait and return how many.

        A thread that drains does so between its batches.
        """
        with self._one_at_a_time:
            return self._embed_boxes(self._in_use())

    def explain_pairs(self) -> int:
        """Make the similarity maps that wait and return how many. A thread that drains does so between its batches."""
        with self._one_at_a_time:
            return self._explain_pairs(self._in_use())

    def stop(self) -> None:
        """Let `drain` end after the batch it is at. Safe in a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, wait for the batch, and give back every lease."""
        self.stop()
        with self._one_at_a_time:
            self._readers.shutdown(cancel_futures=True)
            self._writer.shutdown()
            try:
                self._release(self._held)
            except Transient:
                log.warning("leases not released", leases=len(self._held))

    def _drain(self) -> int:
        done = 0
        used = self._answer_at_once()
        try:
            batch = self._next_batch(used)
            while batch.rows and not self._stopping.is_set():
                following = Batch() if batch.alone else self._next_batch(used)
                done += self._index(batch, used)
                used = self._answer_at_once()
                batch = following if following.rows else self._next_batch(used)
            done += self._written()
        finally:
            self._await_writing()
        self._release(self._held)
        return done

    def _answer_at_once(self) -> InUse:
        """Answer whoever waits for the model; return the model that is in use."""
        used = self._in_use()
        with self.database.session() as session:
            waiting = unanswered.find(session, used.model_pk)
        if waiting.boxes or waiting.films:
            self._embed_boxes(used)
        if waiting.pairs:
            self._explain_pairs(used)
        return used

    def _embed_boxes(self, used: InUse) -> int:
        done = embed_waiting(self.database, self.objects, used, self.max_pixels)
        if self.uploads is not None:
            done += index_uploaded(self.database, self.uploads, used, self.max_pixels)
        return done

    def _explain_pairs(self, used: InUse) -> int:
        return explain_waiting(self.database, self.objects, used, self.max_pixels)

    def _in_use(self) -> InUse:
        """Return the model to use now: another generation may have been activated. Raises `ModelError`."""
        if self.models is not None:
            return self.models.active()
        if self._fixed is None:
            with self.database.session() as session:
                self._fixed = InUse(generations.ensure_model(session, self.model.info), self.model)
        return self._fixed

    def _next_batch(self, used: InUse) -> Batch:
        """Claim rows and begin to read their films for the model.

        An instance that was claimed before and not finished may have killed its worker: it is taken alone and the
        others are given back, so that it brings down none of them.
        """
        if self._stopping.is_set():
            return Batch()
        with self.database.session() as session:
            claimed = instances.claim(session, self.owner, self.batch_size, self.lease_s)
        self._held.update(row.pk for row in claimed)
        suspects = [row for row in claimed if row.attempts > 1][:1]
        if suspects and len(claimed) > 1:
            self._release({row.pk for row in claimed if row is not suspects[0]})
            claimed = suspects
        return self._reading(claimed, used, alone=bool(suspects))

    def _reading(self, claimed: Sequence[ClaimedInstance], used: InUse, *, alone: bool) -> Batch:
        wanted = Wanted(used.model.side, rendition=True)
        reading = [self._readers.submit(read_film, self.objects, self.max_pixels, row, wanted) for row in claimed]
        return Batch(tuple(zip(claimed, reading, strict=True)), alone, wanted.side)

    def _index(self, batch: Batch, used: InUse) -> int:
        """Look at a batch and begin to write what was found; return how many films the batch before it had.

        Films that were read for a model of another side, when another generation was in use, are read again.
        """
        began = time.monotonic()
        if batch.side != used.model.side:
            batch = self._reading([row for row, _ in batch.rows], used, alone=batch.alone)
        outcomes = judged(batch.rows, used.model)
        done = self._written()
        written = self._writer.submit(
            write_outcomes, self.database, self.owner, used.model_pk, outcomes, self.storage_policy
        )
        self._writing = Writing(began, tuple(outcomes), written)
        return done

    def _written(self) -> int:
        """Wait until the batch is written that is on its way and return how many films it had. Raises `Transient`."""
        writing, self._writing = self._writing, None
        if writing is None:
            return 0
        writing.written.result()
        self._held.difference_update(claimed.pk for claimed, _ in writing.outcomes)
        ended = Counter(outcome.state for _, outcome in writing.outcomes)
        for state, count in ended.items():
            FINISHED.labels(state.value).inc(count)
        seconds = round(time.monotonic() - writing.began, 3)
        log.info("batch done", **{state.value: n for state, n in ended.items()}, seconds=seconds)
        return ended.total()

    def _await_writing(self) -> None:
        """Wait until nothing is being written, however that ends: what was not is still held."""
        writing, self._writing = self._writing, None
        if writing is not None:
            wait([writing.written])

    def _release(self, pks: set[int]) -> None:
        if not pks:
            return
        given_back = sorted(pks)
        with self.database.session() as session:
            instances.release(session, self.owner, given_back)
        self._held.difference_update(given_back)

    def _renew(self) -> None:
        with self.database.session() as session:
            instances.renew(session, self.owner, self.lease_s)
