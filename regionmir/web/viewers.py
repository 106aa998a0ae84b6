"""Links into other viewers that this server serves, where they are installed."""

from typing import Final
from urllib.parse import urlencode

from regionmir.core.ohif import ROOT
from regionmir.web.ohif import is_installed
from regionmir.web.site import Site

SIDE_BY_SIDE: Final = "@ohif/hpCompare"
"""The viewer's own hanging protocol that shows two studies beside each other."""


def ohif_path(site: Site) -> str:
    """Return the path of OHIF, empty where it is not installed here: links to it are then left out."""
    return f"{ROOT}viewer" if is_installed(site.settings.data_dir) else ""


def ohif_link(path: str, *study_uids: str) -> str:
    """Return the link that opens these studies in the OHIF at `path`, two of them side by side."""
    asked = [("StudyInstanceUIDs", uid) for uid in study_uids]
    if len(study_uids) == 2:
        asked.append(("hangingProtocolId", SIDE_BY_SIDE))
    return f"{path}?{urlencode(asked)}"
