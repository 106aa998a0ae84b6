"""Answers requests for storage commitment: each object is read and hashed again before we vouch for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from db import commitments, peers
from db.commitments import Kept, Wanted
from db.engine import Database
from regionmir.core.errors import PeerRefused, PeerUnavailable, StorageUnavailable
from regionmir.core.identifiers import AETitle
from regionmir.core.keeping import StoragePolicy
from regionmir.core.tls import NO_TLS_FILES, TlsFiles
from regionmir.scu.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_INSTANCE,
    CommitmentReport,
    Reference,
    send_report,
)
from regionmir.scu.peer import DEFAULT_TIMEOUTS, Timeouts, address_of
from regionmir.storage import FileStore
from workers.delivery import pause_s

ATTEMPTS: Final = 60
"""About a day."""

TAKEN_FOR_S: Final = 600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CommitmentReporter:
    """Reports what we keep to those who asked."""

    database: Database
    store: FileStore
    calling_ae: AETitle
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    tls_files: TlsFiles = NO_TLS_FILES
    storage_policy: StoragePolicy = StoragePolicy.KEEP
    """Of AEs that have none of their own."""

    def report_due(self) -> int:
        """Check and report every request that is due; return how many were reported."""
        done = 0
        while True:
            with self.database.session() as session:
                due = commitments.take(session, limit=1, for_s=TAKEN_FOR_S)
            if not due:
                return done
            done += self._report(due[0])

    def check(self, wanted: Wanted) -> CommitmentReport:
        """Return what of a request we keep, as the disk is at this moment."""
        with self.database.session() as session:
            kept = commitments.kept(session, [uid for _, uid in wanted.references], self.storage_policy)
        committed: list[Reference] = []
        failed: dict[Reference, int] = {}
        for reference in (Reference(*uids) for uids in wanted.references):
            why = self._why_not(reference, kept, wanted)
            if why is None:
                committed.append(reference)
            else:
                failed[reference] = why
        return CommitmentReport(wanted.transaction_uid, tuple(committed), failed)

    def _why_not(self, reference: Reference, kept: Mapping[str, Kept], wanted: Wanted) -> int | None:
        """Return the Failure Reason, None where the object is kept as it came.

        What others sent does not exist for an AE that is not identified.
        """
        found = kept.get(reference.sop_instance_uid)
        if found is None or (found.source_ae != wanted.ae_title and not wanted.identified):
            return NO_SUCH_INSTANCE
        if found.sop_class_uid != reference.sop_class_uid:
            return CLASS_INSTANCE_CONFLICT
        if not found.for_good:
            return NO_SUCH_INSTANCE
        try:
            intact = self.store.dataset_sha256(found.storage_key) == found.sha256
        except (FileNotFoundError, ValueError):
            intact = False
        if not intact:
            log.error("stored object is not what was received", sop_instance_uid=reference.sop_instance_uid)
        return None if intact else NO_SUCH_INSTANCE

    def _report(self, wanted: Wanted) -> int:
        with self.database.session() as session:
            peer = peers.get(session, wanted.ae_title)
        try:
            if peer is None or not peer.is_destination:
                raise PeerRefused("it is no longer registered with a host and a port")
            address = address_of(peer, self.tls_files)
            status = send_report(address, self.calling_ae, self.check(wanted), timeouts=self.timeouts)
            why = "" if status.is_success or status.is_warning else str(status)
        except (PeerUnavailable, PeerRefused, StorageUnavailable) as error:
            why = str(error)
        with self.database.session() as session:
            if not why:
                commitments.reported(session, wanted.pk)
            elif wanted.attempts >= ATTEMPTS:
                commitments.give_up(session, wanted.pk, why)
            else:
                commitments.later(session, wanted.pk, why, pause_s(wanted.attempts))
        if why:
            log.warning("storage commitment not reported", peer=wanted.ae_title, why=why)
        return 0 if why else 1
