"""The OHIF viewer under /ohif/, where `regionmir ohif install` put it, set up to ask us over DICOMweb.

Its build expects to live at the root of a host. So its page gets a base address, its inline scripts become files (our
content security policy forbids inline ones), and its configuration is ours: data sources `archive` (all studies),
`similar` (the token in Study Description, see docs/ohif.md) and `answer` (one result set, named in the link).
"""

import json
import mimetypes
import re
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from db import result_sets
from db.result_sets import ResultSet
from regionmir.core.anatomy import anatomy_by_key
from regionmir.core.errors import QueryRefused
from regionmir.core.ohif import ROOT, ohif_folder
from regionmir.web.api.errors import Refused, refusal
from regionmir.web.api.limited import braked, check_rate
from regionmir.web.caller import CallerOf as AskerOf
from regionmir.web.signin.caller import CallerOf, Scope, needs
from regionmir.web.site import Site, SiteOf

POLICY = (
    "default-src 'none'; base-uri 'self'; connect-src 'self' blob: data:; font-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; img-src 'self' blob: data:; manifest-src 'self'; "
    "script-src 'self' blob: 'unsafe-eval' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "worker-src 'self' blob:"
)
"""The viewer compiles its decoders and draws its styles at run time; nothing may leave this origin."""

SIMILAR_ROOT = "/dicom-web/sim"
ARCHIVE_ROOT = "/dicom-web"
_POLICY = {"Content-Security-Policy": POLICY}
"""Scripts carry it too: a worker obeys its own script's policy."""
_READ = ["GET", "HEAD"]
_INLINE = re.compile(r"<script>.*?</script>", re.DOTALL)
_ROOTED = re.compile(r'(src|href)="/(?!/)')
_WORKER_SETUP = re.compile(r"<script[^>]*init-service-worker\.js[^>]*></script>")
_SETUP = f"""window.PUBLIC_URL = "{ROOT}";
window.browserImportFunction = name => import(name);
"""
_SCRIPTS = "".join(f'<script src="{src}"></script>' for src in (f"{ROOT}regionmir-setup.js", "/static/viewer.js"))
_CACHED = {"Cache-Control": "private, max-age=31536000, immutable"}
"""For files that have a hash in their name."""
_HASHED = re.compile(r"[.-]?[0-9a-f]{16}\.")

router = APIRouter()


def is_installed(data_dir: Path) -> bool:
    """True where the viewer can be opened."""
    return (ohif_folder(data_dir) / "index.html").is_file()


@router.api_route("/ohif", methods=_READ)
def to_viewer() -> RedirectResponse:
    """The viewer's address without its last slash."""
    return RedirectResponse(ROOT, 308)


@router.api_route(ROOT + "regionmir-setup.js", methods=_READ)
def setup() -> Response:
    """What the viewer's page says in inline scripts."""
    return Response(_SETUP, media_type="text/javascript")


@router.api_route(ROOT + "app-config.js", methods=_READ)
def configuration() -> Response:
    """The viewer's configuration; `static/viewer.js` has the function that says why something is not shown."""
    values = json.dumps(viewer_config(), indent=2)
    script = f"window.config = {values};\nwindow.config.httpErrorHandler = window.sayWhy;\n"
    return Response(script, media_type="text/javascript")


@router.api_route("/api/v1/ohif/{code}.json", methods=_READ, dependencies=[Depends(needs(Scope.READ))])
def answer_source(site: SiteOf, who: CallerOf, asker: AskerOf, code: str) -> JSONResponse:
    """The viewer's data source `answer` for one kept answer: its hits, and the study that asked."""
    try:
        check_rate(site, who.name, who.address)
        with braked(site, asker, asker.actor):
            kept = _kept(site, code)
    except (Refused, QueryRefused) as error:
        return refusal(error)
    regions = "+".join(anatomy_by_key(key).short for key in kept.asked.get("anatomies", [kept.anatomy_pk]))
    source = source_settings(f"{SIMILAR_ROOT}/{kept.code}/{regions}") | {"name": kept.code}
    return JSONResponse({"servers": {"dicomWeb": [source]}})


def _kept(site: Site, code: str) -> ResultSet:
    """Return the answer that was given under this code. Raises `QueryRefused`."""
    with site.database.session() as session:
        kept = result_sets.get(session, code)
    if kept is None:
        raise QueryRefused("unknown-anchor", "No answer was given under this code; ask again.")
    return kept


@router.api_route(ROOT + "{path:path}", methods=_READ)
def viewer(site: SiteOf, path: str) -> Response:
    """A file of the viewer, or its page: which view that page shows is for its script to say."""
    folder = ohif_folder(site.settings.data_dir)
    file = _file(folder, path)
    if file is not None:
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return FileResponse(file, media_type=kind, headers=_POLICY | (_CACHED if _HASHED.search(file.name) else {}))
    if PurePosixPath(path).suffix in (".js", ".css", ".wasm", ".json", ".map", ".png", ".svg"):
        return PlainTextResponse("The viewer has no such file.\n", 404)
    try:
        page = (folder / "index.html").read_text(encoding="utf-8")
    except FileNotFoundError:
        return PlainTextResponse("The viewer is not installed. Run: regionmir ohif install\n", 404)
    return Response(viewer_page(page), media_type="text/html", headers=_POLICY)


def viewer_page(page: str) -> str:
    """Return the viewer's page `page` as it must be to live under `ROOT`: no inline script, no service worker."""
    page = _WORKER_SETUP.sub("", _INLINE.sub("", page))
    page = _ROOTED.sub(rf'\1="{ROOT}', page)
    return page.replace("<head>", f'<head><base href="{ROOT}">{_SCRIPTS}', 1)


def viewer_config() -> dict[str, object]:
    """Return the viewer's configuration: our data sources and nobody else's."""
    sources = [_source("archive", "All studies", ARCHIVE_ROOT), _source("similar", "Similar studies", SIMILAR_ROOT)]
    answer = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomwebproxy",
        "sourceName": "answer",
        "configuration": {"friendlyName": "One answer", "name": "answer"},
    }
    return {
        "name": "regionmir",
        "routerBasename": ROOT.rstrip("/"),
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        "investigationalUseDialog": {"option": "configure", "days": 30},
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "defaultDataSourceName": "archive",
        "dataSources": [*sources, answer],
    }


def source_settings(root: str) -> dict[str, object]:
    """Return how the viewer asks the DICOMweb service at `root`."""
    return {
        "qidoRoot": root,
        "wadoRoot": root,
        "wadoUriRoot": root,
        "qidoSupportsIncludeField": True,
        "imageRendering": "wadors",
        "thumbnailRendering": "thumbnail",
        "thumbnailRequestStrategy": "fetch",
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "supportsReject": False,
        "dicomUploadEnabled": False,
        "singlepart": "bulkdata,video,pdf",
        "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
        "omitQuotationForMultipartRequest": True,
    }


def _source(name: str, shown: str, root: str) -> dict[str, object]:
    return {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": name,
        "configuration": {"friendlyName": shown, "name": name} | source_settings(root),
    }


def _file(folder: Path, path: str) -> Path | None:
    """Return the viewer's file `path`, None where it has none or `path` leads out of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\0" in path or path == "index.html":
        return None
    file = folder.joinpath(*parts)
    try:
        return file if file.is_file() and file.resolve().is_relative_to(folder.resolve()) else None
    except OSError:  # a name that is too long for one
        return None
