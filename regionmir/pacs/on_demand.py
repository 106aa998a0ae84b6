"""Having objects again that are no longer kept here, from a PACS that is known to have their study."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import structlog
from pydicom.dataset import Dataset

from db import pacs as pacs_
from db import peers
from db.engine import Database
from db.pacs import Pacs
from db.retrieve import StoredInstance
from regionmir.core.errors import (
    ConfigurationError,
    InvalidHeader,
    InvalidIdentifier,
    PeerRefused,
    PeerUnavailable,
    StorageFull,
    StorageUnavailable,
)
from regionmir.core.identifiers import parse_ae_title
from regionmir.core.settings import Settings
from regionmir.pacs.filing import Filer
from regionmir.pacs.source import filer, orthanc_api
from regionmir.scu.association import MAX_CONTEXTS
from regionmir.scu.get import STORED_SYNTAXES, get, storage_contexts
from regionmir.scu.peer import address_of

_CANNOT_UNDERSTAND = 0xC000
_CLASSES_AT_ONCE = (MAX_CONTEXTS - 1) // len(STORED_SYNTAXES)

log = structlog.get_logger(__name__)


def fetch(settings: Settings, database: Database, missing: Sequence[StoredInstance]) -> None:
    """Fetch these instances and keep their objects as if they had come now; those that cannot be had stay as they are.

    From an Orthanc by its REST API, from another archive by C-GET. Raises `DatabaseUnavailable`.
    """
    for study, instances in groupby(sorted(missing, key=_study), key=_study):
        wanted = list(instances)
        with database.session() as session:
            links = pacs_.links(session, study)
        for pacs, remote_id in links:
            try:
                _fetch_from(settings, database, pacs, remote_id, wanted)
                break
            except (ConfigurationError, PeerRefused, PeerUnavailable, InvalidHeader, InvalidIdentifier) as error:
                log.warning("not fetched", pacs=pacs.name, why=str(error))
            except (StorageFull, StorageUnavailable) as error:
                log.warning("not fetched", why=str(error))
                return


def _study(one: StoredInstance) -> str:
    return one.study_instance_uid


def _fetch_from(
    settings: Settings, database: Database, pacs: Pacs, remote_id: str, wanted: Sequence[StoredInstance]
) -> None:
    into = filer(settings, database, pacs)
    if pacs.kind == "orthanc":
        _by_rest(pacs, remote_id, {one.sop_instance_uid for one in wanted}, into)
    else:
        _by_get(settings, database, pacs, wanted, into)


def _by_rest(pacs: Pacs, remote_id: str, wanted: Iterable[str], into: Filer) -> None:
    uids = set(wanted)
    api = orthanc_api(pacs)
    try:
        for one in api.instances(remote_id):
            if one.sop_instance_uid in uids:
                into.file(api.file(one.remote_id))
    finally:
        api.close()


def _by_get(settings: Settings, database: Database, pacs: Pacs, wanted: Sequence[StoredInstance], into: Filer) -> None:
    with database.session() as session:
        peer = peers.get(session, pacs.ae_title)
    if peer is None or not peer.is_destination:
        raise PeerUnavailable(f"register {pacs.ae_title or pacs.name} with host and port: `regionmir peers add`")
    uids = {one.sop_instance_uid for one in wanted}

    def receive(sop_instance_uid: str, content: bytes) -> int:
        if sop_instance_uid not in uids:
            return _CANNOT_UNDERSTAND
        into.file(content)
        return 0x0000

    classes = sorted({one.sop_class_uid for one in wanted})[:_CLASSES_AT_ONCE]
    own_ae, address = parse_ae_title(settings.ae_title), address_of(peer, settings.tls_files)
    for series, instances in groupby(sorted(wanted, key=_series), key=_series):
        keys = Dataset()
        keys.QueryRetrieveLevel = "IMAGE"
        keys.StudyInstanceUID, keys.SeriesInstanceUID = wanted[0].study_instance_uid, series
        keys.SOPInstanceUID = [one.sop_instance_uid for one in instances]
        get(address, own_ae, keys, receive, storage=storage_contexts(classes))


def _series(one: StoredInstance) -> str:
    return one.series_instance_uid
