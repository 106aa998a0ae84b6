"""Following one Orthanc: what is new is imported, what is deleted is hidden.

Its log of changes tells of additions only (it never reports a deletion, and forgets the changes of what is deleted).
So the full list is compared from time to time, whenever the log has a gap or begins anew, and whenever Orthanc counts
another number of studies than we know.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from db import instances as instances_
from db import pacs as pacs_
from db import removed
from db.engine import Database
from db.pacs import Compared, Pacs, RemoteStudy
from regionmir.core.errors import (
    DatabaseUnavailable,
    InvalidHeader,
    InvalidIdentifier,
    PeerRefused,
    PeerUnavailable,
    StorageFull,
    StorageUnavailable,
)
from regionmir.pacs.filing import Filer
from regionmir.pacs.orthanc import Gone, OrthancApi

COMPARE_EVERY_S = 3600.0
AT_ONCE = 10
TAKEN_FOR_S = 900.0
"""Studies that one process takes at once, and for how long nobody else does."""

ATTEMPTS = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 3600.0

log = structlog.get_logger(__name__)

Progress = Callable[[], None]


@dataclass
class Followed:
    """What one look at a PACS did."""

    changed: int = 0
    """Studies that its log named."""
    compared: Compared | None = None
    imported: int = 0
    failed: int = 0
    instances: int = 0


@dataclass(frozen=True, slots=True)
class Follower:
    """Follows one Orthanc."""

    database: Database
    api: OrthancApi
    filer: Filer
    pacs: Pacs
    stopping: Callable[[], bool] = field(default=lambda: False)
    deletes: bool = False
    """What the PACS has deleted is deleted here, not hidden."""

    def look(self, *, agreed: bool = False, compare: bool | None = None, progress: Progress = lambda: None) -> Followed:
        """Read the log, compare the full list if that is due (or `compare`), and import what waits.

        Raises `PeerUnavailable`, `PeerRefused`, `DatabaseUnavailable`, `StorageFull`.
        """
        done = Followed()
        if self.pacs.followed_at is None:
            done.compared = self.begin(agreed=agreed)
            self.import_waiting(done, progress)
            return done
        gap = self._read_log(done)
        if compare or (compare is None and (gap or self._is_due() or self._counts_differ())):
            done.compared = self.compare(agreed=agreed)
        self.import_waiting(done, progress)
        return done

    def begin(self, *, agreed: bool = False) -> Compared:
        """Take over the full list; the log is read from here on."""
        newest = self.api.last_change()
        compared = self.compare(agreed=agreed)
        with self.database.session() as session:
            pacs_.followed(session, self.pacs.name, newest)
        return compared

    def compare(self, *, agreed: bool = False) -> Compared:
        """Compare the full list: new studies wait to be imported, those that are gone are hidden."""
        count, studies = self.api.study_count(), self.api.studies()
        with self.database.session() as session:
            compared = pacs_.compare(session, self.pacs.name, studies, agreed=agreed, deletes=self.deletes)
            pacs_.counted(session, self.pacs.name, count)
        if compared.stopped:
            log.error("nothing is hidden until someone agrees", pacs=self.pacs.name, why=compared.stopped)
        return compared

    def import_all(self, progress: Progress = lambda: None) -> Followed:
        """Import what waits, also what was tried in vain before."""
        done = Followed()
        with self.database.session() as session:
            pacs_.retry_failed(session, self.pacs.name)
        self.import_waiting(done, progress)
        return done

    def import_waiting(self, done: Followed, progress: Progress = lambda: None) -> None:
        """Import what waits, one study after the other; one that cannot be had holds up no other."""
        while not self.stopping():
            with self.database.session() as session:
                batch = pacs_.take(session, self.pacs.name, limit=AT_ONCE, for_s=TAKEN_FOR_S)
            if not batch:
                return
            left = list(batch)
            try:
                while left and not self.stopping():
                    self._import_study(left[0], done)
                    del left[0]
                    progress()
            finally:
                with self.database.session() as session:
                    pacs_.give_back(session, self.pacs.name, left)

    def _read_log(self, done: Followed) -> bool:
        """Note the studies that the log names; return whether it has a gap or began anew: something was deleted."""
        with self.database.session() as session:
            known = pacs_.get(session, self.pacs.name)
        seq = known.seq if known else 0
        newest = self.api.last_change()
        if newest < seq:
            with self.database.session() as session:
                pacs_.followed(session, self.pacs.name, newest)
            return True
        gap = False
        while not self.stopping():
            changes = self.api.changes(seq)
            gap = gap or not changes.contiguous
            named = {remote: uid for remote in changes.studies if (uid := self._uid_of(remote)) is not None}
            with self.database.session() as session:
                for remote, uid in named.items():
                    pacs_.changed(session, self.pacs.name, uid, remote)
                pacs_.followed(session, self.pacs.name, changes.last)
            done.changed += len(named)
            seq = changes.last
            if changes.done:
                break
        return gap

    def _uid_of(self, remote_id: str) -> str | None:
        try:
            return self.api.study_uid(remote_id)
        except Gone:
            return None

    def _is_due(self) -> bool:
        compared = self.pacs.compared_at
        return compared is None or dt.datetime.now(dt.UTC) - compared > dt.timedelta(seconds=COMPARE_EVERY_S)

    def _counts_differ(self) -> bool:
        with self.database.session() as session:
            known = pacs_.known(session, self.pacs.name)
        return self.api.study_count() - known != self.pacs.uncounted

    def _import_study(self, study: RemoteStudy, done: Followed) -> None:
        name = self.pacs.name
        try:
            count = self._fetch(study)
        except Gone:
            self._not_imported(study, "it was deleted meanwhile", None)
            return
        except (PeerUnavailable, DatabaseUnavailable, StorageFull, StorageUnavailable):
            raise  # no fault of this study: it waits as it is
        except (PeerRefused, InvalidHeader, InvalidIdentifier) as error:
            done.failed += 1
            self._not_imported(study, str(error), None if study.attempts + 1 >= ATTEMPTS else _pause_s(study.attempts))
            return
        with self.database.session() as session:
            pacs_.imported(session, name, study, count)
        done.imported += 1
        done.instances += count

    def _fetch(self, study: RemoteStudy) -> int:
        """Fetch the instances of a study that are not here yet, and return how many it has."""
        wanted = list(self.api.instances(study.remote_id, self.pacs.modalities))
        with self.database.session() as session:
            uids = [one.sop_instance_uid for one in wanted]
            here = instances_.present(session, uids) | removed.unwanted(session, uids)
        for one in wanted:
            if one.sop_instance_uid not in here:
                self.filer.file(self.api.file(one.remote_id))
        return len(wanted)

    def _not_imported(self, study: RemoteStudy, why: str, retry_after_s: float | None) -> None:
        log.warning("study not imported", pacs=self.pacs.name, why=why)
        with self.database.session() as session:
            pacs_.not_imported(session, self.pacs.name, study, why, retry_after_s=retry_after_s)


def _pause_s(attempts: int) -> float:
    return min(FIRST_PAUSE_S * float(1 << min(attempts, 20)), LONGEST_PAUSE_S)
