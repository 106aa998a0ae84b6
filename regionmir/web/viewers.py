"""Links into other viewers that this server serves, where they are installed."""

from urllib.parse import urlencode

from starlette.applications import Starlette

_OHIF = "/ohif"


def ohif_path(app: Starlette) -> str:
    """Return the path of OHIF, empty where it is not installed here: links to it are then left out."""
    served = any(getattr(route, "path", "").startswith(_OHIF) for route in app.routes)
    return f"{_OHIF}/viewer" if served else ""


def ohif_link(path: str, *study_uids: str) -> str:
    """Return the link that opens these studies side by side in the OHIF at `path`."""
    return f"{path}?{urlencode([('StudyInstanceUIDs', uid) for uid in study_uids])}"
