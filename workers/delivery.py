"""Sends what is in the outbox: each destination on a thread of its own, so that one that is stalled delays no other."""

import os
import random
import secrets
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog
from pydicom.dataset import Dataset

from db import deliveries, peers
from db.deliveries import Claimed, Result
from db.engine import Database
from db.peers import Peer
from regionmir.core.errors import PeerRefused, PeerUnavailable, RegionMirError, Transient, origin
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.periodic import Periodic
from regionmir.core.records import Disclosure
from regionmir.core.tls import NO_TLS_FILES, TlsFiles
from regionmir.monitoring.stages import stage
from regionmir.scu.commitment import CommitmentReport, CommitmentRequest, Reference, new_transaction_uid
from regionmir.scu.outgoing import DatasetSender
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts, address_of
from regionmir.scu.sending import NotAccepted
from regionmir.scu.status import Status
from workers.absence import Absences
from workers.outcome import Verdict, verdict

BATCH = 10
"""Deliveries claimed at once: so many may wait for the lease of a sender that died."""

LEASE_S = 180.0
"""Renewed three times as often for as long as its sender lives, however long an object takes to be made and sent."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 1800.0
_LATER_THAN_OTHERS_S = 1.0
"""What did not reach its destination comes after the others next time: it may be why the association ended."""

ATTEMPTS, DOUBTFUL_ATTEMPTS = 100, 5
"""With these pauses, 100 attempts take about two days: a destination may be away for a weekend."""

_MAX_DESTINATIONS = 16

log = structlog.get_logger(__name__)


class NotBuildable(RegionMirError):
    """A result that cannot be made (any more): its study is gone, its region was dropped. It becomes a dead letter."""


class ResultBuilder(Protocol):
    """Makes the object of a result when it is to be sent."""

    def build(self, result: Result) -> Dataset:
        """Return the object, with the SOP Instance UID that the result names. Raises `NotBuildable`, `Transient`."""


@dataclass
class Deliverer:
    """Drains the outbox. `drain` may be called at any time, from any thread; destinations that are busy are left."""

    database: Database
    calling_ae: AETitle
    builders: Mapping[str, ResultBuilder]
    """By kind of result."""
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    lease_s: float = LEASE_S
    tls_files: TlsFiles = NO_TLS_FILES
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(_MAX_DESTINATIONS, thread_name_prefix="deliver")
        self._busy: dict[tuple[str, int], Future[int]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._absences = Absences(pause_s)

    def drain(self) -> list["Future[int]"]:
        """Begin to send what is due; return one future (how many were tried) for each sender that was started."""
        with self.database.session() as session:
            due = deliveries.due_destinations(session)
            known = {title: peers.get(session, title) for title in due}
        started = []
        with self._lock:
            self._busy = {key: future for key, future in self._busy.items() if not future.done()}
            for title, peer in known.items():
                for number in range(peer.max_associations if peer else 1):
                    if (title, number) not in self._busy and not self._stopping.is_set():
                        future = self._pool.submit(self._send_all, title, peer, f"{self.name}:{title}:{number}")
                        self._busy[title, number] = future
                        started.append(future)
        return started

    def close(self) -> None:
        """Let each sender end the object that it is at, and give back the rest."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def _send_all(self, title: AETitle, peer: Peer | None, owner: str) -> int:
        """Send all that is due to one destination over one association, and return how many were tried."""
        tried = 0
        try:
            with self._sender(title, peer) as sender:
                while not self._stopping.is_set() and (batch := self._claim(owner, title, peer)):
                    with Periodic("renew-deliveries", self.lease_s / 3, partial(self._renew, owner)):
                        tried += self._send_batch(batch, sender, peer, owner)
        except Transient as error:
            log.warning("deliveries held up", destination=title, why=str(error))
        except Exception as error:
            log.error("deliveries failed", destination=title, error=type(error).__name__, at=origin(error))
        finally:
            self._give_back(owner)
        return tried

    def _sender(self, title: AETitle, peer: Peer | None) -> DatasetSender:
        address = address_of(peer, self.tls_files) if peer else PeerAddress(title, "", 0)
        reported = partial(self._reported, title) if peer and peer.commits_storage else None
        return DatasetSender(address, self.calling_ae, reported=reported, timeouts=self.timeouts)

    def _claim(self, owner: str, title: AETitle, peer: Peer | None) -> list[Claimed]:
        senders = peer.max_associations if peer else 1
        with self.database.session() as session:
            return deliveries.claim(session, owner, title, limit=BATCH, lease_s=self.lease_s, max_senders=senders)

    def _renew(self, owner: str) -> None:
        with self.database.session() as session:
            deliveries.renew(session, owner, self.lease_s)

    def _send_batch(self, batch: list[Claimed], sender: DatasetSender, peer: Peer | None, owner: str) -> int:
        """Send a batch and ask for its commitment; a destination that is away ends it (`PeerUnavailable`)."""
        taken: dict[int, Reference] = {}
        tried = 0
        for claimed in batch:
            with self.database.session() as session:
                if self._stopping.is_set() or not deliveries.is_held(session, owner, claimed):
                    continue
            tried += 1
            reference = self._send_one(claimed, sender, peer, owner)
            if reference is not None:
                taken[claimed.pk] = reference
        if taken and peer is not None and peer.commits_storage:
            self._ask_commitment(taken, sender)
        return tried

    def _send_one(self, claimed: Claimed, sender: DatasetSender, peer: Peer | None, owner: str) -> Reference | None:
        """Try one delivery and note the outcome; return what is stored now, None where it is not."""
        try:
            if peer is None or not peer.is_destination:
                raise PeerRefused(f"{claimed.destination} is not registered with a host and a port")
            _check_may_get(peer, claimed.result)
            with stage("make"):
                dataset = self._build(claimed.result)
            with stage("deliver"):
                status = sender.send(dataset)
        except PeerUnavailable as error:
            self._away(owner, claimed, str(error))
            raise
        except Transient as error:
            self._later(owner, claimed, str(error), ATTEMPTS)
            return None
        except (PeerRefused, NotAccepted, NotBuildable) as error:
            self._dead(owner, claimed, str(error))
            return None
        except Exception as error:  # one result that cannot be made or encoded must not hold up the others
            log.error("result not sent", kind=claimed.result.kind, error=type(error).__name__, at=origin(error))
            self._later(owner, claimed, f"cannot be made or encoded: {type(error).__name__}", DOUBTFUL_ATTEMPTS)
            return None
        return self._note(owner, claimed, Uid(str(dataset.SOPClassUID)), status)

    def _build(self, result: Result) -> Dataset:
        builder = self.builders.get(result.kind)
        if builder is None:
            raise NotBuildable(f"no results of kind {result.kind!r} are made here")
        dataset = builder.build(result)
        if str(dataset.SOPInstanceUID) != result.sop_instance_uid:
            raise NotBuildable("the object has another SOP Instance UID than its delivery")
        return dataset

    def _note(self, owner: str, claimed: Claimed, sop_class_uid: Uid, status: Status) -> Reference | None:
        if self._absences.answered(claimed.destination):
            with self.database.session() as session:
                deliveries.let_go(session, claimed.destination)
        judged = verdict(status)
        if judged is Verdict.LATER or judged is Verdict.DOUBTFUL:
            self._later(owner, claimed, str(status), ATTEMPTS if judged is Verdict.LATER else DOUBTFUL_ATTEMPTS)
            return None
        if judged is Verdict.NEVER:
            self._dead(owner, claimed, str(status))
            return None
        remark = "" if status.is_success else str(status)
        with self.database.session() as session:
            deliveries.finish_delivered(session, owner, claimed, sop_class_uid=sop_class_uid, remark=remark)
        return Reference(sop_class_uid, claimed.result.sop_instance_uid)

    def _away(self, owner: str, claimed: Claimed, why: str) -> None:
        """Let this one wait, and all others of its destination until that may be tried again, or answers."""
        hold_s = self._absences.failed(claimed.destination)
        self._later(owner, claimed, why, ATTEMPTS, at_least_s=hold_s + _LATER_THAN_OTHERS_S)
        with self.database.session() as session:
            deliveries.release(session, owner)
            deliveries.hold_back(session, claimed.destination, reason=why, after_s=hold_s)

    def _later(self, owner: str, claimed: Claimed, why: str, attempts: int, *, at_least_s: float = 0.0) -> None:
        if claimed.attempts >= attempts:
            self._dead(owner, claimed, f"given up after {claimed.attempts} attempts: {why}")
            return
        after_s = max(pause_s(claimed.attempts), at_least_s)
        with self.database.session() as session:
            deliveries.finish_later(session, owner, claimed, reason=why, after_s=after_s)

    def _dead(self, owner: str, claimed: Claimed, why: str) -> None:
        log.warning("delivery is a dead letter", destination=claimed.destination, kind=claimed.result.kind, why=why)
        with self.database.session() as session:
            deliveries.finish_dead(session, owner, claimed, reason=why)

    def _ask_commitment(self, taken: dict[int, Reference], sender: DatasetSender) -> None:
        """Ask for commitment of what was delivered; a peer that does not answer keeps it uncommitted, which shows."""
        request = CommitmentRequest(new_transaction_uid(), tuple(taken.values()))
        with self.database.session() as session:  # noted first: the answer may be here before we are back
            deliveries.commitment_requested(session, list(taken), request.transaction_uid)
        try:
            status = sender.request_commitment(request)
            why = "" if status.is_success else str(status)
        except (PeerUnavailable, PeerRefused, NotAccepted) as error:
            why = str(error)
        if why:
            log.warning("storage commitment not had", why=why)
            with self.database.session() as session:
                deliveries.commitment_withdrawn(session, request.transaction_uid)

    def _reported(self, title: AETitle, report: CommitmentReport) -> None:
        take_report(self.database, title, report)

    def _give_back(self, owner: str) -> None:
        try:
            with self.database.session() as session:
                deliveries.release(session, owner)
        except Transient:
            log.warning("deliveries not given back, their leases will end")


def _check_may_get(peer: Peer, result: Result) -> None:
    """Raise `PeerRefused` where the destination, as it is registered now, may not be sent this result's identity."""
    if result.disclosure is Disclosure.IDENTIFIED and peer.disclosure is not Disclosure.IDENTIFIED:
        raise PeerRefused(f"{peer.ae_title} is not registered for identified results any more")
    if result.disclosure is Disclosure.PSEUDONYMOUS and not peer.accepts_pseudonyms:
        raise PeerRefused(f"{peer.ae_title} is not registered to accept pseudonymous results")


def take_report(database: Database, destination: str, report: CommitmentReport) -> int:
    """Note what a destination says about objects that we sent it; return how many deliveries that changes."""
    with database.session() as session:
        return deliveries.commitment_answered(
            session,
            report.transaction_uid,
            destination,
            committed=[reference.sop_instance_uid for reference in report.committed],
            refused={reference.sop_instance_uid: why for reference, why in report.failed.items()},
        )


def pause_s(attempts: int) -> float:
    """Return how long to wait after so many attempts: doubled each time, up to half an hour, spread by a fifth."""
    pause = min(FIRST_PAUSE_S * float(1 << min(attempts - 1, 20)), LONGEST_PAUSE_S)
    return pause * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
