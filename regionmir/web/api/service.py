"""What the service is and can do."""

from fastapi import APIRouter, Depends, Response

import regionmir
from regionmir.core.anatomy import anatomies
from regionmir.query.search import active_model
from regionmir.web.api.limited import limited
from regionmir.web.api.schemas import AnatomyModel, Health
from regionmir.web.callers import require
from regionmir.web.health import what_is_missing
from regionmir.web.signin.caller import Scope
from regionmir.web.site import SiteOf

router = APIRouter(tags=["service"])


@router.get("/health", responses={503: {"model": Health, "description": "not ready"}})
def health(site: SiteOf, response: Response) -> Health:
    """Return the version and whether queries can be answered; needs no token."""
    missing = what_is_missing(site)
    if missing:
        response.status_code = 503
    return Health(version=regionmir.__version__, ready=not missing, missing=missing)


@router.get("/regions", dependencies=[Depends(require(Scope.READ)), Depends(limited)])
def list_regions(site: SiteOf) -> list[AnatomyModel]:
    """Return the regions that can be searched: those that the active model finds."""
    with site.database.session() as session:
        found = active_model(session).info.anatomies
    return [
        AnatomyModel(
            region=one.short, name=one.name, code=one.code_value, scheme=one.coding_scheme, meaning=one.code_meaning
        )
        for one in anatomies()
        if one in found
    ]
