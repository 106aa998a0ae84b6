"""Links into other viewers that this server serves, where they are installed."""

from urllib.parse import urlencode

from regionmir.core.ohif import ROOT
from regionmir.web.ohif import is_installed
from regionmir.web.site import Site


def ohif_path(site: Site) -> str:
    """Return the path of OHIF, empty where it is not installed here: links to it are then left out."""
    return f"{ROOT}viewer" if is_installed(site.settings.data_dir) else ""


def ohif_link(path: str, *study_uids: str) -> str:
    """Return the link that opens these studies side by side in the OHIF at `path`."""
    return f"{path}?{urlencode([('StudyInstanceUIDs', uid) for uid in study_uids])}"
