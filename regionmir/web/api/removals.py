"""Deleting through the API: by pseudonyms, as everything here is named."""

from dataclasses import asdict
from typing import Final

import structlog
from fastapi import APIRouter, Depends

from db import pseudonyms, removal
from db.engine import Session
from db.removal import Level, Removal
from db.removed import Again
from regionmir.archive.removing import remove_objects
from regionmir.core.errors import StorageUnavailable
from regionmir.web.api.errors import Refused
from regionmir.web.api.limited import limited
from regionmir.web.api.schemas import ExtentModel, RemovalModel
from regionmir.web.callers import CallerOf, require
from regionmir.web.signin.caller import Scope
from regionmir.web.site import SiteOf

router = APIRouter(tags=["removals"], dependencies=[Depends(require(Scope.ADMIN)), Depends(limited)])

_KINDS: Final[dict[Level, str]] = {
    "instance": pseudonyms.INSTANCE,
    "study": pseudonyms.STUDY,
    "patient": pseudonyms.PATIENT,
}

log = structlog.get_logger(__name__)


@router.post("/removals")
def delete(site: SiteOf, who: CallerOf, wanted: RemovalModel) -> ExtentModel:
    """Delete an instance, a study or a patient: when this returns, it is in no answer and its objects are gone.

    Where the disk fails at that moment, the light worker removes the objects later.
    """
    by = Removal(who.name, wanted.reason, again=Again.REFUSE if wanted.block else Again.ACCEPT, address=who.address)
    with site.writable.session() as session:
        which = removal.named(wanted.level, _original(session, wanted))
        extent = removal.measure(session, which) if wanted.dry_run else removal.remove(session, which, by)
    if not extent.studies:
        raise _unknown()
    if not wanted.dry_run:
        _remove_objects(site)
    return ExtentModel(**asdict(extent), dry_run=wanted.dry_run)


def _original(session: Session, wanted: RemovalModel) -> str:
    """Return what a pseudonym stands for: a UID, or the `key` of a patient."""
    original = pseudonyms.lookup(session, _KINDS[wanted.level], wanted.id)
    if original is None:
        raise _unknown()
    return original


def _remove_objects(site: SiteOf) -> None:
    try:
        remove_objects(site.writable, site.archive.store)
    except StorageUnavailable as error:
        log.warning("objects not removed yet", why=str(error))


def _unknown() -> Refused:
    return Refused(404, "unknown-removal", "Nothing here has this id at this level; ids are pseudonyms.")
