"""Back-fill from any archive by plain DICOM: C-FIND day by day, then C-MOVE of each study to our own AE."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from pydicom.dataset import Dataset

from db import pacs as pacs_
from db.engine import Database
from db.pacs import Pacs, RemoteStudy
from regionmir.core.errors import InvalidUid, PeerRefused, PeerUnavailable
from regionmir.core.identifiers import AETitle, Uid, parse_uid
from regionmir.core.tls import NO_TLS_FILES, TlsFiles
from regionmir.pacs.following import AT_ONCE, TAKEN_FOR_S, Followed
from regionmir.pacs.listed import ListedStudy
from regionmir.scu.find import find
from regionmir.scu.move import move
from regionmir.scu.peer import DEFAULT_TIMEOUTS, PeerAddress, Timeouts, address_of

MOVE_S = 600.0
"""A large study may take minutes between two responses."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DicomBackfill:
    """Imports from one archive. Our node must run, and the archive must know it by AE title, host and port."""

    database: Database
    pacs: Pacs
    peer: PeerAddress
    own_ae: AETitle
    timeouts: Timeouts = DEFAULT_TIMEOUTS

    def find_studies(self, first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, int]]:
        """Ask for the studies of each day, note them, and give (day, studies found): days keep answers short.

        Raises `PeerUnavailable`, `PeerRefused`.
        """
        for number in range((last - first).days + 1):
            day = first + dt.timedelta(days=number)
            uids = [one.study_instance_uid for one in self.listed(day)]
            with self.database.session() as session:
                pacs_.found(session, self.pacs.name, dict.fromkeys(uids, ""))
            yield day, len(uids)

    def import_waiting(self, progress: Callable[[], None] = lambda: None) -> Followed:
        """Have each study that waits sent to us. Raises `PeerUnavailable` where the archive is away."""
        done = Followed()
        while True:
            with self.database.session() as session:
                batch = pacs_.take(session, self.pacs.name, limit=AT_ONCE, for_s=TAKEN_FOR_S)
            if not batch:
                return done
            for study in batch:
                self._move(study, done)
                progress()

    def listed(self, day: dt.date) -> list[ListedStudy]:
        """Return the studies of a day with whose they are. Raises `PeerUnavailable`, `PeerRefused`."""
        keys = Dataset()
        keys.QueryRetrieveLevel = "STUDY"
        keys.StudyDate = f"{day:%Y%m%d}"
        keys.StudyInstanceUID = ""
        keys.PatientID = ""
        keys.ModalitiesInStudy = list(self.pacs.modalities) if len(self.pacs.modalities) == 1 else ""
        answer = find(self.peer, self.own_ae, keys, timeouts=self.timeouts)
        if not answer.status.is_success:
            raise PeerRefused(f"{self.peer} does not answer the query for {day}: {answer.status}")
        wanted = [match for match in answer.matches if self._is_wanted(match)]
        return [ListedStudy(uid, str(match.get("PatientID") or "")) for match in wanted for uid in _uids(match)]

    def _is_wanted(self, match: Dataset) -> bool:
        """Return whether a study may have a series that we want; an archive need not tell its modalities."""
        told = match.get("ModalitiesInStudy") or []
        modalities = {told} if isinstance(told, str) else set(map(str, told))
        return not self.pacs.modalities or not modalities or bool(modalities & set(self.pacs.modalities))

    def _move(self, study: RemoteStudy, done: Followed) -> None:
        keys = Dataset()
        keys.QueryRetrieveLevel = "STUDY"
        keys.StudyInstanceUID = study.study_instance_uid
        patient = Timeouts(self.timeouts.connect_s, self.timeouts.acse_s, MOVE_S, MOVE_S)
        answer = move(self.peer, self.own_ae, keys, self.own_ae, timeouts=patient)
        completed = answer.sub_operations.completed + answer.sub_operations.warning
        with self.database.session() as session:
            if answer.status.is_success and not answer.sub_operations.failed:
                pacs_.imported(session, self.pacs.name, study, completed)
                done.imported += 1
                done.instances += completed
            else:
                why = f"C-MOVE: {answer.status}, {answer.sub_operations.failed} failed"
                pacs_.not_imported(session, self.pacs.name, study, why, retry_after_s=None)
                done.failed += 1


def dicom_backfill(
    database: Database, pacs: Pacs, own_ae: AETitle, tls_files: TlsFiles = NO_TLS_FILES
) -> DicomBackfill:
    """Return the back-fill from this PACS. Raises `PeerUnavailable` where its peer has no host and port."""
    from db import peers

    with database.session() as session:
        peer = peers.get(session, pacs.ae_title)
    if peer is None or not peer.is_destination:
        raise PeerUnavailable(f"register {pacs.ae_title or pacs.name} with host and port: `regionmir peers add`")
    return DicomBackfill(database, pacs, address_of(peer, tls_files), own_ae)


def _uids(match: Dataset) -> list[Uid]:
    try:
        return [parse_uid(str(match.get("StudyInstanceUID", "")))]
    except InvalidUid:
        return []
